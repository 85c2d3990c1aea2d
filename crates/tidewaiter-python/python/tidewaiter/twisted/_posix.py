"""The reactor of POSIX systems: other people's descriptors, and what Twisted builds on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from twisted.internet.interfaces import IReactorDaemonize, IReactorFDSet
from twisted.internet.posixbase import PosixReactorBase, _PollLikeMixin
from twisted.internet.process import reapProcessHandlers
from twisted.python import log
from zope.interface import implementer

from tidewaiter._tidewaiter import Core, Stream
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
        self._watches: dict[int, int] = {}
        super().__init__(port, slow_callback)

    # IReactorDaemonize.

    def beforeDaemonize(self) -> None:
        """
        Prepare for a fork: listeners, connections and delayed calls live on in the process that then calls
        `afterDaemonize`.
        """
        self._core.before_fork()

    def afterDaemonize(self) -> None:
        """Make the reactor usable again, in the process that goes on with it."""
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
            self._core.unwatch(number)
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
            # It was closed behind our back: find it by what it is.
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
        """Have Twisted's own code hear of its child's end, also where nobody handles SIGCHLD."""
        pid = process.pid
        if reapProcessHandlers.get(pid) is not process:
            # It has ended, and is reaped.
            return

        def ended(*_: int) -> None:
            self._core.unwatch(number)
            end.close()
            if reapProcessHandlers.get(pid) is process:
                process.reapProcess()

        end = end_of(pid)
        number = self._core.watch(end.fileno(), Core.READABLE, ended)
