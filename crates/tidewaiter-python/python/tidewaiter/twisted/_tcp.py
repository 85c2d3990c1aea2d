"""TCP over the port: Twisted's own connections, listeners and connectors, with the data's way in Rust."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary, ref

from twisted.internet import error, main, tcp
from twisted.internet.address import IPv6Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.python import log
from twisted.python.failure import Failure

from tidewaiter._tidewaiter import Stream
from tidewaiter.twisted._flow import Flow

try:
    from twisted.internet._newtls import startTLS
except ImportError:
    # pyOpenSSL is missing: there is no TLS then, and all the rest.
    startTLS = None

_DONE = Failure(main.CONNECTION_DONE)
_LOST = Failure(main.CONNECTION_LOST)


class _View(socket.socket):
    """
    A socket that belongs to the port: Python may look at it and set its options.

    Closing it has the port close it: the system may give its number to another socket only once the
    port is done with this one.
    """

    __slots__ = ()

    def _real_close(self, _ss: type[socket.socket] = socket.socket) -> None:
        self.detach()
        known = _owners.pop(self, None)
        owner = None if known is None else known()
        if owner is not None:
            owner._closedByHand()

    def __del__(self) -> None:
        self.detach()


_owners: WeakKeyDictionary[socket.socket, ref[Any]] = WeakKeyDictionary()


def _given_away(skt: socket.socket, owner: Any) -> socket.socket:
    """The same socket, which from now on belongs to the port, and to the transport `owner`."""
    if type(skt) is socket.socket:
        skt.__class__ = _View
    else:
        skt = _View(skt.family, skt.type, skt.proto, fileno=skt.detach())
    _owners[skt] = ref(owner)
    return skt


class _MadeWhenAskedFor:
    """
    The `socket` of a connection. Most connections never need one: it is made for those that ask, and then
    found on the connection itself.
    """

    def __get__(self, connection: Any, _: type) -> Any:
        if connection is None:
            return self
        descriptor = connection._descriptor()
        if descriptor is None:
            raise AttributeError("socket")
        skt = _View(connection.addressFamily, socket.SOCK_STREAM, 0, fileno=descriptor)
        _owners[skt] = ref(connection)
        connection.socket = skt
        return skt


def _half_closeable(protocol: Any) -> Any:
    """What hears of the ends of both ways, if `protocol` wants to: else `None`."""
    if hasattr(protocol, "__conform__"):
        return IHalfCloseableProtocol(protocol, None)
    # As above, without an exception for each connection.
    return IHalfCloseableProtocol.__adapt__(protocol)


class _Plain:
    """What TLS, once started on a connection, writes its own bytes with."""

    write = Stream._write
    writeSequence = Stream._writeSequence
    loseConnection = Stream._loseConnection
    registerProducer = Stream._registerProducer
    unregisterProducer = Stream._unregisterProducer


# Inside of the class, `socket` is what connections have.
_Socket = socket.socket


class Connection(Flow, tcp.Connection):
    """A connection whose bytes come and go through the port."""

    _aborting = False
    socket: Any = _MadeWhenAskedFor()

    def __init__(self, skt: _Socket | None, protocol: Any, reactor: Any = None) -> None:
        self.reactor = reactor
        self.protocol = protocol
        if skt is not None:
            self.socket = skt

    def fileno(self) -> int:
        skt: _Socket | None = self.__dict__.get("socket")
        if skt is not None:
            return skt.fileno()
        return super().fileno()

    def startTLS(self, ctx: Any, normal: bool = True) -> None:
        if startTLS is None:
            raise NotImplementedError("TLS needs pyOpenSSL: install twisted[tls]")
        startTLS(self, ctx, normal, _Plain)

    def abortConnection(self) -> None:
        if self.disconnected or self._aborting:
            return
        self.stopReading()
        self._aborting = True
        if not self._abort():
            reason = Failure(error.ConnectionAborted())
            self.reactor.callLater(0, self.connectionLost, reason)

    def readConnectionLost(self, reason: Failure) -> None:
        if _half_closeable(self.protocol) is None:
            self.connectionLost(reason)
        else:
            super().readConnectionLost(reason)

    def connectionLost(self, reason: Failure) -> None:
        aborted = reason is not _DONE and reason.check(error.ConnectionAborted) is not None
        if not self._lose(aborted):
            return
        if self.producer is not None:
            self._stopProducer()
        skt = self.__dict__.pop("socket", None)
        if skt is not None:
            skt.detach()
        protocol = self.protocol
        del self.protocol
        protocol.connectionLost(reason)

    def _closedByHand(self) -> None:
        """Somebody closed the socket: nobody is told, as if it had been Twisted's own."""
        if not self._cancel():
            self._lose(False, True)

    # What the loop calls.

    def _streamEnded(self) -> None:
        self.stopReading()
        self.readConnectionLost(_DONE)

    def _streamWriteEnded(self) -> None:
        protocol = _half_closeable(self.protocol)
        if protocol is not None:
            protocol.writeConnectionLost()

    def _streamLost(self, how: str) -> None:
        if how == "done":
            self.connectionLost(_DONE)
        elif how == "aborted":
            self.connectionLost(Failure(error.ConnectionAborted()))
        else:
            self.connectionLost(_LOST)


class Server(Connection, tcp.Server):
    """A connection that a `Port` accepted."""

    _base = Connection
    addressFamily = socket.AF_INET

    def __init__(
        self, sock: socket.socket | None, protocol: Any, client: Any, server: Any, sessionno: int, reactor: Any
    ) -> None:
        self.reactor = reactor
        self.protocol = protocol
        if sock is not None:
            self.socket = sock
        if len(client) != 2:
            self._addressType = IPv6Address
            self.addressFamily = socket.AF_INET6
        self.server = server
        self.client = client
        self.sessionno = sessionno
        self.hostname = client[0]
        self.logstr = f"{self._getLogPrefix(protocol)},{sessionno},{client[0]}"
        self._protocolClass = protocol.__class__
        self._adopt(reactor._core)
        self.startReading()
        self.connected = 1

    @cached_property
    def repstr(self) -> str:  # type: ignore[override]
        return f"<{self._protocolClass.__name__} #{self.sessionno} on {self.server._realPortNumber}>"


class Client(Connection, tcp.Client):
    """A connection that a `Connector` makes."""

    _base = Connection
    _commonConnection = Connection
    __init__ = tcp.Client.__init__
    connectionLost = tcp.Client.connectionLost

    def doConnect(self) -> None:
        if not hasattr(self, "connector"):
            # It was given up before the address was known.
            return
        skt = self.socket
        self._connect(self.reactor._core, skt.fileno(), self.realAddress)
        self.socket = _given_away(skt, self)

    def _closeSocket(self, orderly: bool) -> None:
        skt = self.socket
        if self._cancel():
            skt.detach()
        else:
            skt.close()

    def _collectSocketDetails(self) -> None:
        del self.socket

    # What the loop calls.

    def _streamMade(self) -> None:
        self._connectDone()

    def _streamRefused(self, failure: OSError) -> None:
        number = failure.errno
        if number is None:
            self.failIfNotConnected(error.ConnectError(string=str(failure)))
        else:
            text = tcp.strerror(number)  # type: ignore[attr-defined]
            self.failIfNotConnected(error.getConnectError((number, text)))


class Port(tcp.Port):
    """A listener whose connections are accepted by the port."""

    transport = Server
    deferred: Any = None
    reading = False
    _listener: Any = None
    # What fires when the socket is closed, and those of earlier ones that are not yet.
    _free: Deferred[None]
    _unclosed: Sequence[Deferred[None]] = ()

    def startReading(self) -> None:
        self.reading = True
        if self._listener is not None:
            self._listener.resume()
            return
        self._process = os.getpid()
        self.socket = _given_away(self.socket, self)
        self.fileno = self.socket.fileno  # type: ignore[method-assign]
        self._listener = self.reactor._core.listen(self.socket.fileno(), self)
        self._free = Deferred()
        self._unclosed = [*self._unclosed, self._free]

    def stopReading(self) -> None:
        if self._listener is not None:
            self._listener.pause()
        self.reading = False

    def stopWriting(self) -> None:
        pass

    def loseConnection(self, connDone: Failure = _DONE) -> Deferred[None] | None:
        """
        Stop listening. The returned Deferred fires when the address is free again.

        Returns `None` if the port does not listen.
        """
        begins = self.connected and self.deferred is None
        if begins:
            # First, as it is refused in another thread than the loop's.
            self._listener.stop()
        self.disconnecting = True
        if not self.connected:
            return None
        if begins:
            self.reading = False
            self._refuse()
            self.deferred = self._stopped(connDone)
        stopped: Deferred[None] = self.deferred
        return stopped

    stopListening = loseConnection

    def _stopped(self, connDone: Failure) -> Deferred[None]:
        try:
            self.reactor._core.check_process()
        except RuntimeError:
            # In a copy of the process there is no later, and the address is the parent's.
            self.connectionLost(connDone)
            return succeed(None)
        return self._free.addCallback(lambda _: self.connectionLost(connDone))

    def connectionLost(self, reason: Failure) -> None:
        if not self.connected:
            return
        try:
            super().connectionLost(reason)
        finally:
            self.deferred = None

    def _refuse(self) -> None:
        """
        From here on nobody connects, even if the port has yet to let go of the socket: unless it is the
        parent's, too, of a process that was forked.
        """
        if not self._shouldShutdown or self._process != os.getpid():
            return
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # Some systems know no such thing for listening sockets.

    def _closeSocket(self, orderly: bool) -> None:
        self._refuse()
        self._listener.stop()
        # It may listen again.
        self._listener = None
        self.socket.detach()

    def _closedByHand(self) -> None:
        self._listener.stop()

    # What the loop calls.

    def _accepted(self, address: tuple[Any, ...]) -> None:
        if self.disconnecting:
            return
        try:
            if len(address) == 4:
                address = tcp._getrealname(address)
            factory: Any = self.factory
            protocol = factory.buildProtocol(self._buildAddr(address))
            if protocol is None:
                return
            number = self.sessionno
            self.sessionno = number + 1
            transport = self.transport(None, protocol, address, self, number, self.reactor)
            protocol.makeConnection(transport)
        except BaseException:
            log.deferr()

    def _acceptFailed(self, number: int | None) -> None:
        """Make room by the descriptor that Twisted keeps for this, and send whoever waits away."""
        if self.disconnecting:
            return
        with tcp._BuffersLogs(self._logger.namespace, self._logger.observer) as logger:
            clients = tcp._accept(logger, range(self.numberAccepts), self.socket, tcp._reservedFD)
            for skt, _ in clients:
                skt.close()

    def _closed(self) -> None:
        """The port has closed a socket of this listener, just now: its number is free from here on."""
        free, *self._unclosed = self._unclosed
        if free is self._free and self.connected:
            self.socket.detach()
        free.callback(None)


class Connector(tcp.Connector):
    """Makes `Client` connections."""

    def _makeTransport(self) -> Client:
        client: Client = Client(self.host, self.port, self.bindAddress, self, self.reactor)
        return client
