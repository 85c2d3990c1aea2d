"""The reactor of Windows: its events, and signals that are heard at once."""

from __future__ import annotations

import signal
import socket
import threading
from functools import partial

from twisted.internet import posixbase
from twisted.internet.interfaces import IReactorSSL, IReactorWin32Events
from twisted.python import log
from twisted.python.failure import Failure
from zope.interface import classImplements, implementer

from tidewaiter._tidewaiter import Core, Stream
from tidewaiter.twisted._reactor import LoopReactor


class _Alarm(Stream):
    """
    Ends the wait of the loop when a signal has come, so that Python's main thread looks after it.

    Python's own handler only takes a note, in another thread, and sends a byte where it was told to:
    to a socket whose other end is on the loop.
    """

    def __init__(self, core: Core) -> None:
        self._core = core
        self.protocol = self
        self._sending = socket.socket()
        with socket.socket() as door:
            door.bind(("127.0.0.1", 0))
            door.listen(1)
            self._sending.connect(door.getsockname())
            self._sending.setblocking(False)
            self._listener = core.listen(door.detach(), self)

    def __enter__(self) -> None:
        self._previous = signal.set_wakeup_fd(self._sending.fileno(), warn_on_full_buffer=False)

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(self._previous)
        self._sending.close()
        self._listener.stop()
        self._lose(False)

    # What the loop calls: of what comes, only that it comes matters.

    def _accepted(self, address) -> None:
        if address == self._sending.getsockname():
            self._adopt(self._core)
            self.startReading()
            self._listener.stop()

    def _ignore(self, *_: object) -> None:
        pass

    dataReceived = _acceptFailed = _closed = _ignore
    _streamEnded = _streamWriteEnded = _streamLost = _streamFailed = _ignore


def _missing(what: str):
    def method(self, *args: object, **kw: object):
        raise NotImplementedError(f"{what} on Windows come with a later version of tidewaiter")

    return method


@implementer(IReactorWin32Events)
class IOCPReactor(LoopReactor):
    # The class has the name, and the attribute `handles`, by which Twisted's tests know a reactor on
    # completion ports.

    def __init__(self, port: str | None = None, slow_callback: float | None = None) -> None:
        self._events: dict[int, int] = {}
        super().__init__(port, slow_callback)

    def mainLoop(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            # Signals are the main thread's.
            super().mainLoop()
            return
        with _Alarm(self._core):
            super().mainLoop()

    @property
    def handles(self):
        return set(self._live())

    # IReactorSSL.

    listenSSL = posixbase.PosixReactorBase.listenSSL
    connectSSL = posixbase.PosixReactorBase.connectSSL

    # IReactorWin32Events.

    def addEvent(self, event, fd, action: str) -> None:
        """
        Call `fd`'s method named `action` each time that `event`, a handle or its number, is signalled.
        There may be any number of events.
        """
        handle = int(event)
        signalled = partial(self._signalled, handle, fd, action)
        watch = self._core.watch_handle(handle, signalled)
        previous = self._events.pop(handle, None)
        if previous is not None:
            self._core.unwatch(previous)
        self._events[handle] = watch

    def removeEvent(self, event) -> None:
        self._core.unwatch(self._events.pop(int(event)))

    def _signalled(self, handle: int, fd, action: str) -> object:
        """Returns whom it was for."""
        log.callWithLogger(fd, self._runAction, handle, fd, action)
        return fd

    def _runAction(self, handle: int, fd, action: str) -> None:
        watch = self._events[handle]
        try:
            lost = getattr(fd, action)()
        except BaseException as exception:
            log.err()
            lost = exception
        if not lost:
            return
        # It may be another one by now.
        if self._events.get(handle) == watch:
            self.removeEvent(handle)
        fd.connectionLost(Failure(lost))

    # What has no transport of ours yet, and none of Twisted's works with.

    listenUDP = listenMulticast = adoptDatagramPort = _missing("UDP ports")
    adoptStreamPort = adoptStreamConnection = _missing("adopted sockets")
    connectUNIX = listenUNIX = _missing("UNIX sockets")
    connectUNIXDatagram = listenUNIXDatagram = _missing("UNIX sockets")


if posixbase.tls is not None:
    classImplements(IOCPReactor, IReactorSSL)
