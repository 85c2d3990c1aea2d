"""The common parts of the transports for datagrams, for pipes, and for the pipes of children."""

from __future__ import annotations

import warnings
from asyncio import BaseProtocol, Future, transports
from asyncio.log import logger
from typing import Any

# asyncio's default, in bytes.
_HIGH = 64 * 1024

# As in asyncio: a program that writes more often to a transport that is closed is warned.
_LOST_WRITES = 5


def write_limits(high: int | None, low: int | None) -> tuple[int, int]:
    """The low and the high limit of a write buffer, as asyncio derives them from what the program gives."""
    if high is None:
        high = _HIGH if low is None else 4 * low
    if low is None:
        low = high // 4
    if not high >= low >= 0:
        raise ValueError(f"high ({high!r}) must be >= low ({low!r}) must be >= 0")
    return low, high


class LoopTransport(transports.BaseTransport):
    """
    A transport above an object of the loop's, `_below`.

    Methods that must be fast are those of that object: they are set on each transport. What the application named is
    `_subject`, a socket or a file object. It is closed after the protocol was told of the end.
    """

    _LOST_WRITE = ""

    def __init__(self, loop: Any, subject: Any, protocol: BaseProtocol, extra: dict[str, Any] | None) -> None:
        super().__init__(extra)
        self._loop = loop
        self._subject: Any = None
        self._protocol: Any = protocol
        self._closing = self._paused = False
        self._lost_writes = 0
        self._below = self._opened(subject)
        self._subject = subject

    def _opened(self, subject: Any) -> Any:
        """The object of the loop's for this subject."""
        raise NotImplementedError

    def _begin(self, waiter: Future[None] | None) -> None:
        """Have the loop tell the protocol of the transport, and only then receive."""
        self._loop.call_soon(self._protocol.connection_made, self)
        self._loop.call_soon(self._receive, waiter)

    def _receive(self, waiter: Future[None] | None) -> None:
        if self.is_reading():
            self._below.resume()
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def __repr__(self) -> str:
        subject = self._subject
        state = "closed" if subject is None else "closing" if self._closing else "open"
        number = "" if subject is None else f" fd={subject.fileno()}"
        return f"<{type(self).__name__} {state}{number}>"

    def __del__(self) -> None:
        if self._subject is not None:
            warnings.warn(f"unclosed transport {self!r}", ResourceWarning, source=self, stacklevel=2)
            self._subject.close()

    def get_protocol(self) -> BaseProtocol:
        return self._protocol

    def set_protocol(self, protocol: BaseProtocol) -> None:
        self._protocol = protocol
        self._below.set_protocol(protocol)

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        """Close the transport once everything that was written is sent."""
        if not self._closing:
            self._closing = True
            self._below.close(False)

    def abort(self) -> None:
        """Close the transport now."""
        self._closing = True
        self._below.close(True)

    # Receiving.

    def is_reading(self) -> bool:
        return not self._closing and not self._paused

    def pause_reading(self) -> None:
        if self.is_reading():
            self._paused = True
            self._below.pause()

    def resume_reading(self) -> None:
        if self._paused and not self._closing:
            self._paused = False
            self._below.resume()

    # Flow control of what is written.

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._low, self._high

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._low, self._high = write_limits(high, low)
        self._below.set_marks(self._low, self._high)

    # The object below calls the following methods.

    def _pause_writing(self, _: object) -> None:
        self._tell("pause_writing")

    def _resume_writing(self, _: object) -> None:
        self._tell("resume_writing")

    def _tell(self, name: str) -> None:
        try:
            getattr(self._protocol, name)()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exception:
            context = {
                "message": f"protocol.{name}() failed",
                "exception": exception,
                "transport": self,
                "protocol": self._protocol,
            }
            self._loop.call_exception_handler(context)

    def _lost_write(self, _: object) -> None:
        """Something was written to the closed transport."""
        if self._lost_writes >= _LOST_WRITES:
            logger.warning(self._LOST_WRITE)
        self._lost_writes += 1

    def _is_over(self, _: object) -> None:
        """The other side has ended: the end follows."""
        self._closing = True

    def _ended(self, exception: BaseException | None) -> None:
        """The loop has let go of the descriptor."""
        self._closing = True
        subject, self._subject = self._subject, None
        try:
            self._protocol.connection_lost(exception)
        finally:
            if subject is not None:
                subject.close()
            self._protocol = None
