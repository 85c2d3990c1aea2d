"""
The drop-in Twisted reactor.

Install it before anything imports `twisted.internet.reactor`::

    import tidewaiter.twisted

    tidewaiter.twisted.install()

or pass ``--reactor=tidewaiter`` to Twisted's own commands.

A program of asyncio's that runs on `tidewaiter.asyncio.Loop` has the reactor beside it, on the same port::

    async with tidewaiter.twisted.running() as reactor:
        ...
"""

import sys
from asyncio import Future
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

if sys.platform == "win32":
    from tidewaiter.twisted._windows import IOCPReactor as Reactor
else:
    from tidewaiter.twisted._posix import Reactor

from tidewaiter.twisted._face import running_loop
from tidewaiter.twisted._stdio import StandardIO

__all__ = ["Reactor", "StandardIO", "install", "running"]

# Twisted's commands look for `install` in the module that the class names.
Reactor.__module__ = __name__
StandardIO.__module__ = __name__

_AnyReactor = TypeVar("_AnyReactor", bound=Reactor)


def install() -> Reactor:
    """
    Install a `Reactor` as the global reactor of this process, and return it. It shares the port of the running asyncio
    loop if that is a `tidewaiter.asyncio.Loop`.

    From then on, `twisted.internet.stdio.StandardIO` is our `StandardIO`. Code that took the name out of that module
    before keeps Twisted's own. On Windows, that module needs pywin32; `tidewaiter.twisted.StandardIO` does not.

    Raises `twisted.internet.error.ReactorAlreadyInstalledError` if there is a global reactor already, `OSError` if
    the completion port cannot be opened, and `ValueError` if `TIDEWAITER_SLOW_CALLBACK` is not a number.
    """
    return _install(Reactor(asyncio_loop=running_loop()))


def _install(reactor: _AnyReactor) -> _AnyReactor:
    from twisted.internet.main import installReactor

    installReactor(reactor)
    try:
        from twisted.internet import stdio
    except ImportError:
        # Windows without pywin32.
        return reactor
    stdio.StandardIO = StandardIO  # type: ignore[misc, assignment, unused-ignore]
    return reactor


@asynccontextmanager
async def running() -> AsyncIterator[Reactor]:
    """
    Run the global reactor in a program of asyncio's, until the block ends; install it first if there is none.

    The reactor shares the port of the running loop, which has to be a `tidewaiter.asyncio.Loop`. At the end, it stops
    as it does after `reactor.stop()`, and the block waits until its shutdown is over.

    Raises `RuntimeError` on another loop, and if the global reactor is another one or belongs to another loop.
    """
    loop = running_loop()
    if loop is None:
        raise RuntimeError("the running loop is not a tidewaiter.asyncio.Loop")
    if "twisted.internet.reactor" not in sys.modules:
        install()
    from twisted.internet import reactor as installed

    reactor: Any = installed
    if not isinstance(reactor, Reactor) or reactor._core is not loop._core:
        raise RuntimeError(f"the global reactor does not run on this loop: {reactor}")
    over = loop.create_future()
    reactor.addSystemEventTrigger("after", "shutdown", _set, over)
    reactor.startRunning(installSignalHandlers=False)
    try:
        yield reactor
    finally:
        if not reactor._stopped:
            reactor.stop()
        await over


def _set(future: Future[None]) -> None:
    if not future.done():
        future.set_result(None)
