"""
The reactor for programs that ask for Twisted's reactor on asyncio, such as Scrapy's::

    TWISTED_REACTOR = "tidewaiter.twisted.asyncioreactor.AsyncioReactor"
"""

from __future__ import annotations

import asyncio
from typing import Any

from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.base import ReactorBase

from tidewaiter.asyncio import Loop
from tidewaiter.twisted import Reactor, _install
from tidewaiter.twisted._face import running_loop

__all__ = ["AsyncioReactor", "install"]


class AsyncioReactor(Reactor, AsyncioSelectorReactor):  # type: ignore[misc]
    """
    A `Reactor` that is an `AsyncioSelectorReactor`, too, for programs that look at its class. Nothing of that class's
    own code is used. Its asyncio loop runs from the beginning.
    """

    def __init__(self, eventloop: Loop | None = None) -> None:
        """
        Share the port of `eventloop`: by default that of the running loop, or else of a new one, which becomes the
        current loop of this thread.

        Raises `TypeError` if `eventloop` is not a `tidewaiter.asyncio.Loop`.
        """
        if eventloop is None:
            eventloop = running_loop()
            if eventloop is None:
                eventloop = Loop()
            asyncio.set_event_loop(eventloop)
        elif not isinstance(eventloop, Loop):
            raise TypeError(f"this reactor needs a tidewaiter.asyncio.Loop, and not {eventloop!r}")
        self._asyncioEventloop = eventloop
        Reactor.__init__(self, asyncio_loop=eventloop)

    iterate: Any = ReactorBase.iterate
    _moveCallLaterSooner: Any = ReactorBase._moveCallLaterSooner


def install(eventloop: Loop | None = None) -> AsyncioReactor:
    """Install an `AsyncioReactor` as the global reactor of this process, and return it."""
    return _install(AsyncioReactor(eventloop))
