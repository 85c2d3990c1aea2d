"""Connections and servers of the loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat
import sys
import warnings
from asyncio import base_events, exceptions, transports, trsock
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from tidewaiter._tidewaiter import AsyncioLoop
from tidewaiter._views import View, given_away
from tidewaiter.asyncio import _native_streams, _tls
from tidewaiter.asyncio._signatures import as_in

if TYPE_CHECKING:
    from asyncio import BaseProtocol, Future, Server
    from collections.abc import Callable

    from tidewaiter._tidewaiter import SocketTransport as _SocketTransport
    from tidewaiter._tidewaiter import StreamListener

if sys.platform != "win32":
    from asyncio import unix_events

_IP = (socket.AF_INET, socket.AF_INET6)
_UNIX = getattr(socket, "AF_UNIX", None)
# Accepting failed for want of these: asyncio's exception handler is told.
_WANT = "socket.accept() out of system resource"


class SocketTransport(transports._FlowControlMixin):
    """What `isinstance` sees of a connection: the class of the real object cannot inherit from asyncio's."""

    __slots__ = ()


def view(number: int) -> socket.socket:
    """The connection's socket with this number as Python sees it."""
    return View(fileno=number)


def shown(skt: socket.socket) -> trsock.TransportSocket:
    """What `get_extra_info` returns for `skt`."""
    return trsock.TransportSocket(skt)


def _peer(sock: socket.socket) -> Any:
    """The address of a socket's peer in the form that the port knows."""
    try:
        if sock.family in _IP or sock.family == _UNIX:
            return sock.getpeername()
    except OSError:
        pass  # It is not connected, and the first operation on it tells so.
    return ("0.0.0.0", 0) if sock.family in _IP else ""


class Streams(AsyncioLoop, base_events.BaseEventLoop):
    """The part of the loop that makes connections and servers, through the hooks of `BaseEventLoop`."""

    if sys.platform != "win32":
        create_unix_connection = unix_events._UnixSelectorEventLoop.create_unix_connection

        @as_in(unix_events._UnixSelectorEventLoop.create_unix_server)
        async def create_unix_server(self, *args: Any, sock: socket.socket | None = None, **options: Any) -> Server:
            if sock is not None:
                self._shared.add(sock)
            create = unix_events._UnixSelectorEventLoop.create_unix_server
            return await create(self, *args, sock=sock, **options)

    def __init__(self) -> None:
        self._listeners: dict[socket.socket, StreamListener] = {}
        # The UNIX sockets whose paths go with them, and the numbers of the paths' files.
        self._unix_server_sockets: dict[socket.socket, int] = {}
        # Listening sockets that the program passed: other processes may accept on them, too.
        self._shared: WeakSet[socket.socket] = WeakSet()
        super().__init__()

    def close(self) -> None:
        super().close()
        for transport in self._socket_transports():
            if not transport.is_closing() and not sys.is_finalizing():
                warnings.warn(f"unclosed transport {transport!r}", ResourceWarning, source=transport, stacklevel=2)
            transport._abandon()

    @property
    def _transports(self) -> dict[int | None, _SocketTransport]:
        """The transports of connections by the numbers of their sockets."""
        return {transport._sock_fd: transport for transport in self._socket_transports()}

    def _ensure_fd_no_transport(self, fd: Any) -> None:
        """Refuse a descriptor that one of the transports uses."""
        number = fd if isinstance(fd, int) else fd.fileno()
        if number >= 0 and self._is_transports(number):
            transport = self._transports[number]
            if not transport.is_closing():
                raise RuntimeError(f"File descriptor {fd!r} is used by transport {transport!r}")

    def _make_socket_transport(
        self,
        sock: socket.socket,
        protocol: BaseProtocol,
        waiter: Future[None] | None = None,
        *,
        extra: dict[str, Any] | None = None,
        server: Server | None = None,
    ) -> _SocketTransport:
        self._ensure_fd_no_transport(sock)
        peer = _peer(sock)
        sock = given_away(sock)
        return self._open_stream(sock.fileno(), peer, protocol, waiter, extra, server, sock)

    _adopt_stream = staticmethod(_native_streams.adopt)
    _drained = staticmethod(_native_streams.drained)
    _adopt_tls = staticmethod(_tls.adopt)

    def _make_ssl_transport(
        self,
        rawsock: socket.socket,
        protocol: BaseProtocol,
        sslcontext: Any,
        waiter: Future[None] | None = None,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        extra: dict[str, Any] | None = None,
        server: Server | None = None,
        **timeouts: Any,
    ) -> Any:
        tls = _tls.protocol(self, protocol, sslcontext, waiter, server_side, server_hostname, **timeouts)
        self._make_socket_transport(rawsock, tls, extra=extra, server=server)
        return tls._app_transport

    @as_in(base_events.BaseEventLoop.start_tls)
    async def start_tls(
        self,
        transport: Any,
        protocol: BaseProtocol,
        sslcontext: Any,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        **timeouts: Any,
    ) -> Any:
        if not _tls.is_context(sslcontext):
            raise TypeError(f"sslcontext is expected to be an instance of ssl.SSLContext, got {sslcontext!r}")
        if not getattr(transport, "_start_tls_compatible", False):
            raise TypeError(f"transport {transport!r} is not supported by start_tls()")
        done = self.create_future()
        tls = _tls.protocol(
            self, protocol, sslcontext, done, server_side, server_hostname, call_connection_made=False, **timeouts
        )
        # The new protocol gets the bytes that arrive, once it has begun.
        transport.pause_reading()
        transport.set_protocol(tls)
        begin = [self.call_soon(tls.connection_made, transport), self.call_soon(transport.resume_reading)]
        try:
            await done
        except BaseException:
            transport.close()
            for call in begin:
                call.cancel()
            raise
        return tls._app_transport

    @as_in(base_events.BaseEventLoop.create_server)
    async def create_server(self, *args: Any, sock: socket.socket | None = None, **options: Any) -> Server:
        if sock is not None:
            self._shared.add(sock)
        return await super().create_server(*args, sock=sock, **options)

    def _start_serving(
        self,
        protocol_factory: Callable[[], BaseProtocol],
        sock: socket.socket,
        sslcontext: Any = None,
        server: Server | None = None,
        backlog: int = 100,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> None:
        factory: Callable[[], BaseProtocol] = protocol_factory
        if sslcontext:
            timeouts = {"ssl_handshake_timeout": ssl_handshake_timeout}
            if ssl_shutdown_timeout is not None:
                timeouts["ssl_shutdown_timeout"] = ssl_shutdown_timeout

            def factory() -> BaseProtocol:
                return self._accept_tls(protocol_factory(), sslcontext, timeouts)

        def failed(exception: OSError) -> None:
            socket_shown = trsock.TransportSocket(sock)
            self.call_exception_handler({"message": _WANT, "exception": exception, "socket": socket_shown})

        number = given_away(sock).fileno() if type(sock) is socket.socket else sock.dup().detach()
        self._listeners[sock] = self._listen(number, factory, server, failed)

    def _accept_tls(self, protocol: BaseProtocol, sslcontext: Any, timeouts: dict[str, Any]) -> BaseProtocol:
        """Make the TLS layer of an accepted connection. That the handshake failed is reported in debug mode only."""
        waiter = self.create_future()

        def done(waiter: Future[None]) -> None:
            exception = None if waiter.cancelled() else waiter.exception()
            if exception is None:
                return
            transport = tls._app_transport
            if transport is not None:
                transport.close()
            if self.get_debug():
                message = "Error on transport creation for incoming connection"
                about = {"protocol": protocol, "transport": transport}
                self.call_exception_handler({"message": message, "exception": exception, **about})

        waiter.add_done_callback(done)
        tls = _tls.protocol(self, protocol, sslcontext, waiter, True, **timeouts)
        return tls

    def _stop_serving(self, sock: socket.socket) -> None:
        known = self._unix_server_sockets.pop(sock, None)
        path = None if known is None else sock.getsockname()
        listener = self._listeners.pop(sock, None)
        stopping = listener is not None and listener.stop()
        if stopping and sock not in self._shared:
            # The port closes the socket in the next turn, but nobody is to connect to it from here on.
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RD)
        sock.close()
        if path is not None:
            self._remove_path(path, known)

    def _remove_path(self, path: str, known: int) -> None:
        """Remove the path of a UNIX socket that was closed, unless another one took its place."""
        try:
            if os.stat(path).st_ino == known:
                os.unlink(path)
        except FileNotFoundError:
            pass
        except OSError as problem:
            base_events.logger.error("Unable to clean up listening UNIX socket %r: %r", path, problem)

    async def _sendfile_native(self, transp: _SocketTransport, file: Any, offset: int, count: int | None) -> int:
        """Send a file by the port. Where that is not possible, `BaseEventLoop` reads and writes."""
        self._check_sendfile_params(transp.get_extra_info("socket"), file, offset, count)
        number = self._file_to_send(file)
        reading = transp.is_reading()
        transp.pause_reading()
        future = self.create_future()

        def done(sent: int, exception: BaseException | None) -> None:
            # A program that cancelled the call may have closed the file, or use it for something else.
            if not future.done():
                future.set_result((sent, exception))

        try:
            transp._send_file(number, offset, count, done)
            try:
                sent, exception = await asyncio.shield(future)
            except asyncio.CancelledError:
                transp._cancel_file()
                sent, _ = await future
                # The program may have closed the file meanwhile.
                with contextlib.suppress(ValueError):
                    file.seek(offset + sent)
                raise
            file.seek(offset + sent)
            if exception is not None:
                raise exception
            return int(sent)
        finally:
            if reading:
                transp.resume_reading()

    def _file_to_send(self, file: Any) -> int:
        """A duplicate of the file's descriptor, or of its handle on Windows."""
        unfit = exceptions.SendfileNotAvailableError("not a regular file")
        if sys.platform == "win32":
            raise unfit
        try:
            number = file.fileno()
            if not stat.S_ISREG(os.fstat(number).st_mode):
                raise unfit
            return os.dup(number)
        except (AttributeError, OSError) as problem:
            raise unfit from problem
