"""What the reactors of all systems have in common: the loop, time, threads and TCP."""

from __future__ import annotations

import traceback
from collections.abc import Callable

from twisted.internet import base, error
from twisted.internet.interfaces import IDelayedCall, IReactorTCP
from twisted.python import context
from twisted.python.log import ILogContext
from zope.interface import classImplements, implementer

from tidewaiter import Metrics, _forks
from tidewaiter._tidewaiter import Core, DelayedCall
from tidewaiter.twisted import _insight
from tidewaiter.twisted._tcp import Client, Connector, Port

# What Twisted's own delayed calls are and raise.
classImplements(DelayedCall, IDelayedCall)
DelayedCall.AlreadyCalled = error.AlreadyCalled
DelayedCall.AlreadyCancelled = error.AlreadyCancelled
DelayedCall.__repr__ = base.DelayedCall.__repr__
DelayedCall.seconds = staticmethod(base.runtimeSeconds)


class _Waker:
    """Ends the wait of a loop, from any thread."""

    def __init__(self, core: Core) -> None:
        self.wakeUp = core.wake


@implementer(IReactorTCP)
class LoopReactor(base.ReactorBase):
    """A reactor whose loop is a completion port's."""

    def __init__(self, port: str | None = None, slow_callback: float | None = None) -> None:
        """
        `port` is the kind of completion port: the best one unless said. A warning is logged of callbacks
        that take longer than `slow_callback` seconds, or as many as `TIDEWAITER_SLOW_CALLBACK` says.
        """
        self._core = Core(port)
        self._core.set_on_error(_insight.report)
        self._core.set_on_log(_insight.forward)
        self._core.set_debug(base.DelayedCall, traceback.format_stack)
        self.slow_callback = _insight.slow_limit() if slow_callback is None else slow_callback
        _forks.follow(self._core)
        # Straight into the loop, unless a subclass has its own.
        for name, method in (
            ("callLater", self._core.call_later),
            ("callFromThread", self._core.call_from_thread),
        ):
            if getattr(type(self), name) is getattr(LoopReactor, name):
                setattr(self, name, method)
        super().__init__()

    def installWaker(self) -> None:
        self.waker = _Waker(self._core)

    # Insight.

    @property
    def slow_callback(self) -> float | None:
        """A warning is logged of callbacks that take longer, in seconds; `None`: of none."""
        return self._slow_callback

    @slow_callback.setter
    def slow_callback(self, limit: float | None) -> None:
        if limit is not None and not limit >= 0:
            raise ValueError(f"{limit} is not a number of seconds")
        self._slow_callback = limit
        self._core.set_on_slow(limit, _insight.warn_of_slow)

    def metrics(self) -> Metrics:
        """What the reactor did since it was made, and what it has in hand now."""
        return self._core.metrics()

    # Time and threads.

    def callLater(self, delay: float, callable: Callable[..., object], *args: object, **kw: object):
        return self._core.call_later(delay, callable, *args, **kw)

    def callFromThread(self, f: Callable[..., object], *args: object, **kw: object) -> None:
        self._core.call_from_thread(f, *args, **kw)

    def getDelayedCalls(self):
        return self._core.delayed_calls()

    # The loop.

    def _enterContext(self) -> None:
        """Callbacks log in the context of the thread that runs the loop: this one."""
        stack = context.theContextTracker.currentContext().contexts
        self._core.set_context(stack, ILogContext, context.get(ILogContext))

    def mainLoop(self) -> None:
        self._enterContext()
        while self._started:
            self._core.check_process()
            with base._topHandler:
                self._core.run(self)
        base._log.info("Main loop terminated.")

    def runUntilCurrent(self) -> None:
        if self._justStopped:
            self._justStopped = False
            self.fireSystemEvent("shutdown")

    def doIteration(self, delay: float | None) -> None:
        self._enterContext()
        self._core.turn(delay)

    def stop(self) -> None:
        super().stop()
        self._core.interrupt()

    def crash(self) -> None:
        super().crash()
        self._core.interrupt()

    # Connections and listeners.

    def _live(self):
        """The connections and listeners that go through the port."""
        return [each for each in self._core.live() if each.connected or isinstance(each, Client)]

    def getReaders(self):
        return [each for each in self._live() if getattr(each, "reading", True)]

    def getWriters(self):
        return []

    def removeAll(self):
        live = self._live()
        for each in live:
            each.stopReading()
        return live

    # IReactorTCP.

    def listenTCP(self, port, factory, backlog=50, interface=""):
        listening = Port(port, factory, backlog, interface, self)
        listening.startListening()
        return listening

    def connectTCP(self, host, port, factory, timeout=30.0, bindAddress=None):
        connector = Connector(host, port, factory, timeout, bindAddress, self)
        connector.connect()
        return connector
