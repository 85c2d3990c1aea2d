"""What a loop tells of itself: counts, and warnings about callbacks and tasks that are slow."""

from __future__ import annotations

import asyncio
import functools
import logging
from asyncio import base_events
from asyncio.log import logger
from collections.abc import Iterator
from types import FrameType
from typing import Any

from tidewaiter import Metrics, _slow_limit
from tidewaiter._tidewaiter import AsyncioLoop, Core

# How many of the coroutines that await one another a warning names.
_AWAITS_MAX = 5


class Insight(AsyncioLoop, base_events.BaseEventLoop):
    """The part of the loop that tells of it."""

    _core: Core
    _slow_callback: float | None = None

    def metrics(self) -> Metrics:
        """Counts of the loop's events since it was made, and of its objects and operations now."""
        return self._core.metrics()

    @property
    def slow_callback(self) -> float | None:
        """
        The limit for callbacks and for the steps of tasks, in seconds: a warning names each that takes longer, and
        where the task awaits. `None`: no limit. The environment variable `TIDEWAITER_SLOW_CALLBACK` sets it, too.

        Debug mode has a limit of its own, asyncio's `slow_callback_duration`.
        """
        return self._slow_callback

    @slow_callback.setter
    def slow_callback(self, limit: float | None) -> None:
        self._slow_callback = _slow_limit.checked(limit)
        self._core.set_on_slow(limit, _warn_of_slow)


def _class_name(thing: object) -> str:
    kind = type(thing)
    return f"{kind.__module__}.{kind.__qualname__}"


def _name(called: object, method: str) -> str:
    """The name of `method` of `called`, or of `called` itself if `method` is empty."""
    if method:
        return f"{_class_name(called)}.{method}"
    while isinstance(called, functools.partial):
        called = called.func
    name = getattr(called, "__qualname__", None)
    if name is None:
        return _class_name(called)
    module = getattr(called, "__module__", None)
    return name if module is None else f"{module}.{name}"


def _awaits(awaitable: Any) -> Iterator[str]:
    """Where a coroutine awaits, and where the one that it awaits does, and so on."""
    for _ in range(_AWAITS_MAX):
        frame: FrameType | None = getattr(awaitable, "cr_frame", None) or getattr(awaitable, "gi_frame", None)
        if frame is None:
            return
        yield f"{awaitable.__qualname__} at {frame.f_code.co_filename}:{frame.f_lineno}"
        awaitable = getattr(awaitable, "cr_await", None) or getattr(awaitable, "gi_yieldfrom", None)


def _warn_of_slow(called: object, method: str, seconds: float) -> None:
    task = getattr(called, "__self__", None)
    if not isinstance(task, asyncio.Task):
        logger.warning("%s blocked the loop for %.3f seconds", _name(called, method), seconds)
        return
    places = " > ".join(_awaits(task.get_coro()))
    after = f"it awaits {places}" if places else "it has ended"
    logger.warning("%r blocked the loop for %.3f seconds; %s", task, seconds, after)


def forward(level: str, target: str, message: str) -> None:
    """Log a record of the library."""
    logging.getLogger(target.replace("::", ".")).log(logging.getLevelName(level), message)
