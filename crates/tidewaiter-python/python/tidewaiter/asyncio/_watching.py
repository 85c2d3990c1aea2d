"""The application's own descriptors on the loop: `add_reader`, `add_writer`, and waiting for sockets."""

from __future__ import annotations

import errno
import os
import stat
import threading
import weakref
from asyncio import Future, base_events
from collections.abc import Callable
from functools import partial
from typing import Any

from tidewaiter._tidewaiter import AsyncioLoop, Descriptors, Handle

_READS, _WRITES = True, False


def _number_of(fd: Any) -> int:
    """The number of a descriptor, which the application may name by a file object."""
    number = fd
    if not isinstance(fd, int):
        try:
            number = int(fd.fileno())
        except (AttributeError, TypeError, ValueError):
            raise ValueError(f"Invalid file object: {fd!r}") from None
    if number < 0:
        raise ValueError(f"Invalid file descriptor: {number}")
    return number


def _refuse_file(number: int) -> None:
    """Refuse what is always ready, as epoll does."""
    mode = os.fstat(number).st_mode
    if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))


class Watching(AsyncioLoop, base_events.BaseEventLoop):
    """The part of the loop that watches descriptors. They stay the application's."""

    _descriptors: Descriptors
    _ensure_fd_no_transport: Callable[[Any], None]
    _thread_id: int | None

    def __init__(self) -> None:
        super().__init__()
        self._descriptors = Descriptors(self)
        # The objects by which the application named descriptors.
        self._objects: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()

    def close(self) -> None:
        super().close()
        self._descriptors.close()

    def add_reader(self, fd: Any, callback: Callable[..., object], *args: Any) -> None:
        """Call `callback(*args)` in each turn in which `fd` can be read. It replaces an earlier callback."""
        self._add_reader(self._free(fd), callback, *args)

    def remove_reader(self, fd: Any) -> bool:
        """End what `add_reader` began. Returns whether there was a callback."""
        return self._remove_reader(self._known(fd))

    def add_writer(self, fd: Any, callback: Callable[..., object], *args: Any) -> None:
        """Call `callback(*args)` in each turn in which `fd` can be written. It replaces an earlier callback."""
        self._add_writer(self._free(fd), callback, *args)

    def remove_writer(self, fd: Any) -> bool:
        """End what `add_writer` began. Returns whether there was a callback."""
        return self._remove_writer(self._known(fd))

    def _free(self, fd: Any) -> int:
        """The number of a descriptor that none of the loop's transports uses. Its object is remembered."""
        number = _number_of(fd)
        self._ensure_fd_no_transport(number)
        self._objects.pop(number, None)
        if fd is not number:
            try:
                self._objects[number] = fd
            except TypeError:
                pass  # It cannot be referred to weakly.
        return number

    def _known(self, fd: Any) -> int:
        """The number of a descriptor, also of an object that was closed since it was added."""
        try:
            number = _number_of(fd)
        except ValueError:
            for number, known in self._objects.items():
                if known is fd:
                    return number
            raise
        self._ensure_fd_no_transport(number)
        return number

    # asyncio's own names for the same without the check; libraries use them.

    def _add_reader(self, fd: Any, callback: Callable[..., object], *args: Any) -> Handle:
        return self._add(fd, _READS, callback, args)

    def _remove_reader(self, fd: Any) -> bool:
        return self._remove(fd, _READS)

    def _add_writer(self, fd: Any, callback: Callable[..., object], *args: Any) -> Handle:
        return self._add(fd, _WRITES, callback, args)

    def _remove_writer(self, fd: Any) -> bool:
        return self._remove(fd, _WRITES)

    def _add(self, fd: Any, reads: bool, callback: Callable[..., object], args: tuple[Any, ...]) -> Handle:
        self._check_closed()
        number = _number_of(fd)
        if os.name == "posix":
            _refuse_file(number)
        handle = Handle(callback, args, self, None)
        if self._runs_elsewhere():
            self.call_soon_threadsafe(self._descriptors.add, number, reads, handle)
        else:
            self._descriptors.add(number, reads, handle)
        return handle

    def _remove(self, fd: Any, reads: bool) -> bool:
        if self.is_closed():
            return False
        number = _number_of(fd)
        if self._runs_elsewhere():
            self.call_soon_threadsafe(self._descriptors.remove, number, reads)
            return True
        return self._descriptors.remove(number, reads)

    def _runs_elsewhere(self) -> bool:
        """Whether another thread runs the loop: as with asyncio's loops, watches may come from any thread."""
        return self._thread_id not in (None, threading.get_ident())

    def _when_ready(self, sock: Any, reads: bool) -> Future[None]:
        """A future that is done once `sock` can be read, or written."""
        number = _number_of(sock)
        future = self.create_future()
        if not self._descriptors.wait(sock, number, reads, future):
            self._free(number)
            try:
                owner = weakref.ref(sock, partial(self._descriptors.forget, number))
            except TypeError:
                owner = None
            self._descriptors.watch(owner, number, reads, future)
        return future
