"""Ways to run a program on our loop."""

from __future__ import annotations

import asyncio
import sys
import warnings
from asyncio import events
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from tidewaiter.asyncio._loop import Loop

_T = TypeVar("_T")

if TYPE_CHECKING:
    _Policy = asyncio.AbstractEventLoopPolicy
elif sys.version_info >= (3, 14):
    _Policy = events._BaseDefaultEventLoopPolicy
else:
    _Policy = events.BaseDefaultEventLoopPolicy


def new_event_loop() -> Loop:
    """
    A new loop, on the port that the environment variable `TIDEWAITER_PORT` names, otherwise on the machine's best.

    Raises `OSError` if the port cannot be opened.
    """
    return Loop()


class EventLoopPolicy(_Policy):
    """The policy by which `asyncio.new_event_loop` makes our loops."""

    def _loop_factory(self) -> Loop:
        return new_event_loop()


def install() -> None:
    """
    Make `asyncio.run` and `asyncio.new_event_loop` use our loops, by an `EventLoopPolicy`.

    Python 3.14 deprecates policies, and a later version will remove them: prefer `run` there.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        asyncio.set_event_loop_policy(EventLoopPolicy())


def run(main: Coroutine[Any, Any, _T], *, debug: bool | None = None) -> _T:
    """As `asyncio.run`, on our loop."""
    if events._get_running_loop() is not None:
        raise RuntimeError("tidewaiter.asyncio.run() cannot be called from a running event loop")
    if sys.version_info >= (3, 11):
        with asyncio.Runner(debug=debug, loop_factory=new_event_loop) as runner:
            return runner.run(main)
    return _run_before_runners(main, debug)


def _run_before_runners(main: Coroutine[Any, Any, _T], debug: bool | None) -> _T:
    """Does what `asyncio.run` of Python 3.10 does, with our loop."""
    if not asyncio.iscoroutine(main):
        raise ValueError(f"a coroutine was expected, got {main!r}")
    loop = new_event_loop()
    try:
        asyncio.set_event_loop(loop)
        if debug is not None:
            loop.set_debug(debug)
        return loop.run_until_complete(main)
    finally:
        try:
            asyncio.runners._cancel_all_tasks(loop)  # type: ignore[attr-defined]
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            asyncio.set_event_loop(None)
            loop.close()
