"""TCP on the port: subclasses of Twisted's connections, listeners and connectors that send and receive in Rust."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from twisted.internet import error, main, tcp
from twisted.internet.address import IPv6Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.python import log
from twisted.python.failure import Failure

from tidewaiter._tidewaiter import Stream
from tidewaiter._views import MadeWhenAskedFor, given_away
from tidewaiter.twisted._flow import Flow

try:
    from twisted.internet._newtls import startTLS
except ImportError:
    # Without pyOpenSSL, only TLS is missing.
    startTLS = None

_DONE = Failure(main.CONNECTION_DONE)
_LOST = Failure(main.CONNECTION_LOST)


def _half_closeable(protocol: Any) -> Any:
    """Adapt `protocol` to `IHalfCloseableProtocol`; returns `None` if it does not support that."""
    if hasattr(protocol, "__conform__"):
        return IHalfCloseableProtocol(protocol, None)
    # This has the same result, but raises no exception internally, which would cost time for each connection.
    return IHalfCloseableProtocol.__adapt__(protocol)


class _Plain:
    """The methods with which TLS, once started on a connection, writes its encrypted bytes."""

    write = Stream._write
    writeSequence = Stream._writeSequence
    loseConnection = Stream._loseConnection
    registerProducer = Stream._registerProducer
    unregisterProducer = Stream._unregisterProducer


# In the class body below, `socket` names an attribute.
_Socket = socket.socket


class Connection(Flow, tcp.Connection):
    """A connection that sends and receives through the port."""

    _aborting = False
    socket: Any = MadeWhenAskedFor()

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

    def _names(self) -> tuple[Any, Any]:
        """The addresses of both ends. No two connections of a machine have the same."""
        return self.socket.getsockname(), self.socket.getpeername()

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
        """Handle that the application closed `socket`. As with Twisted's own, the protocol is not told."""
        if not self._cancel():
            self._lose(False, True)

    # The loop calls the following methods.

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
    """A connection that a `Port` accepted, or that was adopted."""

    _base = Connection
    addressFamily = socket.AF_INET

    def __init__(
        self, sock: socket.socket | None, protocol: Any, client: Any, server: Any, sessionno: int, reactor: Any
    ) -> None:
        self.reactor = reactor
        self.protocol = protocol
        if len(client) != 2:
            self._addressType = IPv6Address
            self.addressFamily = socket.AF_INET6
        self.server = server
        self.client = client
        self.sessionno = sessionno
        self.hostname = client[0]
        self.logstr = f"{self._getLogPrefix(protocol)},{sessionno},{client[0]}"
        self._protocolClass = protocol.__class__
        if sock is None:
            self._adopt(reactor._loop)
        else:
            self._takeOver(sock)
        self.startReading()
        self.connected = 1

    def _takeOver(self, sock: socket.socket) -> None:
        """Take over a connected socket. In Windows, a socket stays with the port that it was first used with."""
        names = sock.getsockname(), sock.getpeername()
        self.socket = given_away(sock, self)
        try:
            self._take(self.reactor._loop, sock.fileno(), self._peer())
        except OSError:
            if os.name != "nt":
                raise
            # Was it this one? Then the new transport takes the old one's place.
            of_ours = (each for each in self.reactor._live() if isinstance(each, Connection) and each.connected)
            same = next((each for each in of_ours if each._names() == names), None)
            if same is None:
                raise
            self._succeed(same)
            del self.socket

    def _peer(self) -> Any:
        """The address of the peer, as sockets have it."""
        return self.client

    @cached_property
    def repstr(self) -> str:  # type: ignore[override]
        return f"<{self._protocolClass.__name__} #{self.sessionno} on {self.server._realPortNumber}>"

    # The loop calls the following method.

    def _streamMade(self) -> None:
        """Do nothing: the protocol was connected when the connection was adopted."""


class Connecting(Connection):
    """A connection that a connector makes. To be mixed with one of Twisted's clients."""

    _base = _commonConnection = Connection

    def doConnect(self) -> None:
        if not hasattr(self, "connector"):
            # Connecting was cancelled before the address was known.
            return
        skt = self.socket
        self._connect(self.reactor._loop, skt.fileno(), self.realAddress)
        self.socket = given_away(skt, self)

    def _closeSocket(self, orderly: bool) -> None:
        skt = self.socket
        if self._cancel():
            skt.detach()
        else:
            skt.close()

    def _collectSocketDetails(self) -> None:
        del self.socket

    # The loop calls the following methods.

    def _streamMade(self) -> None:
        self._connectDone()

    def _streamRefused(self, failure: OSError) -> None:
        number = failure.errno
        if number is None:
            self.failIfNotConnected(error.ConnectError(string=str(failure)))
        else:
            text = tcp.strerror(number)  # type: ignore[attr-defined]
            self.failIfNotConnected(error.getConnectError((number, text)))


class Client(Connecting, tcp.Client):
    """A connection that a `Connector` makes."""

    __init__ = tcp.Client.__init__
    connectionLost = tcp.Client.connectionLost


class Port(tcp.Port):
    """A listener that accepts through the port."""

    transport = Server
    deferred: Any = None
    reading = False
    _listener: Any = None
    # Fires when the socket is closed; then the same for earlier sockets that are not closed yet.
    _free: Deferred[None]
    _unclosed: Sequence[Deferred[None]] = ()

    def startReading(self) -> None:
        self.reading = True
        if self._listener is not None:
            self._listener.resume()
            return
        self._process = os.getpid()
        self.socket = given_away(self.socket, self)
        self.fileno = self.socket.fileno  # type: ignore[method-assign]
        self._listener = self.reactor._loop.listen(self.socket.fileno(), self)
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
            # This comes first, because it raises in any thread but the loop's.
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
        if self.reactor._isCopy():
            # The loop will not report the close, and the address stays the parent's.
            self.connectionLost(connDone)
            return succeed(None)
        return self._free.addCallback(lambda _: self.connectionLost(connDone))

    def connectionLost(self, reason: Failure) -> None:
        if not self.connected:
            return
        try:
            self._end(reason)
        finally:
            self.deferred = None

    _end = tcp.Port.connectionLost

    def _normal(self, address: Any) -> Any:
        """The address of a peer as Twisted writes it."""
        return tcp._getrealname(address) if len(address) == 4 else address

    def _refuse(self) -> None:
        """
        Refuse connections from here on, even before the port has closed the socket. Does nothing in a forked child,
        because the parent still listens on the socket.
        """
        if not self._shouldShutdown or self._process != os.getpid():
            return
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # Some systems do not support this for listening sockets.

    def _closeSocket(self, orderly: bool) -> None:
        self._refuse()
        self._listener.stop()
        # The application may call `startListening` again.
        self._listener = None
        self.socket.detach()

    def _closedByHand(self) -> None:
        self._listener.stop()

    # The loop calls the following methods.

    def _accepted(self, address: Any) -> None:
        if self.disconnecting:
            return
        try:
            address = self._normal(address)
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
        """Free the descriptor that Twisted reserves for this case, and use it to reject the waiting clients."""
        if self.disconnecting:
            return
        with tcp._BuffersLogs(self._logger.namespace, self._logger.observer) as logger:
            clients = tcp._accept(logger, range(self.numberAccepts), self.socket, tcp._reservedFD)
            for skt, _ in clients:
                skt.close()

    def _closed(self) -> None:
        """Handle that the port has closed a socket of this listener. The OS may reuse its number from here on."""
        free, *self._unclosed = self._unclosed
        if free is self._free and self.connected:
            self.socket.detach()
        free.callback(None)


class Connector(tcp.Connector):
    """Makes `Client` connections."""

    def _makeTransport(self) -> Client:
        client: Client = Client(self.host, self.port, self.bindAddress, self, self.reactor)
        return client
