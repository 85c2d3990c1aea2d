"""UDP on the port: subclasses of Twisted's datagram ports that send and receive in Rust."""

from __future__ import annotations

import errno
import socket
from typing import Any

from twisted.internet import abstract, defer, error, udp
from twisted.python import log
from twisted.python.failure import Failure

from tidewaiter._tidewaiter import Datagrams
from tidewaiter._views import given_away
from tidewaiter.twisted._flow import failure_of

# The numbers of the errors for a datagram that is too large: of this system, and of Windows.
_TOO_LARGE = (errno.EMSGSIZE, 10040)


class DatagramPort(Datagrams):
    """What the ports for datagrams share. To be mixed with one of Twisted's."""

    # Fires when the socket is closed; `None` if the loop does not tell.
    _free: defer.Deferred[None] | None = None
    _onePeer = False

    def _bindSocket(self) -> None:
        super()._bindSocket()
        skt = self.socket = given_away(self.socket, self)
        self.fileno = skt.fileno
        try:
            self._take(self.reactor._loop, skt.fileno(), self._onePeer)
        except OSError as refused:
            self.connected = False
            raise error.CannotListenError(self.interface, self.port, refused) from refused
        self._free = defer.Deferred()

    def _loseConnection(self) -> None:
        if self.reactor._isCopy():
            # The loop will not call, and the address stays the parent's.
            self.connectionLost()
        else:
            super()._loseConnection()

    def connectionLost(self, reason: Failure | None = None) -> None:
        """Close the socket. What `stopListening` has returned fires when its address is free again."""
        stopped = self.__dict__.pop("d", None)
        super().connectionLost(reason)
        if stopped is None:
            return
        if self._free is None:
            stopped.callback(None)
        else:
            self._free.chainDeferred(stopped)

    def _closedByHand(self) -> None:
        """Handle that `socket` was closed, by Twisted's code or by the application."""
        if not self._close():
            self._free = None

    # The loop and the methods of `Datagrams` call the following methods.

    def _closed(self) -> None:
        """Handle that the loop has closed the socket. The OS may reuse its number from here on."""
        free, self._free = self._free, None
        if self.connected:
            self.socket.detach()
        if free is not None:
            free.callback(None)

    def _datagramFailed(self, exception: BaseException) -> None:
        log.err(failure_of(exception))

    def _receiveFailed(self, failure: OSError, refused: bool) -> None:
        """Handle an error that came instead of a datagram."""
        if refused:
            self.protocol.connectionRefused()
        else:
            log.msg(f"{self.logstr}: {failure}")

    def _sendFailed(self, failure: OSError, refused: bool) -> None:
        """Handle that a datagram could not be sent."""
        if failure.errno in _TOO_LARGE:
            raise error.MessageLengthError("message too long")
        if not refused:
            raise failure
        self._sendRefused(failure)


class Port(DatagramPort, udp.Port):
    """A UDP port that sends and receives through the port."""

    def connect(self, host: str, port: int) -> None:
        if self._connectedAddr:
            raise RuntimeError("already connected, reconnecting is not currently supported")
        if not abstract.isIPAddress(host) and not abstract.isIPv6Address(host):
            raise error.InvalidAddressError(host, "not an IPv4 or IPv6 address.")
        self._connectedAddr = (host, port)
        self._set_peer(self._resolved((host, port)))

    def _resolved(self, address: tuple[str, int]) -> Any:
        """The numbers of an address, with the interface that its host names after a `%`."""
        host, port = address[:2]
        kind, numbers = socket.SOCK_DGRAM, socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        return socket.getaddrinfo(host, port, self.addressFamily, kind, 0, numbers)[0][4]

    def _sendRefused(self, failure: OSError) -> None:
        # Otherwise, it was not this datagram that was refused.
        if self._connectedAddr:
            self.protocol.connectionRefused()

    # The methods of `Datagrams` call the following methods.

    def _destination(self, address: Any) -> Any:
        """Where `write` is to send to, as sockets have it."""
        host = address[0]
        is_v4 = abstract.isIPAddress(host) or host == "<broadcast>"
        is_v6 = abstract.isIPv6Address(host)
        if not is_v4 and not is_v6:
            raise error.InvalidAddressError(host, "write() only accepts IP addresses, not hostnames")
        if is_v4 and self.addressFamily == socket.AF_INET6:
            raise error.InvalidAddressError(host, "IPv6 port write() called with IPv4 or broadcast address")
        if is_v6 and self.addressFamily == socket.AF_INET:
            raise error.InvalidAddressError(host, "IPv4 port write() called with IPv6 address")
        return ("255.255.255.255", address[1]) if host == "<broadcast>" else self._resolved(address)

    def _named(self, address: tuple[str, int, int, int]) -> tuple[str, int]:
        """A sender whose address belongs to one interface, which the host names after a `%`."""
        host = socket.getnameinfo(address, socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)[0]
        return host, address[1]


class MulticastPort(Port, udp.MulticastPort):
    """A UDP port for multicast that sends and receives through the port."""
