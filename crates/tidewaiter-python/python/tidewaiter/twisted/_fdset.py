"""The application's own descriptors on the port: `addReader` and `addWriter`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IReactorFDSet
from twisted.internet.posixbase import _PollLikeMixin
from twisted.python import log
from zope.interface import implementer

from tidewaiter._tidewaiter import Core, Stream, Watch
from tidewaiter.twisted._reactor import LoopReactor

if TYPE_CHECKING:
    from tidewaiter.asyncio import Loop


@implementer(IReactorFDSet)
class WatchingReactor(LoopReactor, _PollLikeMixin):
    """A reactor that watches descriptors for the application. To be mixed with `_DisconnectSelectableMixin`."""

    _POLL_IN = Core.READABLE
    _POLL_OUT = Core.WRITABLE
    _POLL_DISCONNECTED = Core.DISCONNECTED

    def __init__(
        self, port: str | None = None, slow_callback: float | None = None, asyncio_loop: Loop | None = None
    ) -> None:
        self._reads: set[int] = set()
        self._writes: set[int] = set()
        self._selectables: dict[int, Any] = {}
        self._watches: dict[int, Watch] = {}
        super().__init__(port, slow_callback, asyncio_loop)

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
        watched = {self._selectables[fd] for fd in self._reads | self._writes} - self._internalReaders
        for each in watched:
            self.removeReader(each)
            self.removeWriter(each)
        return [*watched, *super().removeAll()]
