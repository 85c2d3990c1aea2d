"""Child processes: the transports behind `subprocess_exec` and `subprocess_shell`."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from asyncio import base_events, base_subprocess
from asyncio.log import logger
from collections.abc import Callable
from typing import Any

from tidewaiter._programs import end_of
from tidewaiter._tidewaiter import AsyncioChild, AsyncioLoop, Core
from tidewaiter.asyncio import _native_streams
from tidewaiter.asyncio._child_pipes import Pipe
from tidewaiter.asyncio._plan import Plan
from tidewaiter.asyncio._popen import ChildProcess

_POPEN = subprocess.Popen
if sys.platform == "win32":
    from asyncio.windows_utils import Popen as _WINDOWS_POPEN


class ChildTransport(asyncio.SubprocessTransport):
    """A child process, started and awaited by the port."""

    def __init__(self, loop: Subprocesses, protocol: Any, extra: dict[str, Any] | None) -> None:
        super().__init__(extra)
        self._loop = loop
        self._protocol = protocol
        self._child = AsyncioChild(self, protocol)
        self._proc: ChildProcess | None = None
        self._pid: int | None = None
        self._returncode: int | None = None
        self._closed = False
        self._pipes: dict[int, Pipe] = {}
        self._exit_waiters: list[asyncio.Future[int]] = []
        self._tree = False

    def _start(self, plan: Plan) -> None:
        """Start the program, and connect the protocol."""
        pid, pipes = self._child.spawn(self._loop._core, plan.program())
        self._pid, self._tree = pid, plan.kill_tree
        self._proc = ChildProcess(self, self._child, plan.args, pid)
        self._extra["subprocess"] = self._proc
        for fd in pipes:
            self._pipes[fd] = plan.kind_of(fd)(self, fd, self._child.pipe(fd))
        self._loop._children.add(self)
        self._tell(self._protocol.connection_made, self)
        _native_streams.adopt_child(self._child, self, self._protocol)

    def _tell(self, callback: Callable[..., object], *args: object) -> None:
        """Call the protocol. The loop's exception handler gets what it raises."""
        try:
            callback(*args)
        except BaseException as exception:
            self._failed(exception)

    def __repr__(self) -> str:
        info = [type(self).__name__]
        if self._closed:
            info.append("closed")
        info.append("not started" if self._pid is None else f"pid={self._pid}")
        if self._returncode is not None:
            info.append(f"returncode={self._returncode}")
        elif self._pid is not None:
            info.append("running")
        names = {0: "stdin", 1: "stdout", 2: "stderr"}
        info += [f"{names.get(fd, fd)}={pipe!r}" for fd, pipe in self._pipes.items()]
        return f"<{' '.join(info)}>"

    # asyncio.BaseTransport.

    def set_protocol(self, protocol: Any) -> None:
        self._protocol = protocol
        self._child.set_protocol(protocol)

    def get_protocol(self) -> Any:
        return self._protocol

    def is_closing(self) -> bool:
        return self._closed

    def close(self) -> None:
        """Close the pipes, and kill the child if it still runs."""
        if self._closed:
            return
        self._closed = True
        for pipe in self._pipes.values():
            pipe.close()
        if self._proc is None or self._returncode is not None or self._proc.poll() is not None:
            return
        if self._loop.get_debug():
            logger.warning("Close running child process: kill %r", self)
        try:
            self._proc.kill()
        except (ProcessLookupError, PermissionError):
            # It has ended already, or became another user's.
            pass

    # asyncio.SubprocessTransport.

    def get_pid(self) -> Any:
        return self._pid

    def get_returncode(self) -> int | None:
        return self._returncode

    def get_pipe_transport(self, fd: int) -> Any:
        return self._pipes.get(fd)

    def _check_proc(self) -> ChildProcess:
        if self._proc is None:
            raise ProcessLookupError()
        return self._proc

    def send_signal(self, signal: int) -> None:
        self._check_proc().send_signal(signal)

    def terminate(self) -> None:
        self._check_proc().terminate()

    def kill(self) -> None:
        self._check_proc().kill()

    async def _wait(self) -> int:
        """Wait until the child has exited, and return its code. Other processes may still have its pipes."""
        if self._returncode is not None:
            return self._returncode
        waiter = self._loop.create_future()
        self._exit_waiters.append(waiter)
        return await waiter

    # Beyond asyncio.

    def terminate_tree(self) -> None:
        """Ask the child and its descendants to end. On Unix, it must lead a group, as with `kill_tree=True`."""
        self._check_proc()
        self._child.terminate(True)

    def kill_tree(self) -> None:
        """Kill the child and its descendants. On Unix, it must lead a group, as with `kill_tree=True`."""
        self._check_proc()
        self._child.kill(True)

    def resize(self, rows: int, columns: int) -> None:
        """Set the size of the child's terminal. Its programs learn of it at once."""
        self._check_proc()
        self._child.resize(rows, columns)

    # The loop calls the following methods.

    def _pipe_lost(self, fd: int, cause: OSError | None) -> None:
        self._protocol.pipe_connection_lost(fd, self._pipes[fd]._lost(cause))

    def _pipe_drained(self, fd: int) -> None:
        self._pipes[fd]._drained()

    def _exited(self, returncode: int) -> None:
        if self._loop.get_debug():
            logger.info("%r exited with return code %r", self, returncode)
        self._returncode = returncode
        if self._proc is not None:
            self._proc.returncode = returncode
        try:
            self._protocol.process_exited()
        finally:
            waiters, self._exit_waiters = self._exit_waiters, []
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(returncode)

    def _ended(self) -> None:
        self._loop._children.discard(self)
        protocol, self._protocol, self._proc = self._protocol, None, None
        protocol.connection_lost(None)

    def _failed(self, exception: BaseException) -> None:
        """Report an exception that a callback raised, unless it is to end the loop."""
        if isinstance(exception, (SystemExit, KeyboardInterrupt)):
            raise exception
        context = {
            "message": "Exception in a callback of a subprocess protocol",
            "exception": exception,
            "transport": self,
            "protocol": self._protocol,
        }
        self._loop._tell_handler(context)

    def _abandon(self) -> None:
        """End the child, because its loop is being closed: nothing is called from here on."""
        self.close()
        self._child.forget()
        self._protocol = None


class _PopenTransport(base_subprocess.BaseSubprocessTransport):
    """
    A child that `subprocess.Popen` starts, and whose end the port reports: for what only Python can do to a child, such
    as `preexec_fn`.
    """

    def _start(self, args, shell, stdin, stdout, stderr, bufsize, **kwargs):  # type: ignore[no-untyped-def]
        if sys.platform == "win32":
            from asyncio.windows_utils import Popen
        else:
            Popen = subprocess.Popen
        self._proc = Popen(
            args, shell=shell, stdin=stdin, stdout=stdout, stderr=stderr, bufsize=bufsize, universal_newlines=False,
            **kwargs,
        )  # fmt: skip
        self._await_end()

    def _await_end(self) -> None:
        loop: Any = self._loop
        self._gone = loop.create_future()
        if sys.platform == "win32":
            self._end = None
            self._watch = loop._core.watch_handle(int(self._proc._handle), self._ended)
        else:
            self._end = end_of(self._proc.pid)
            self._watch = loop._core.watch(self._end.fileno(), Core.READABLE, self._ended)
        loop._children.add(self)

    def _ended(self, *_: int) -> None:
        self._loop._children.discard(self)
        self._stop_watching()
        if not self._gone.done():
            self._gone.set_result(None)
        self._process_exited(self._proc.wait())

    def _stop_watching(self) -> None:
        self._watch.stop()
        if self._end is not None:
            self._end.close()

    def _abandon(self) -> None:
        """End the child, because its loop is being closed."""
        self._stop_watching()
        if self._proc.poll() is None:
            self._proc.kill()
            self._proc.wait()
        for pipe in (self._proc.stdin, self._proc.stdout, self._proc.stderr):
            if pipe is not None:
                pipe.close()
        self._closed = True


class Subprocesses(AsyncioLoop, base_events.BaseEventLoop):
    """The part of the loop that starts children."""

    _core: Core

    def __init__(self) -> None:
        self._children: set[ChildTransport | _PopenTransport] = set()
        super().__init__()

    def close(self) -> None:
        """Close the loop. Children that still run are killed, and their transports closed."""
        super().close()
        children, self._children = self._children, set()
        for transport in children:
            transport._abandon()

    def _popen_replaced(self) -> bool:
        """Whether the program has put something of its own in the place of what starts children in asyncio."""
        replaced = subprocess.Popen is not _POPEN
        if sys.platform == "win32":
            from asyncio import windows_utils

            replaced = replaced or windows_utils.Popen is not _WINDOWS_POPEN
        return replaced or "connect_read_pipe" in self.__dict__ or "connect_write_pipe" in self.__dict__

    async def _make_subprocess_transport(  # type: ignore[override]
        self,
        protocol: Any,
        args: Any,
        shell: bool,
        stdin: Any,
        stdout: Any,
        stderr: Any,
        bufsize: int,
        extra: dict[str, Any] | None = None,
        **options: Any,
    ) -> asyncio.SubprocessTransport:
        plan = Plan(args, shell, (stdin, stdout, stderr), options)
        if not plan.needs_popen and not self._popen_replaced():
            transport = ChildTransport(self, protocol, extra)
            transport._start(plan)
            return transport
        plan.refuse_popen()
        waiter = self.create_future()
        popen = _PopenTransport(
            self, protocol, args, shell, stdin, stdout, stderr, bufsize, waiter=waiter, extra=extra, **options
        )
        try:
            await waiter
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException:
            popen.close()
            await popen._gone
            raise
        return popen
