"""The reactor for POSIX systems: watches descriptors for the application and for Twisted's own transports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from twisted.internet.interfaces import IReactorDaemonize, IReactorFDSet
from twisted.internet.posixbase import PosixReactorBase, _PollLikeMixin
from twisted.internet.process import reapProcessHandlers
from twisted.python import log
from zope.interface import implementer

from tidewaiter._tidewaiter import Core, Stream, Watch
from tidewaiter.twisted._process import end_of, spawn
from tidewaiter.twisted._reactor import LoopReactor


@implementer(IReactorDaemonize, IReactorFDSet)
class Reactor(LoopReactor, _PollLikeMixin, PosixReactorBase):
    """
    A Twisted reactor that waits at a completion port: io_uring, or readiness where the kernel refuses that.

    TCP connections, listeners, child processes and timers go through the port. It watches the descriptors of
    everything else, such as UDP ports, UNIX sockets and `addReader`.
    """

    _POLL_IN = Core.READABLE
    _POLL_OUT = Core.WRITABLE
    _POLL_DISCONNECTED = Core.DISCONNECTED

    def __init__(self, port: str | None = None, slow_callback: float | None = None) -> None:
        self._reads: set[int] = set()
        self._writes: set[int] = set()
        self._selectables: dict[int, Any] = {}
        self._watches: dict[int, Watch] = {}
        super().__init__(port, slow_callback)

    # IReactorDaemonize.

    def beforeDaemonize(self) -> None:
        """
        Prepare for a fork. The process that calls `afterDaemonize` then keeps the listeners, connections and delayed
        calls.
        """
        self._core.before_fork()

    def afterDaemonize(self) -> None:
        """Make the reactor usable again, in the process that goes on using it."""
        self._core.after_fork()

    # IReactorFDSet.

    def _ready(self, fd: int, event: int) -> object:
        """Call the object that watches `fd`. Returns it, to be named if this was slow."""
        selectable = self._selectables.get(fd)
        if selectable is not None:
            log.callWithLogger(selectable, self._doReadOrWrite, selectable, fd, event)
        return selectable

    def _watch(self, fd: int) -> None:
        """Watch `fd` as `_reads` and `_writes` say."""
        interest = (fd in self._reads) * Core.READABLE | (fd in self._writes) * Core.WRITABLE
        watch = self._watches.get(fd)
        if watch is None:
            self._watches[fd] = self._core.watch(fd, interest, self._ready)
        elif interest:
            watch.set_interest(interest)
        else:
            watch.stop()
            del self._watches[fd], self._selectables[fd]

    def _add(self, selectable: Any, these: set[int]) -> None:
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

    def _remove(self, selectable: Any, these: set[int]) -> None:
        fd = selectable.fileno()
        if fd == -1:
            # The descriptor was closed without our knowledge: find its number by the object.
            fd = next((fd for fd, known in self._selectables.items() if known is selectable), -1)
        if fd not in these:
            return
        these.remove(fd)
        try:
            self._watch(fd)
        except BaseException:
            these.add(fd)
            raise

    def addReader(self, reader: Any) -> None:
        if isinstance(reader, Stream):
            reader.startReading()
            return
        self._add(reader, self._reads)

    def addWriter(self, writer: Any) -> None:
        self._add(writer, self._writes)

    def removeReader(self, reader: Any) -> None:
        if isinstance(reader, Stream):
            reader.stopReading()
            return
        self._remove(reader, self._reads)

    def removeWriter(self, writer: Any) -> None:
        self._remove(writer, self._writes)

    def getReaders(self) -> list[Any]:
        return [self._selectables[fd] for fd in self._reads] + super().getReaders()

    def getWriters(self) -> list[Any]:
        return [self._selectables[fd] for fd in self._writes]

    def removeAll(self) -> list[Any]:
        readers = [self._selectables[fd] for fd in self._reads]
        removed: list[Any] = self._removeAll(readers, self.getWriters())
        return removed + super().removeAll()

    # IReactorProcess.

    def spawnProcess(
        self,
        processProtocol: Any,
        executable: str | bytes,
        args: Sequence[str | bytes] = (),
        env: Mapping[Any, Any] | None = {},
        path: str | bytes | None = None,
        uid: int | None = None,
        gid: int | None = None,
        usePTY: Any = 0,
        childFDs: Mapping[int, Any] | None = None,
    ) -> Any:
        if usePTY and childFDs is not None:
            raise ValueError("Using childFDs is not supported with usePTY=True.")
        process = None
        if executable is not None and not getattr(self, "_neverUseSpawn", False):
            process = spawn(self, processProtocol, executable, args, env, path, uid, gid, usePTY, childFDs)
        if process is None:
            process = super().spawnProcess(processProtocol, executable, args, env, path, uid, gid, usePTY, childFDs)
            self._follow(process)
        return process

    def _follow(self, process: Any) -> None:
        """Report the exit of a child to Twisted's own code, even if SIGCHLD is not handled."""
        pid = process.pid
        if reapProcessHandlers.get(pid) is not process:
            # The child has ended and is reaped.
            return

        def ended(*_: int) -> None:
            watch.stop()
            end.close()
            if reapProcessHandlers.get(pid) is process:
                process.reapProcess()

        end = end_of(pid)
        watch = self._core.watch(end.fileno(), Core.READABLE, ended)
