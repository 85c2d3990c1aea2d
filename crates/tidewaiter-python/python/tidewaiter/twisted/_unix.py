"""UNIX sockets on the port: subclasses of Twisted's that send and receive in Rust."""

from __future__ import annotations

import socket
import struct
from typing import Any

from twisted.internet import error, tcp, unix
from twisted.python.failure import Failure

from tidewaiter.twisted import _tcp, _udp
from tidewaiter.twisted._tcp import Connecting


class _Passing:
    """Passes descriptors over a connection, to be mixed with it."""

    def sendFileDescriptor(self, fileno: int) -> None:
        if self._pass(fileno):
            # Twisted's own would look at the next chance to write.
            self.reactor.callLater(0, self._settled)

    def _settled(self) -> None:
        if self.connected and not self._settle():
            self.connectionLost(Failure(error.FileDescriptorOverrun()))

    # The loop calls the following method.

    def _descriptorsReceived(self, descriptors: list[int]) -> None:
        packed = struct.pack(f"{len(descriptors)}i", *descriptors)
        self._ancillaryLevelSOLSOCKETTypeSCMRIGHTS(packed)


class Server(_Passing, _tcp.Server, unix.Server):
    """A connection that a `Port` accepted, or that was adopted."""

    addressFamily = socket.AF_UNIX

    def __init__(
        self, sock: socket.socket | None, protocol: Any, client: Any, server: Any, sessionno: int, reactor: Any
    ) -> None:
        unix._SendmsgMixin.__init__(self)
        super().__init__(sock, protocol, (client, None), server, sessionno, reactor)

    def _peer(self) -> Any:
        return self.client[0]


class Client(_Passing, Connecting, unix.Client):
    """A connection that a `Connector` makes."""

    __init__ = unix.Client.__init__
    connectionLost = unix.Client.connectionLost

    def doConnect(self) -> None:
        try:
            super().doConnect()
        except OSError as refused:
            # The path is too long for the system, for example.
            self.failIfNotConnected(error.ConnectError(string=str(refused)))


class Port(_tcp.Port, unix.Port):
    """A listener that accepts through the port."""

    transport = Server

    @classmethod
    def _fromListeningDescriptor(cls, reactor: Any, fd: int, factory: Any) -> Port:
        port: Port = super()._fromListeningDescriptor(reactor, fd, factory)
        # Other processes may accept on the socket, too.
        port._shouldShutdown = False
        return port

    def _normal(self, address: Any) -> Any:
        return address or ""

    def _end(self, reason: Failure) -> None:
        if self.reactor._isCopy():
            # The parent still listens on the path.
            tcp.Port.connectionLost(self, reason)
        else:
            unix.Port.connectionLost(self, reason)


class DatagramPort(_udp.DatagramPort, unix.DatagramPort):
    """A UNIX socket for datagrams, to and from anyone."""

    def _sendRefused(self, failure: OSError) -> None:
        raise failure

    # The methods of `Datagrams` call the following method.

    def _destination(self, address: Any) -> Any:
        return address


class ConnectedDatagramPort(_udp.DatagramPort, unix.ConnectedDatagramPort):
    """A UNIX socket for datagrams, to and from one peer."""

    _onePeer = True

    def _sendRefused(self, failure: OSError) -> None:
        self.protocol.connectionRefused()


class Connector(unix.Connector):
    """Makes `Client` connections."""

    def _makeTransport(self) -> Client:
        client: Client = Client(self.address, self, self.reactor, self.checkPID)
        return client
