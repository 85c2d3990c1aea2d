"""The reactor for POSIX systems: watches descriptors for the application and for Twisted's own transports."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from typing import Any

from twisted.internet.interfaces import IReactorDaemonize
from twisted.internet.posixbase import PosixReactorBase
from twisted.internet.process import reapProcessHandlers
from zope.interface import implementer

from tidewaiter._tidewaiter import Core
from tidewaiter.twisted._fdset import WatchingReactor
from tidewaiter.twisted._process import end_of, spawn


@implementer(IReactorDaemonize)
class Reactor(WatchingReactor, PosixReactorBase):
    """
    A Twisted reactor that waits at a completion port: io_uring, or readiness where the kernel refuses that.

    TCP connections, listeners, child processes and timers go through the port. It watches the descriptors of
    everything else, such as UDP ports, UNIX sockets and `addReader`.
    """

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

    # IReactorSocket.

    def adoptStreamPort(self, fileDescriptor: int, addressFamily: socket.AddressFamily, factory: Any) -> Any:
        if addressFamily == socket.AF_UNIX:
            return PosixReactorBase.adoptStreamPort(self, fileDescriptor, addressFamily, factory)
        return super().adoptStreamPort(fileDescriptor, addressFamily, factory)

    def adoptStreamConnection(self, fileDescriptor: int, addressFamily: socket.AddressFamily, factory: Any) -> Any:
        if addressFamily == socket.AF_UNIX:
            return PosixReactorBase.adoptStreamConnection(self, fileDescriptor, addressFamily, factory)
        return super().adoptStreamConnection(fileDescriptor, addressFamily, factory)

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
