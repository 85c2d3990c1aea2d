"""Datagram transports."""

from __future__ import annotations

import socket
import warnings
from asyncio import BaseProtocol, Future, base_events, transports
from asyncio.trsock import TransportSocket
from collections.abc import Callable
from typing import Any
from weakref import WeakValueDictionary

from tidewaiter._tidewaiter import AsyncioDatagrams, AsyncioLoop
from tidewaiter._views import given_away
from tidewaiter.asyncio._signatures import as_in
from tidewaiter.asyncio._transports import LoopTransport

# The default of a parameter that must not be given.
_NOT_GIVEN = object()


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

    def __init__(self) -> None:
        # Those that are open, by the numbers of their sockets.
        self._datagram_transports: WeakValueDictionary[int, DatagramTransport] = WeakValueDictionary()
        super().__init__()

    @as_in(base_events.BaseEventLoop.create_datagram_endpoint)
    async def create_datagram_endpoint(  # type: ignore[override]
        self, *args: Any, reuse_address: Any = _NOT_GIVEN, **kwargs: Any
    ) -> tuple[transports.DatagramTransport, BaseProtocol]:
        """As asyncio's, which refuses `reuse_address` in all versions, but not always in words."""
        if reuse_address is not _NOT_GIVEN:
            if reuse_address:
                raise ValueError(
                    "Passing `reuse_address=True` is no longer supported, as the usage of SO_REUSEPORT in UDP poses a "
                    "significant security concern."
                )
            message = "The *reuse_address* parameter has been deprecated as of 3.5.10 and is scheduled for removal."
            warnings.warn(message, DeprecationWarning, stacklevel=2)
        return await super().create_datagram_endpoint(*args, **kwargs)

    def _ensure_fd_no_transport(self, fd: Any) -> None:
        """Refuse a descriptor that one of the transports uses."""
        number = fd if isinstance(fd, int) else fd.fileno()
        transport = self._datagram_transports.get(number)
        if transport is not None and not transport.is_closing():
            raise RuntimeError(f"File descriptor {fd!r} is used by transport {transport!r}")
        super()._ensure_fd_no_transport(fd)

    def _make_datagram_transport(
        self,
        sock: socket.socket,
        protocol: BaseProtocol,
        address: Any = None,
        waiter: Future[None] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> DatagramTransport:
        self._ensure_fd_no_transport(sock)
        transport = DatagramTransport(self, sock, protocol, address, waiter, extra)
        self._datagram_transports[sock.fileno()] = transport
        return transport
