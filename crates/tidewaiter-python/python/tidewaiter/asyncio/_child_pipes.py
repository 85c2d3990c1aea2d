"""Our ends of the pipes to a child, as asyncio's transports."""

from __future__ import annotations

import asyncio
import io
import sys
from typing import TYPE_CHECKING, Any

from tidewaiter._tidewaiter import ChildPipe
from tidewaiter.asyncio._transports import write_limits

if TYPE_CHECKING:
    from tidewaiter.asyncio._subprocesses import ChildTransport


class Pipe(asyncio.BaseTransport):
    """Our end of a pipe to a child."""

    _MODE = "rb"

    def __init__(self, child: ChildTransport, fd: int, pipe: ChildPipe) -> None:
        super().__init__()
        self._child = child
        self._fd = fd
        self._pipe = pipe
        self._closing = False
        self._aborted = False
        self._gone = False

    def __repr__(self) -> str:
        state = "closed" if self._gone else "closing" if self._closing else "open"
        return f"<{type(self).__name__} {state} fd={self._fd}>"

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name == "pipe" and "pipe" not in self._extra:
            number = self._pipe.descriptor()
            if number is not None:
                self._extra["pipe"] = _view(number, self._MODE)
        return self._extra.get(name, default)

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        """Close the pipe, once everything written is sent."""
        if not self._closing:
            self._closing = True
            self._pipe.close(False)

    def abort(self) -> None:
        """Close the pipe, and drop what is not sent."""
        self._closing = self._aborted = True
        if not self._gone:
            self._pipe.close(True)

    def get_protocol(self) -> Any:
        return self._child.get_protocol()

    def set_protocol(self, protocol: Any) -> None:
        raise ValueError("the pipes of a child have its protocol: set that of the child's transport")

    # The child's transport calls the following methods.

    def _lost(self, cause: OSError | None) -> BaseException | None:
        """Note the end of the pipe, and the OS's reason. Returns what asyncio gives its protocol."""
        exception = self._exception_for(cause)
        self._closing = self._gone = True
        view = self._extra.get("pipe")
        if view is not None:
            view.close()
        return exception

    def _exception_for(self, cause: OSError | None) -> BaseException | None:
        if self._aborted:
            return None
        # A pipe that closes once everything is sent can break before.
        if self._pipe.unsent() > 0:
            return cause or BrokenPipeError()
        # A program that has sent everything may be left without a reader: that is no error.
        return None if self._closing or isinstance(cause, ConnectionError) else cause

    def _drained(self) -> None:
        pass

    def _deliver_plainly(self) -> None:
        """Have the protocol itself take what arrives, in place of a stream."""
        self._child._child.deliver_to(self._fd, None)


class ReadPipe(Pipe, asyncio.ReadTransport):
    """The pipe of an output of a child."""

    _paused = False

    def is_reading(self) -> bool:
        return not self._paused and not self._closing

    def pause_reading(self) -> None:
        if self.is_reading():
            self._paused = True
            self._pipe.pause()

    def resume_reading(self) -> None:
        if self._paused and not self._closing:
            self._paused = False
            self._pipe.resume()


class WritePipe(Pipe, asyncio.Transport):
    """The pipe of an input of a child."""

    _MODE = "wb"
    _stopped = False
    _limits = write_limits(None, None)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not isinstance(data, bytes):
            if not isinstance(data, (bytearray, memoryview)):
                raise TypeError(f"data argument must be a bytes-like object, not {type(data).__name__!r}")
            data = bytes(data)
        if self._pipe.write(data) and not self._stopped:
            self._stopped = True
            self._tell("pause_writing")

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.close()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._limits = write_limits(high, low)
        self._pipe.set_limits(*self._limits)

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._limits

    def get_write_buffer_size(self) -> int:
        return self._pipe.queued()

    def _drained(self) -> None:
        if self._stopped:
            self._stopped = False
            self._tell("resume_writing")

    def _tell(self, method: str) -> None:
        protocol = self._child.get_protocol()
        if protocol is not None:
            self._child._tell(getattr(protocol, method))


class DuplexPipe(ReadPipe, WritePipe):
    """A pipe of a child that goes both ways, or its terminal."""

    _MODE = "r+b"

    def write_eof(self) -> None:
        if not self._closing:
            self._pipe.write_eof()


def _view(number: int, mode: str) -> Any:
    """The pipe as Python code sees it. Closing the view does not close the pipe."""
    return io.FileIO(number, mode, closefd=False)


if sys.platform == "win32":
    from asyncio.windows_utils import PipeHandle

    class _View(PipeHandle):
        def close(self, **_: object) -> None:
            self._handle = None

    def _view(number: int, mode: str) -> Any:
        return _View(number)
