"""The common base of the reactors of all systems: the loop, time, threads and TCP."""

from __future__ import annotations

import socket
import time
import traceback
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from twisted.internet import base, error, main
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorMulticast, IReactorSocket, IReactorTCP, IReactorUDP
from twisted.python import context, log
from twisted.python.failure import Failure
from twisted.python.log import ILogContext
from twisted.python.runtime import seconds as runtimeSeconds
from zope.interface import classImplements, implementer

from tidewaiter import Metrics, _forks, _slow_limit
from tidewaiter._tidewaiter import Core, Datagrams, DelayedCall, PortFailure, Stream, TwistedLoop
from tidewaiter.twisted import _insight, _udp
from tidewaiter.twisted._face import Face
from tidewaiter.twisted._process import Process
from tidewaiter.twisted._tcp import Connecting, Connector, Port, Server

if TYPE_CHECKING:
    from tidewaiter.asyncio import Loop

# Give our delayed calls the interface, exceptions, `repr` and clock of Twisted's own.
classImplements(DelayedCall, IDelayedCall)
DelayedCall.AlreadyCalled = error.AlreadyCalled
DelayedCall.AlreadyCancelled = error.AlreadyCancelled
for _name, _value in {"__repr__": base.DelayedCall.__repr__, "clock": staticmethod(runtimeSeconds)}.items():
    setattr(DelayedCall, _name, _value)


def _is_busy(transport: Stream | Port | Datagrams) -> bool:
    """Whether a transport that does not read is connecting, closing or sending."""
    if isinstance(transport, (Port, Datagrams)):
        return False
    return not transport.connected or transport.disconnecting or transport._tempDataLen > 0


class _Waker:
    """Ends the wait of a loop, from any thread."""

    def __init__(self, core: Core) -> None:
        self.wakeUp = core.wake


@implementer(IReactorTCP, IReactorUDP, IReactorMulticast, IReactorSocket)
class LoopReactor(base.ReactorBase):
    """A Twisted reactor that waits at a completion port: the part that all systems share."""

    def __init__(
        self, port: str | None = None, slow_callback: float | None = None, asyncio_loop: Loop | None = None
    ) -> None:
        """
        Open the completion port, or share that of `asyncio_loop`.

        `port` is its kind: "uring", "poll" or "iocp". By default it is the kind that the environment variable
        `TIDEWAITER_PORT` names, otherwise the best of this machine. `slow_callback` sets the attribute of this
        name: by default to the value of `TIDEWAITER_SLOW_CALLBACK`, otherwise to `None`.

        Raises `OSError` if the port cannot be opened, and `ValueError` for a kind or a limit that makes no sense.
        """
        self._core = Core(port) if asyncio_loop is None else asyncio_loop._core
        self._face = Face(self, asyncio_loop)
        self._loop = TwistedLoop(self._core)
        self._core.set_on_error(_insight.report)
        self._core.set_on_log(_insight.forward)
        self._loop.set_debug(base.DelayedCall, traceback.format_stack)
        self.slow_callback = _slow_limit.slow_limit() if slow_callback is None else slow_callback
        # Transports that `removeAll` has returned. It returns them again only if they read.
        self._removed: WeakSet[Stream | Port | Datagrams] = WeakSet()
        # Children that have ended, and whose descriptors are not all closed yet.
        self._ending: set[Process] = set()
        _forks.follow(self._core)
        self._shorten()
        base.ReactorBase.__init__(self)
        self.addSystemEventTrigger("before", "shutdown", self._seeOff)

    def _shorten(self) -> None:
        """Bind methods of the loop directly to this object, unless a subclass or a clock must see the calls first."""
        clock = self._clock_replaced() or self.seconds is not base.runtimeSeconds
        for name, method, seen in (
            ("callLater", self._loop.call_later, clock),
            ("callFromThread", self._core.call_from_thread, False),
        ):
            if seen or getattr(type(self), name) is not getattr(LoopReactor, name):
                self.__dict__.pop(name, None)
            else:
                self.__dict__[name] = method

    def installWaker(self) -> None:
        self.waker = _Waker(self._core)

    # Insight.

    @property
    def slow_callback(self) -> float | None:
        """The limit for callbacks, in seconds: a warning names each callback that takes longer. `None`: no limit."""
        return self._slow_callback

    @slow_callback.setter
    def slow_callback(self, limit: float | None) -> None:
        self._slow_callback = _slow_limit.checked(limit)
        self._core.set_on_slow(limit, _insight.warn_of_slow)

    def metrics(self) -> Metrics:
        """Counts of the reactor's events since it was made, and of its objects and operations now."""
        return self._core.metrics()

    # asyncio.

    @property
    def asyncio_loop(self) -> Loop:
        """
        An asyncio loop on the port of this reactor. From the first use of this on, it is the running loop inside the
        reactor's callbacks and coroutines, and no other one may run there.
        """
        return self._face.loop

    # Time and threads.

    @property
    def seconds(self) -> Callable[[], float]:
        """
        The clock of the times that delayed calls show: the system's by default.

        The reactor's timers follow the system's monotonic clock in any case, unless a subclass overrides `seconds`.
        """
        return self.__dict__.get("_seconds", base.runtimeSeconds)

    @seconds.setter
    def seconds(self, clock: Callable[[], float]) -> None:
        self._seconds = clock
        self._shorten()

    def _clock_replaced(self) -> bool:
        """
        Whether a subclass has its own clock. Twisted's code, which reads that clock, then keeps the delayed calls,
        since the loop's timers read the system's.
        """
        return type(self).seconds is not LoopReactor.seconds

    def callLater(self, delay: float, callable: Callable[..., object], *args: object, **kw: object) -> Any:
        if self._clock_replaced():
            return base.ReactorBase.callLater(self, delay, callable, *args, **kw)
        call = self._loop.call_later(delay, callable, *args, **kw)
        if self.seconds is not base.runtimeSeconds:
            call.time, call.seconds = self.seconds() + delay, self.seconds
        return call

    def callFromThread(self, f: Callable[..., object], *args: object, **kw: object) -> None:
        self._core.call_from_thread(f, *args, **kw)

    def getDelayedCalls(self) -> Sequence[Any]:
        return self._loop.delayed_calls() + list(base.ReactorBase.getDelayedCalls(self))

    # The loop.

    def _isCopy(self) -> bool:
        """Whether this process is a forked child, and the loop belongs to the parent."""
        try:
            self._core.check_process()
        except RuntimeError:
            return True
        return False

    def _seeOff(self) -> Deferred[None]:
        """
        Keep the loop running, for a second at most, while closed connections linger because their peers still send:
        the end of the process would reset them.
        """
        gone: Deferred[None] = Deferred()
        limit = time.monotonic() + 1.0

        def look() -> None:
            if self._core.metrics()["lingering"] and time.monotonic() < limit:
                self._loop.call_later(0.01, look)
            else:
                gone.callback(None)

        look()
        return gone

    def _enterContext(self) -> None:
        """Make callbacks log in the context of the current thread, which runs the loop."""
        stack = context.theContextTracker.currentContext().contexts
        self._loop.set_context(stack, ILogContext, context.get(ILogContext))

    def startRunning(self, installSignalHandlers: bool = True) -> None:
        self._enterContext()
        base.ReactorBase.startRunning(self, installSignalHandlers)

    def run(self, *arguments: Any, **options: Any) -> None:
        with self._face.running():
            base.ReactorBase.run(self, *arguments, **options)

    def mainLoop(self) -> None:
        with self._face.running():
            self._mainLoop()

    def _mainLoop(self) -> None:
        if self._clock_replaced():
            base.ReactorBase.mainLoop(self)
            return
        while self._started:
            self._core.check_process()
            try:
                self._loop.run(self)
            except PortFailure:
                # A port that has failed would only fail again.
                raise
            except BaseException:
                base._log.failure("Unexpected error in main loop")
        base._log.info("Main loop terminated.")

    def runUntilCurrent(self) -> None:
        if self._clock_replaced():
            base.ReactorBase.runUntilCurrent(self)
        elif self._justStopped:
            self._justStopped = False
            self.fireSystemEvent("shutdown")

    def doIteration(self, delay: float | None) -> None:
        self._enterContext()
        with self._face.running():
            self._core.turn(delay)

    def stop(self) -> None:
        # This comes first, because it raises in any thread but the loop's.
        self._loop.interrupt()
        base.ReactorBase.stop(self)
        self._face.stopped()

    def crash(self) -> None:
        self._loop.interrupt()
        base.ReactorBase.crash(self)

    # Connections and listeners.

    def _live(self) -> list[Any]:
        """The connections and listeners that go through the port."""
        return [each for each in self._loop.live() if each.connected or isinstance(each, Connecting)]

    def getReaders(self) -> list[Any]:
        return [each for each in self._live() if each.reading]

    def getWriters(self) -> list[Any]:
        return []

    def removeAll(self) -> list[Any]:
        live = [each for each in self._live() if each.reading or (_is_busy(each) and each not in self._removed)]
        for each in live:
            each.stopReading()
        self._removed.update(live)
        return live

    def disconnectAll(self) -> None:
        """End all connections and listeners, including those that neither read nor write at the moment."""
        base.ReactorBase.disconnectAll(self)
        for each in self._live():
            log.callWithLogger(each, each.connectionLost, Failure(main.CONNECTION_LOST))
        # The loop makes no more turns, so nothing else would report these ends.
        for process in list(self._ending):
            process.maybeCallProcessEnded()

    # IReactorTCP.

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> Port:
        listening = Port(port, factory, backlog, interface, self)
        listening.startListening()
        return listening

    def connectTCP(
        self,
        host: str,
        port: int,
        factory: Any,
        timeout: float = 30.0,
        bindAddress: Any = None,
    ) -> Any:
        connector = Connector(host, port, factory, timeout, bindAddress, self)
        connector.connect()
        return connector

    # IReactorUDP and IReactorMulticast.

    def listenUDP(self, port: int, protocol: Any, interface: str = "", maxPacketSize: int = 8192) -> _udp.Port:
        listening = _udp.Port(port, protocol, interface, maxPacketSize, self)
        listening.startListening()
        return listening

    def listenMulticast(
        self, port: int, protocol: Any, interface: str = "", maxPacketSize: int = 8192, listenMultiple: bool = False
    ) -> _udp.MulticastPort:
        listening = _udp.MulticastPort(port, protocol, interface, maxPacketSize, self, listenMultiple)
        listening.startListening()
        return listening

    # IReactorSocket.

    def _check(self, addressFamily: int) -> None:
        if addressFamily not in (socket.AF_INET, socket.AF_INET6):
            raise error.UnsupportedAddressFamily(addressFamily)

    def adoptStreamPort(self, fileDescriptor: int, addressFamily: socket.AddressFamily, factory: Any) -> Any:
        self._check(addressFamily)
        port = Port._fromListeningDescriptor(self, fileDescriptor, addressFamily, factory)
        port.startListening()
        return port

    def adoptStreamConnection(self, fileDescriptor: int, addressFamily: socket.AddressFamily, factory: Any) -> Any:
        self._check(addressFamily)
        return Server._fromConnectedSocket(fileDescriptor, addressFamily, factory, self)

    def adoptDatagramPort(
        self, fileDescriptor: int, addressFamily: socket.AddressFamily, protocol: Any, maxPacketSize: int = 8192
    ) -> _udp.Port:
        self._check(addressFamily)
        port = _udp.Port._fromListeningDescriptor(self, fileDescriptor, addressFamily, protocol, maxPacketSize)
        port.startListening()
        return port
