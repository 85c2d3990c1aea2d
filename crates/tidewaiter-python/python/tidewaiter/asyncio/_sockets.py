"""The loop's calls for the application's own sockets, which stay the application's."""

from __future__ import annotations

import errno
import io
import os
import socket
from asyncio import SendfileNotAvailableError, sleep
from typing import IO, Any

from tidewaiter.asyncio._watching import _READS, _WRITES, Watching

try:
    from ssl import SSLSocket
except ImportError:

    class SSLSocket:  # type: ignore[no-redef]
        """Stands for the sockets of a Python without TLS: nothing is one."""


# A call raises these if it would block, or if a signal interrupted it.
_NOT_YET = (BlockingIOError, InterruptedError)


def _is_numeric(family: int, address: Any) -> bool:
    """Whether an address needs no look-up of names."""
    try:
        socket.inet_pton(family, address[0])
    except (OSError, TypeError, ValueError):
        return False
    return isinstance(address[1], int)


class Sockets(Watching):
    """
    The part of the loop that waits for the application's own sockets.

    Each call is made at once, and again each time that the socket is ready. The coroutine itself makes it, so that a
    cancelled one has received, accepted or sent nothing that it does not tell of.
    """

    def _check_socket(self, sock: Any) -> None:
        if isinstance(sock, SSLSocket):
            raise TypeError("Socket cannot be of type SSLSocket")
        if self.get_debug() and sock.gettimeout() != 0:
            raise ValueError("the socket must be non-blocking")

    async def sock_recv(self, sock: socket.socket, n: int) -> bytes:
        """Receive up to `n` bytes; none at the end of the stream."""
        self._check_socket(sock)
        while True:
            try:
                return sock.recv(n)
            except _NOT_YET:
                pass
            await self._when_ready(sock, _READS)

    async def sock_recv_into(self, sock: socket.socket, buf: Any) -> int:
        """Receive into `buf`. Returns how many bytes were received."""
        self._check_socket(sock)
        while True:
            try:
                return sock.recv_into(buf)
            except _NOT_YET:
                pass
            await self._when_ready(sock, _READS)

    async def sock_recvfrom(self, sock: socket.socket, bufsize: int) -> tuple[bytes, Any]:
        """Receive a datagram of up to `bufsize` bytes. Returns it with its sender's address."""
        self._check_socket(sock)
        while True:
            try:
                return sock.recvfrom(bufsize)
            except _NOT_YET:
                pass
            await self._when_ready(sock, _READS)

    async def sock_recvfrom_into(self, sock: socket.socket, buf: Any, nbytes: int = 0) -> tuple[int, Any]:
        """Receive a datagram into `buf`. Returns its size and its sender's address."""
        self._check_socket(sock)
        nbytes = nbytes or len(buf)
        while True:
            try:
                return sock.recvfrom_into(buf, nbytes)
            except _NOT_YET:
                pass
            await self._when_ready(sock, _READS)

    async def sock_sendall(self, sock: socket.socket, data: Any) -> None:
        """Send all of `data`. After an error, nobody knows how much was sent."""
        self._check_socket(sock)
        rest = memoryview(data).cast("B")
        while True:
            try:
                sent = sock.send(rest)
            except _NOT_YET:
                sent = 0
            if sent == len(rest):
                return
            rest = rest[sent:]
            await self._when_ready(sock, _WRITES)

    async def sock_sendto(self, sock: socket.socket, data: Any, address: Any) -> int:
        """Send a datagram to `address`. Returns its size."""
        self._check_socket(sock)
        while True:
            try:
                return sock.sendto(data, address)
            except _NOT_YET:
                pass
            await self._when_ready(sock, _WRITES)

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        """Connect to `address`, whose host may be a name if the socket is of IP."""
        self._check_socket(sock)
        if sock.family in (socket.AF_INET, socket.AF_INET6) and not _is_numeric(sock.family, address):
            found = await self._ensure_resolved(
                address, family=sock.family, type=sock.type, proto=sock.proto, loop=self
            )
            address = found[0][4]
        try:
            return sock.connect(address)
        except _NOT_YET:
            pass
        await self._when_ready(sock, _WRITES)
        error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise OSError(error, f"Connect call failed {address}")

    async def sock_accept(self, sock: socket.socket) -> tuple[socket.socket, Any]:
        """Accept a connection. Returns its socket, which does not block, and the peer's address."""
        self._check_socket(sock)
        while True:
            try:
                connection, address = sock.accept()
            except _NOT_YET:
                pass
            else:
                connection.setblocking(False)
                return connection, address
            await self._when_ready(sock, _READS)

    async def _sock_sendfile_native(self, sock: socket.socket, file: IO[bytes], offset: int, count: int | None) -> int:
        """Send a file's bytes without copying them through Python, which not all systems can."""
        if not hasattr(os, "sendfile"):
            raise SendfileNotAvailableError("os.sendfile() is not available")
        try:
            number = file.fileno()
            size = os.fstat(number).st_size
        except (AttributeError, OSError, io.UnsupportedOperation):
            raise SendfileNotAvailableError("not a regular file") from None
        # Without a limit, all that the file has, and what is added to it meanwhile.
        piece = max(size, 1)
        sent = 0
        try:
            while count is None or sent < count:
                try:
                    moved = os.sendfile(sock.fileno(), number, offset + sent, piece if count is None else count - sent)
                except _NOT_YET:
                    moved = None
                if moved is None:
                    await self._when_ready(sock, _WRITES)
                    continue
                if moved == 0:
                    break
                sent += moved
                await sleep(0)
        except OSError as failure:
            if sent == 0:
                raise SendfileNotAvailableError("os.sendfile call failed") from failure
            if failure.errno == errno.ENOTCONN and not isinstance(failure, ConnectionError):
                raise ConnectionError("socket is not connected", errno.ENOTCONN) from failure
            raise
        finally:
            if sent:
                os.lseek(number, offset + sent, os.SEEK_SET)
        return sent
