"""asyncio's face on the port of a reactor: both run in the same turns."""

from __future__ import annotations

import asyncio
import sys
import threading
from asyncio import events
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tidewaiter.asyncio import Loop
    from tidewaiter.twisted._reactor import LoopReactor


def running_loop() -> Loop | None:
    """The asyncio loop that runs in this thread, if it is one of ours."""
    if "tidewaiter.asyncio" not in sys.modules:
        return None
    from tidewaiter.asyncio import Loop

    loop = asyncio._get_running_loop()
    return loop if isinstance(loop, Loop) else None


class Face:
    """The asyncio loop of a reactor, made when it is first asked for."""

    def __init__(self, reactor: LoopReactor, loop: Loop | None) -> None:
        self._reactor = reactor
        self._loop = loop
        # While the reactor makes the turns: what to undo at their end, and the thread that makes them.
        self._turns: ExitStack | None = None
        self._thread: int | None = None

    @property
    def loop(self) -> Loop:
        if self._loop is None:
            from tidewaiter.asyncio import Loop

            self._loop = Loop(core=self._reactor._core)
            if self._turns is not None and self._thread == threading.get_ident():
                self._turns.enter_context(self._as_running(self._loop))
        return self._loop

    @contextmanager
    def running(self) -> Iterator[None]:
        """The reactor makes the turns: its asyncio loop is the running one."""
        self._reactor._enterContext()
        if self._turns is not None:
            yield
            return
        with ExitStack() as turns:
            if self._loop is not None:
                turns.enter_context(self._as_running(self._loop))
            self._turns, self._thread = turns, threading.get_ident()
            try:
                yield
            finally:
                self._turns = self._thread = None

    @contextmanager
    def _as_running(self, loop: Any) -> Iterator[None]:
        """Make `loop` the running one, as its own `run_forever` does."""
        loop._check_closed()
        loop._check_running()
        loop._set_coroutine_origin_tracking(loop.get_debug())
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(firstiter=loop._asyncgen_firstiter_hook, finalizer=loop._asyncgen_finalizer_hook)
        loop._thread_id = threading.get_ident()
        loop.stop = self._stop
        events._set_running_loop(loop)
        try:
            yield
        finally:
            events._set_running_loop(None)
            del loop.stop
            loop._thread_id = None
            loop._set_coroutine_origin_tracking(False)
            sys.set_asyncgen_hooks(*hooks)

    def _stop(self) -> None:
        """Stop the reactor in the place of its asyncio loop, which it runs."""
        if self._reactor._started and not self._reactor._stopped:
            self._reactor.stop()

    def stopped(self) -> None:
        """The reactor was told to stop: if it does not make the turns itself, its loop has to shut it down."""
        if self._turns is None and self._loop is not None:
            self._loop.call_soon(self._reactor.runUntilCurrent)
