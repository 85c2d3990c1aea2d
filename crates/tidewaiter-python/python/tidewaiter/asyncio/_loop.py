"""The event loop: asyncio's own `BaseEventLoop`, on a completion port."""

from __future__ import annotations

import sys
from asyncio import base_events, format_helpers
from asyncio.log import logger
from typing import Any

from tidewaiter import _forks, _slow_limit
from tidewaiter._tidewaiter import AsyncioLoop, Core, Handle
from tidewaiter.asyncio import _insight
from tidewaiter.asyncio._datagrams import Datagrams
from tidewaiter.asyncio._insight import Insight
from tidewaiter.asyncio._named_pipes import NamedPipes
from tidewaiter.asyncio._pipes import Pipes
from tidewaiter.asyncio._signals import Signals
from tidewaiter.asyncio._sockets import Sockets
from tidewaiter.asyncio._streams import Streams
from tidewaiter.asyncio._subprocesses import Subprocesses

# Private names of `BaseEventLoop` and of its module that this package uses.
PRIVATE_NAMES = (
    "_asyncgen_finalizer_hook",
    "_asyncgen_firstiter_hook",
    "_check_callback",
    "_check_closed",
    "_check_running",
    "_check_sendfile_params",
    "_check_thread",
    "_ensure_resolved",
    "_make_subprocess_transport",
    "_run_once",
    "_set_coroutine_origin_tracking",
)


class Loop(
    # The hooks of `BaseEventLoop` for streams and servers, sockets, datagrams, pipes and subprocesses come here, each
    # kind as a class in a file of its own: `_streams`, `_sockets`, `_datagrams`, `_pipes`, `_named_pipes`,
    # `_subprocesses`.
    Insight,
    Subprocesses,
    Signals,
    Datagrams,
    Streams,
    Sockets,
    NamedPipes,
    Pipes,
    AsyncioLoop,
    base_events.BaseEventLoop,
):
    """
    An asyncio event loop that waits at a completion port: io_uring or readiness on Linux, IOCP on Windows.

    `AsyncioLoop` has the parts that must be fast, and `BaseEventLoop` those that are the same on every loop.
    """

    def __init__(self, port: str | None = None, *, core: Core | None = None) -> None:
        """
        Open the completion port.

        `port` is its kind: "uring", "poll" or "iocp". By default it is the kind that the environment variable
        `TIDEWAITER_PORT` names, otherwise the best of this machine. With a `core`, the loop shares that, and whoever
        made it runs and closes it.

        Raises `OSError` if the port cannot be opened, and `ValueError` for an unknown kind.
        """
        self._owns_core = core is None
        self._core = Core(port) if core is None else core
        self._attach(self._core)
        self._follow_call_soon()
        if self._owns_core:
            self._core.set_on_error(self._report)
            self._core.set_on_log(_insight.forward)
            _forks.follow(self._core)
            self.slow_callback = _slow_limit.slow_limit()
        super().__init__()
        # Asyncio's own code, and its tests, take the name of the class from here.
        self._selector = self._core
        if type(self).time is not Loop.time:
            self._follow_clock(self.time)

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        if name == "time":
            # Delayed calls follow a clock that a program or a test gives the loop.
            self._follow_clock(self.time)
        elif name == "call_soon":
            self._follow_call_soon()

    def __delattr__(self, name: str) -> None:
        super().__delattr__(name)
        if name == "time":
            self._follow_clock(None if type(self).time is Loop.time else self.time)
        elif name == "call_soon":
            self._follow_call_soon()

    def _follow_call_soon(self) -> None:
        """Have transports call a `call_soon` that a program or a subclass gives the loop."""
        self._call_soon_replaced = "call_soon" in vars(self) or type(self).call_soon is not AsyncioLoop.call_soon

    def close(self) -> None:
        if self.is_closed():
            return
        super().close()
        self._drop_calls()
        if self._owns_core:
            self._core.close()

    # Called by `AsyncioLoop`.

    @staticmethod
    def _origin() -> Any:
        """The stack of the code that makes a call, for debug mode."""
        return format_helpers.extract_stack(sys._getframe(1))

    def _make_debugged(self, handle: Handle) -> None:
        """Make a call in debug mode, which warns if the call is slow."""
        self._current_handle = handle
        try:
            started = self.time()
            handle._run()
            took = self.time() - started
            if took >= self.slow_callback_duration:
                logger.warning("Executing %s took %.3f seconds", base_events._format_handle(handle), took)
        finally:
            self._current_handle = None

    def _call_failed(self, handle: Handle, exception: BaseException) -> None:
        """Report an exception that a call raised."""
        source = format_helpers._format_callback_source(handle._callback, handle._args)
        context = {"message": f"Exception in callback {source}", "exception": exception, "handle": handle}
        if handle._source_traceback:
            context["source_traceback"] = handle._source_traceback
        self._tell_handler(context)

    def _report(self, what: str, exception: BaseException, subject: object) -> None:
        """Report an exception that another callback of the loop raised, or raise it from the loop."""
        if isinstance(exception, (SystemExit, KeyboardInterrupt)):
            raise exception
        self._tell_handler({"message": f"Exception in {what} {subject!r}", "exception": exception})

    def _tell_handler(self, context: dict[str, Any]) -> None:
        """Call the exception handler while the exception is being handled: handlers may ask `sys.exc_info` for it."""
        exception = context["exception"]
        traceback = exception.__traceback__
        try:
            raise exception
        except BaseException:
            exception.__traceback__ = traceback
            self.call_exception_handler(context)
