"""Datagram transports."""

from __future__ import annotations

import socket
from asyncio import BaseProtocol, Future, base_events, transports
from asyncio.trsock import TransportSocket
from collections.abc import Callable
from typing import Any

from tidewaiter._tidewaiter import AsyncioDatagrams, AsyncioLoop
from tidewaiter._views import given_away
from tidewaiter.asyncio._transports import LoopTransport


def _name_or_none(ask: Callable[[], Any]) -> Any:
    try:
        return ask()
    except OSError:
        return None


class DatagramTransport(LoopTransport, transports.Transport, transports.DatagramTransport):
    """A datagram socket on the loop."""

    _LOST_WRITE = "socket.send() raised exception."

    def __init__(
        self,
        loop: Any,
        sock: socket.socket,
        protocol: BaseProtocol,
        address: Any = None,
        waiter: Future[None] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> None:
        # From here on, the socket is a view of the one that belongs to the loop.
        sock = given_away(sock)
        self._address = address
        super().__init__(loop, sock, protocol, extra)
        self._extra["socket"] = TransportSocket(sock)
        self._extra["sockname"] = _name_or_none(sock.getsockname)
        self._extra.setdefault("peername", _name_or_none(sock.getpeername))
        self.sendto = self._below.sendto
        self.get_write_buffer_size = self._below.get_write_buffer_size
        self.set_write_buffer_limits()
        self._begin(waiter)

    def _opened(self, subject: socket.socket) -> AsyncioDatagrams:
        return self._loop._open_datagrams(subject.fileno(), self, self._protocol, self._address)

    # The object below calls the following method.

    def _resolved(self, address: Any) -> Any:
        """The numbers of an address that names a host."""
        host, port = address[:2]
        if host == "<broadcast>":
            return ("255.255.255.255", port)
        sock = self._subject
        return socket.getaddrinfo(host, port, sock.family, sock.type, sock.proto)[0][4]


class Datagrams(AsyncioLoop, base_events.BaseEventLoop):
    """The part of the loop that makes datagram transports, through the hook of `BaseEventLoop`."""

    def _make_datagram_transport(
        self,
        sock: socket.socket,
        protocol: BaseProtocol,
        address: Any = None,
        waiter: Future[None] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> DatagramTransport:
        self._ensure_fd_no_transport(sock)
        return DatagramTransport(self, sock, protocol, address, waiter, extra)
