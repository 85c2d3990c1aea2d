"""The reactor for Windows: events, child processes, and signals that end a wait at once."""

from __future__ import annotations

import msvcrt
import os
import signal
import socket
import threading
from functools import partial
from typing import TYPE_CHECKING

from twisted.internet import main, posixbase
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.interfaces import IReactorProcess, IReactorSSL, IReactorWin32Events
from twisted.python import log
from twisted.python.failure import Failure
from zope.interface import classImplements, implementer

from tidewaiter._tidewaiter import Watch
from tidewaiter.twisted._fdset import WatchingReactor
from tidewaiter.twisted._process import STANDARD_FDS, TERMINAL_FDS, Process, PTYProcess, _program

if TYPE_CHECKING:
    from tidewaiter.asyncio import Loop

# The time until it is looked again whether a serial port has written everything, in seconds.
_LOOK_AGAIN = 0.01


class _Child(Process):
    """A running child process on Windows, which has no signals: the child can only be killed."""

    def _getReason(self, status: int) -> BaseException:
        return ProcessTerminated(status) if status else ProcessDone(status)

    def _signal(self, signalID: str | int) -> None:
        # Other signals have no effect, as with Twisted's own reactors.
        if signalID not in ("INT", "TERM", "KILL"):
            return
        try:
            self._kill()
        except ProcessLookupError:
            raise ProcessExitedAlready() from None


class _TerminalChild(_Child, PTYProcess):
    """A running child process on a pseudo-console."""


def _target(target):
    """Where a child's descriptor leads: a pipe's direction as it is, or the handle of a descriptor of ours."""
    if isinstance(target, int):
        return msvcrt.get_osfhandle(target)
    return target


def _spawn(reactor, proto, executable, args, env, path, usePTY, childFDs) -> _Child:
    executable = os.fsdecode(executable)
    if os.path.isfile(executable):
        # A file in the working directory comes before the search in PATH.
        executable = os.path.abspath(executable)
    # Many Windows programs fail without variables such as SystemRoot, so add `env` to our own environment.
    merged = {**os.environ, **{os.fsdecode(name): value for name, value in (env or {}).items()}}
    if usePTY:
        child: _Child = _TerminalChild(reactor, proto)
        child._start(_program(executable, args, merged, path, {}, terminal=[]), TERMINAL_FDS)
    else:
        child = _Child(reactor, proto)
        targets = {number: _target(target) for number, target in childFDs.items()}
        child._start(_program(executable, args, merged, path, targets), childFDs)
    return child


def _missing(self, *args: object, **kw: object):
    raise NotImplementedError("Python has no UNIX sockets on Windows")


@implementer(IReactorWin32Events, IReactorProcess)
class IOCPReactor(WatchingReactor):
    """
    A Twisted reactor that waits at a completion port of Windows.

    TCP, UDP, child processes, timers, events (`addEvent`) and the application's own sockets (`addReader`) go through
    the port. UNIX sockets raise `NotImplementedError`: Python has none on Windows.
    """

    # Twisted's tests recognize a reactor on completion ports by this class name and by the attribute `handles`.

    def __init__(
        self, port: str | None = None, slow_callback: float | None = None, asyncio_loop: Loop | None = None
    ) -> None:
        self._events: dict[int, Watch] = {}
        # Objects without a socket that want to write.
        self._writing: set = set()
        super().__init__(port, slow_callback, asyncio_loop)

    def mainLoop(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            # Python delivers signals to the main thread only.
            super().mainLoop()
            return
        # On Windows, a signal does not interrupt a wait. Python's handler runs in another thread; it records the
        # signal and writes a byte to the wake-up socket, which ends the wait.
        receiving, sending = socket.socketpair()
        sending.setblocking(False)
        self._core.wake_on(receiving.detach())
        with sending:
            previous = signal.set_wakeup_fd(-1)
            try:
                signal.set_wakeup_fd(sending.fileno(), warn_on_full_buffer=False)
                super().mainLoop()
            finally:
                signal.set_wakeup_fd(previous)

    @property
    def handles(self):
        return set(self._live())

    _disconnectSelectable = posixbase._DisconnectSelectableMixin._disconnectSelectable

    # IReactorSSL.

    listenSSL = posixbase.PosixReactorBase.listenSSL
    connectSSL = posixbase.PosixReactorBase.connectSSL

    # IReactorWin32Events.

    def addEvent(self, event, fd, action: str) -> None:
        """
        Call the method `action` of `fd` each time that `event`, a handle or its number, is signalled.

        There may be any number of events. Adding one again replaces its `fd` and `action`. If the method raises an
        exception or returns a true value, `fd.connectionLost` is called, and the event is removed.
        """
        handle = int(event)
        signalled = partial(self._signalled, handle, fd, action)
        watch = self._core.watch_handle(handle, signalled)
        previous = self._events.pop(handle, None)
        if previous is not None:
            previous.stop()
        self._events[handle] = watch

    def removeEvent(self, event) -> None:
        self._events.pop(int(event)).stop()

    def _signalled(self, handle: int, fd, action: str) -> object:
        """Run the action of a signalled event. Returns `fd`, to be named if this was slow."""
        log.callWithLogger(fd, self._runAction, handle, fd, action)
        return fd

    def _runAction(self, handle: int, fd, action: str) -> object:
        """Call the method `action` of `fd`. Returns `fd`, to be named if this was slow."""
        watch = self._events[handle]
        try:
            lost = getattr(fd, action)()
        except BaseException as exception:
            log.err()
            lost = exception
        if lost:
            try:
                fd.connectionLost(Failure(lost))
            finally:
                # Either method may have removed the event, as serial ports do, or have added it again.
                if self._events.get(handle) == watch:
                    self.removeEvent(handle)
        return fd

    # IReactorFDSet, for objects that have events and no socket: Twisted's serial ports.

    def addWriter(self, writer) -> None:
        if writer.fileno() != -1:
            super().addWriter(writer)
        elif writer not in self._writing:
            self._writing.add(writer)
            self.callLater(0, self._writeWithoutSocket, writer)

    def removeWriter(self, writer) -> None:
        if writer in self._writing:
            self._writing.remove(writer)
        else:
            super().removeWriter(writer)

    def _writeWithoutSocket(self, writer) -> None:
        """Close a serial port that wants to write: it writes by itself, so all that can be left to do is closing it."""
        if writer not in self._writing:
            return
        if getattr(writer, "writeInProgress", False):
            self.callLater(_LOOK_AGAIN, self._writeWithoutSocket, writer)
            return
        self._writing.remove(writer)
        if writer.disconnecting:
            writer.connectionLost(Failure(main.CONNECTION_DONE))

    # IReactorProcess.

    def spawnProcess(
        self,
        processProtocol,
        executable,
        args=(),
        env={},  # noqa: B006 (it is the interface's, and never changed)
        path=None,
        uid=None,
        gid=None,
        usePTY=False,
        childFDs=None,
    ):
        if uid is not None:
            raise ValueError("Setting UID is unsupported on this platform.")
        if gid is not None:
            raise ValueError("Setting GID is unsupported on this platform.")
        if usePTY and childFDs is not None:
            raise ValueError("Using childFDs is not supported with usePTY=True.")
        if isinstance(usePTY, (tuple, list)):
            raise ValueError("Windows has no descriptors of terminals: usePTY=True makes a new one.")
        childFDs = STANDARD_FDS if childFDs is None else childFDs
        return _spawn(self, processProtocol, executable, args, env, path, usePTY, childFDs)

    # Python has no UNIX sockets on Windows.

    connectUNIX = listenUNIX = connectUNIXDatagram = listenUNIXDatagram = _missing


if posixbase.tls is not None:
    classImplements(IOCPReactor, IReactorSSL)
