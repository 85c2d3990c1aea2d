"""Transports for pipes, terminals and other descriptors of the application's."""

from __future__ import annotations

import os
import stat
import sys
from asyncio import BaseProtocol, Future, base_events, transports
from typing import Any

from tidewaiter._tidewaiter import AsyncioLoop, AsyncioPipe
from tidewaiter.asyncio._transports import LoopTransport

if sys.platform == "win32":
    import msvcrt
    from asyncio.windows_utils import PipeHandle
else:
    from asyncio import unix_events


def _number_of(pipe: Any) -> int:
    """The number of the descriptor that a file object has; on Windows, of its handle."""
    number = pipe.fileno()
    if sys.platform == "win32":
        return number if isinstance(pipe, PipeHandle) else msvcrt.get_osfhandle(number)
    mode = os.fstat(number).st_mode
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stat.S_ISCHR(mode)):
        raise ValueError("Pipe transport is for pipes/sockets only.")
    return number


def _shown(transport: Any) -> str:
    """A transport of a pipe, for its `repr`."""
    pipe = transport._pipe
    state = "closed" if pipe is None else "closing" if transport.is_closing() else "open"
    number = "" if pipe is None else f" fd={pipe.fileno()}"
    return f"<{type(transport).__name__} {state}{number}>"


class PipeTransport(LoopTransport):
    """A pipe, terminal, socket or device that the application has opened. It is closed with the transport."""

    _LOST_WRITE = "pipe closed by peer or os.write(pipe, data) raised exception."
    _READS = False

    def __init__(
        self,
        loop: Any,
        pipe: Any,
        protocol: BaseProtocol,
        waiter: Future[None] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(loop, pipe, protocol, extra)
        self._extra["pipe"] = pipe
        self._begin(waiter)

    def _opened(self, subject: Any) -> AsyncioPipe:
        number = _number_of(subject)
        return self._loop._open_pipe(number, self._READS, self, self._protocol)

    @property
    def _pipe(self) -> Any:
        return self._subject

    @_pipe.setter
    def _pipe(self, pipe: Any) -> None:
        self._subject = pipe


class ReadPipeTransport(PipeTransport, transports.ReadTransport):
    """A descriptor that the loop reads."""

    _READS = True


if sys.platform == "win32":

    class WritePipeTransport(PipeTransport, transports.WriteTransport):
        """A descriptor that the loop writes."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.write = self._below.write
            self.get_write_buffer_size = self._below.get_write_buffer_size
            self.set_write_buffer_limits()

        def can_write_eof(self) -> bool:
            return True

        def write_eof(self) -> None:
            """Close the pipe once everything is written, which is all that its reader can learn."""
            self.close()

else:

    class WritePipeTransport(unix_events._UnixWritePipeTransport):
        """
        A descriptor that the loop writes.

        `write` gives the system what it takes at once: programs read the other end right after. So this is asyncio's
        own transport, on our watches.
        """

        __repr__ = _shown


class Pipes(AsyncioLoop, base_events.BaseEventLoop):
    """The part of the loop that makes transports for pipes, through the hooks of `BaseEventLoop`."""

    def _make_read_pipe_transport(
        self,
        pipe: Any,
        protocol: BaseProtocol,
        waiter: Future[None] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> ReadPipeTransport:
        return ReadPipeTransport(self, pipe, protocol, waiter, extra)

    def _make_write_pipe_transport(
        self,
        pipe: Any,
        protocol: BaseProtocol,
        waiter: Future[None] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> WritePipeTransport:
        return WritePipeTransport(self, pipe, protocol, waiter, extra)
