"""Child processes on the port: it carries their input and output, and reports their exit."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from twisted.internet import main
from twisted.internet._baseprocess import BaseProcess
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.interfaces import IConsumer, IProcessTransport, IPushProducer
from twisted.python import log
from twisted.python.failure import Failure
from zope.interface import implementer

from tidewaiter._programs import environment, text
from tidewaiter._tidewaiter import Child
from tidewaiter.twisted._flow import Flow, failure_of

if TYPE_CHECKING:
    from tidewaiter.twisted._reactor import LoopReactor

if os.name == "posix":
    from twisted.internet import process as _twisted
else:
    # On Windows, Twisted keeps no list of children.
    _twisted: Any = SimpleNamespace(reapProcessHandlers={})

_DONE = Failure(main.CONNECTION_DONE)

# The default of `childFDs`: a pipe for each standard stream.
STANDARD_FDS = {0: "w", 1: "r", 2: "r"}
# What a terminal has instead.
TERMINAL_FDS = {0: "w", 1: "r"}


@implementer(IPushProducer, IConsumer)
class _Pipe(Flow):
    """Our end of a pipe to a child."""

    def __init__(self, process: Process, childFD: int) -> None:
        self.proc = process
        self.name = childFD
        process._pipe(childFD, self)

    def logPrefix(self) -> str:
        return "-"

    def stopProducing(self) -> None:
        self.loseConnection()

    def connectionLost(self, reason: Failure) -> None:
        """Close the pipe, because it has ended or the reactor stops."""
        if not self._lose(False):
            return
        self._leave()
        self._stopProducer()
        self.proc.childConnectionLost(self.name, reason)


@implementer(IProcessTransport, IConsumer, IPushProducer)
class Process(Child, BaseProcess):
    """A running child process."""

    status = -1
    # Whether all handles of the child are closed.
    _closed = False

    def __init__(self, reactor: LoopReactor, proto: Any) -> None:
        BaseProcess.__init__(self, proto)
        self._reactor = reactor
        self.pipes: dict[int, _Pipe] = {}

    def _start(self, program: dict[str, object], childFDs: Mapping[int, object]) -> bool:
        """
        Start the program and connect the protocol. Returns false if the child process could not execute the
        program.
        """
        self.pid = self._spawn(self._reactor._loop, program)
        if self.pid is None:
            return False
        self._expect()
        for childFD, target in childFDs.items():
            if isinstance(target, str):
                self.pipes[childFD] = _Pipe(self, childFD)
        try:
            if self.proto is not None:
                self.proto.makeConnection(self)
        except BaseException:
            log.err()
        return True

    def _expect(self) -> None:
        """Add the child to Twisted's own list of children, until it has ended."""
        # Look the list up each time: Twisted's tests replace it.
        _twisted.reapProcessHandlers[self.pid] = self

    def reapProcess(self) -> None:
        """Reap the child if it has ended and the reactor does not run. While it runs, the port reaps."""
        if self._reactor.running or self.pid is None:
            return
        try:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:
            return
        if pid:
            self.processEnded(status)

    def processEnded(self, status: int) -> None:
        _twisted.reapProcessHandlers.pop(self.pid, None)
        BaseProcess.processEnded(self, status)

    def _getReason(self, status: int) -> BaseException:
        if status == 0:
            return ProcessDone(status)
        if os.WIFEXITED(status):
            return ProcessTerminated(os.WEXITSTATUS(status), None, status)
        return ProcessTerminated(None, os.WTERMSIG(status), status)

    def __repr__(self) -> str:
        return f"<{self.__class__.__name__} pid={self.pid} status={self.status}>"

    # The loop calls the following methods.

    def _childFailed(self, childFD: int, exception: BaseException) -> None:
        """Close the pipe, because `childDataReceived` raised `exception`."""
        failure = failure_of(exception)
        log.err(failure)
        self._pipeLost(childFD, failure)

    def _childConnectionLost(self, childFD: int) -> None:
        self._pipeLost(childFD, _DONE)

    def _pipeLost(self, childFD: int, reason: Failure) -> None:
        pipe = self.pipes.get(childFD)
        if pipe is not None:
            pipe.connectionLost(reason)

    def _childExited(self, status: int) -> None:
        if self.pid is not None:
            self.processEnded(status)

    def _childEnded(self) -> None:
        self._closed = True
        self.maybeCallProcessEnded()

    def childConnectionLost(self, childFD: int, reason: Failure) -> None:
        """Handle the end of the pipe at the child's descriptor `childFD`."""
        del self.pipes[childFD]
        try:
            self.proto.childConnectionLost(childFD)
        except BaseException:
            log.err()
        self.maybeCallProcessEnded()

    def maybeCallProcessEnded(self) -> None:
        """
        Call the protocol's `processEnded` once the process and its pipes have ended.

        While the loop runs, wait until the descriptors are closed too: the protocol may need them for the next child.
        """
        if not self.lostProcess or self.pipes:
            return
        if self._reactor.running and not self._closed:
            self._reactor._ending.add(self)
            return
        self._reactor._ending.discard(self)
        BaseProcess.maybeCallProcessEnded(self)

    # IProcessTransport.

    def signalProcess(self, signalID: str | int) -> None:
        if self.pid is None:
            raise ProcessExitedAlready()
        self._signal(signalID)

    def _signal(self, signalID: str | int) -> None:
        import signal

        number: Any = signalID
        if signalID in ("HUP", "STOP", "INT", "KILL", "TERM"):
            number = getattr(signal, f"SIG{signalID}")
        try:
            self._send_signal(number)
        except ProcessLookupError:
            raise ProcessExitedAlready() from None

    def writeToChild(self, childFD: int, data: bytes) -> None:
        self.pipes[childFD].write(data)

    def closeChildFD(self, descriptor: int) -> None:
        pipe = self.pipes.get(descriptor)
        if pipe is not None:
            pipe.loseConnection()

    def closeStdin(self) -> None:
        self.closeChildFD(0)

    def closeStdout(self) -> None:
        self.closeChildFD(1)

    def closeStderr(self) -> None:
        self.closeChildFD(2)

    def loseConnection(self) -> None:
        for pipe in list(self.pipes.values()):
            pipe.loseConnection()

    def write(self, data: bytes) -> None:
        """Write to the child's standard input. Does nothing if that is closed."""
        if 0 in self.pipes:
            self.pipes[0].write(data)

    def writeSequence(self, seq: Iterable[bytes]) -> None:
        if 0 in self.pipes:
            self.pipes[0].writeSequence(seq)

    def getHost(self) -> Any:
        raise NotImplementedError("a child process has no address")

    def getPeer(self) -> Any:
        raise NotImplementedError("a child process has no address")

    # IConsumer, for the child's standard input, and IPushProducer, for its output.

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        if 0 in self.pipes:
            self.pipes[0].registerProducer(producer, streaming)
        else:
            producer.stopProducing()

    def unregisterProducer(self) -> None:
        if 0 in self.pipes:
            self.pipes[0].unregisterProducer()

    def pauseProducing(self) -> None:
        for pipe in self.pipes.values():
            pipe.stopReading()

    def resumeProducing(self) -> None:
        for pipe in self.pipes.values():
            pipe.startReading()

    def stopProducing(self) -> None:
        self.loseConnection()


class PTYProcess(Process):
    """
    A child process on a terminal of its own: a pseudo-terminal, on Windows a pseudo-console. Its output comes
    from descriptor 1.

    What is written arrives as if typed. The Enter key is "\\r", on every system.
    """

    def childConnectionLost(self, childFD: int, reason: Failure) -> None:
        del self.pipes[childFD]
        self.maybeCallProcessEnded()

    def fileno(self) -> int:
        """The number of our end of the terminal, on Windows of its output; -1 once it is closed."""
        return self.pipes[1].fileno() if 1 in self.pipes else -1

    def setWindowSize(self, rows: int, columns: int) -> None:
        """
        Set the size of the terminal: 24 rows of 80 columns to begin with. The program learns of it at once.

        Does nothing once the terminal is closed.
        """
        if self.pipes:
            self._resize(rows, columns)

    def closeStdin(self) -> None:
        """Do nothing: one direction of a terminal cannot be closed alone."""

    def closeStdout(self) -> None:
        """Do nothing: one direction of a terminal cannot be closed alone."""

    def closeStderr(self) -> None:
        """Do nothing: one direction of a terminal cannot be closed alone."""

    def closeChildFD(self, descriptor: int) -> None:
        raise NotImplementedError("a terminal is closed as a whole: loseConnection")

    def writeToChild(self, childFD: int, data: bytes) -> None:
        raise NotImplementedError("a terminal is written to as a whole: write")


def _groups(uid: int, gid: int) -> list[int]:
    import pwd

    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        return [gid]
    return os.getgrouplist(name, gid)


def _user(uid: int | None, gid: int | None) -> tuple[int, int, list[int]] | None:
    if uid is None and gid is None:
        return None
    uid = os.geteuid() if uid is None else uid
    gid = os.getegid() if gid is None else gid
    return uid, gid, _groups(uid, gid)


def _program(
    executable: str | bytes,
    args: Iterable[str | bytes],
    env: Mapping[Any, Any] | None,
    path: str | bytes | None,
    fds: Mapping[int, Any],
    terminal: list[int] | None = None,
    user: tuple[int, int, list[int]] | None = None,
) -> dict[str, object]:
    """Collect the arguments of `Child._spawn`."""
    if isinstance(args, (str, bytes)):
        raise TypeError(f"args should be a list of arguments, not {args!r}")
    for fd, target in fds.items():
        if not isinstance(target, (int, str)):
            raise TypeError(f'childFDs: {fd} should be "r", "w" or an int, not {target!r}')
    return {
        "executable": text(executable),
        "args": [text(arg) for arg in args],
        "env": environment(env),
        "path": None if path is None else text(path),
        "fds": list(fds.items()),
        "terminal": terminal,
        "user": user,
    }


def spawn(
    reactor: LoopReactor,
    proto: Any,
    executable: str | bytes,
    args: Iterable[str | bytes],
    env: Mapping[Any, Any] | None,
    path: str | bytes | None,
    uid: int | None,
    gid: int | None,
    usePTY: Any,
    childFDs: Mapping[int, Any] | None,
) -> Process | None:
    """
    Start a child on a POSIX system. Returns `None` if the program cannot be executed. Twisted's own code then starts
    it again, and reports the failure on the child's standard error, as applications expect.
    """
    user = _user(uid, gid)
    if usePTY:
        ends = list(usePTY[:2]) if isinstance(usePTY, (tuple, list)) else []
        process: Process = PTYProcess(reactor, proto)
        program = _program(executable, args, env, path, {}, ends, user)
        fds: Mapping[int, Any] = TERMINAL_FDS
    else:
        process = Process(reactor, proto)
        fds = STANDARD_FDS if childFDs is None else childFDs
        program = _program(executable, args, env, path, fds, None, user)
    return process if process._start(program, fds) else None
