"""The reactor class."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

from twisted.internet import base, error
from twisted.internet.interfaces import IDelayedCall, IReactorDaemonize, IReactorFDSet
from twisted.internet.posixbase import PosixReactorBase, _PollLikeMixin
from twisted.python import context, log
from twisted.python.log import ILogContext
from zope.interface import classImplements, implementer

from tidewaiter import Metrics, _forks
from tidewaiter._tidewaiter import Core, DelayedCall, Stream
from tidewaiter.twisted._process import spawn
from tidewaiter.twisted import _insight
from tidewaiter.twisted._tcp import Client, Connector, Port

# What Twisted's own delayed calls are and raise.
classImplements(DelayedCall, IDelayedCall)
DelayedCall.AlreadyCalled = error.AlreadyCalled
DelayedCall.AlreadyCancelled = error.AlreadyCancelled
DelayedCall.__repr__ = base.DelayedCall.__repr__
DelayedCall.seconds = staticmethod(base.runtimeSeconds)
DelayedCall._repr = None
DelayedCall.creator = None


class _Waker:
    """Ends the wait of a loop, from any thread."""

    def __init__(self, core: Core) -> None:
        self.wakeUp = core.wake


@implementer(IReactorDaemonize, IReactorFDSet)
class Reactor(_PollLikeMixin, PosixReactorBase):
    _POLL_IN = Core.READABLE
    _POLL_OUT = Core.WRITABLE
    _POLL_DISCONNECTED = Core.DISCONNECTED

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
            if getattr(type(self), name) is getattr(Reactor, name):
                setattr(self, name, method)
        self._reads: set[int] = set()
        self._writes: set[int] = set()
        self._selectables: dict[int, Any] = {}
        self._watches: dict[int, int] = {}
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

    # IReactorDaemonize.

    def beforeDaemonize(self) -> None:
        """Everything that was set up lives on in the process that then calls `afterDaemonize`."""
        self._core.before_fork()

    def afterDaemonize(self) -> None:
        self._core.after_fork()

    # IReactorFDSet.

    def _ready(self, fd: int, event: int) -> object:
        """Returns whom it was for."""
        selectable = self._selectables.get(fd)
        if selectable is not None:
            log.callWithLogger(selectable, self._doReadOrWrite, selectable, fd, event)
        return selectable

    def _watch(self, fd: int) -> None:
        """Watch `fd` for what is in `_reads` and `_writes`."""
        interest = (fd in self._reads) * Core.READABLE | (fd in self._writes) * Core.WRITABLE
        number = self._watches.get(fd)
        if number is None:
            self._watches[fd] = self._core.watch(fd, interest, self._ready)
        elif interest:
            self._core.rewatch(number, interest)
        else:
            del self._watches[fd], self._selectables[fd]
            self._core.unwatch(number)

    def _add(self, selectable, these: set[int]) -> None:
        fd = selectable.fileno()
        if fd in these:
            return
        these.add(fd)
        try:
            self._watch(fd)
        except BaseException:
            these.remove(fd)
            raise
        self._selectables[fd] = selectable

    def _remove(self, selectable, these: set[int]) -> None:
        fd = selectable.fileno()
        if fd == -1:
            # It was closed behind our back: find it by what it is.
            fd = next((fd for fd, known in self._selectables.items() if known is selectable), -1)
        if fd in these:
            these.remove(fd)
            self._watch(fd)

    def addReader(self, reader) -> None:
        if isinstance(reader, Stream):
            reader.startReading()
            return
        self._add(reader, self._reads)

    def addWriter(self, writer) -> None:
        self._add(writer, self._writes)

    def removeReader(self, reader) -> None:
        if isinstance(reader, Stream):
            reader.stopReading()
            return
        self._remove(reader, self._reads)

    def removeWriter(self, writer) -> None:
        self._remove(writer, self._writes)

    def _live(self):
        """The connections and listeners that go through the port."""
        return [each for each in self._core.live() if each.connected or isinstance(each, Client)]

    def getReaders(self):
        streams = [each for each in self._live() if getattr(each, "reading", True)]
        return [self._selectables[fd] for fd in self._reads] + streams

    def getWriters(self):
        return [self._selectables[fd] for fd in self._writes]

    def removeAll(self):
        readers = [self._selectables[fd] for fd in self._reads]
        live = self._live()
        for each in live:
            each.stopReading()
        return self._removeAll(readers, self.getWriters()) + live

    # IReactorTCP.

    def listenTCP(self, port, factory, backlog=50, interface=""):
        listening = Port(port, factory, backlog, interface, self)
        listening.startListening()
        return listening

    def connectTCP(self, host, port, factory, timeout=30.0, bindAddress=None):
        connector = Connector(host, port, factory, timeout, bindAddress, self)
        connector.connect()
        return connector

    # IReactorProcess.

    def spawnProcess(
        self,
        processProtocol,
        executable,
        args=(),
        env={},
        path=None,
        uid=None,
        gid=None,
        usePTY=0,
        childFDs=None,
    ):
        if usePTY and childFDs is not None:
            raise ValueError("Using childFDs is not supported with usePTY=True.")
        process = None
        if not getattr(self, "_neverUseSpawn", False):
            process = spawn(
                self, processProtocol, executable, args, env, path, uid, gid, usePTY, childFDs
            )
        if process is None:
            process = super().spawnProcess(
                processProtocol, executable, args, env, path, uid, gid, usePTY, childFDs
            )
        return process
