"""The reactor for POSIX systems: UNIX sockets, forks, and child processes."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from typing import Any

from twisted.internet.interfaces import IReactorDaemonize
from twisted.internet.posixbase import PosixReactorBase
from twisted.internet.process import reapProcessHandlers
from zope.interface import implementer

from tidewaiter._programs import end_of
from tidewaiter._tidewaiter import Core
from tidewaiter.twisted import _unix
from tidewaiter.twisted._fdset import WatchingReactor
from tidewaiter.twisted._process import spawn


@implementer(IReactorDaemonize)
class Reactor(WatchingReactor, PosixReactorBase):
    """
    A Twisted reactor that waits at a completion port: io_uring, or readiness where the kernel refuses that.

    TCP, UDP, UNIX sockets, child processes and timers go through the port, which also watches the application's own
    descriptors (`addReader`).
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

    # IReactorUNIX.

    def listenUNIX(
        self, address: Any, factory: Any, backlog: int = 50, mode: int = 0o666, wantPID: bool = False
    ) -> _unix.Port:
        port = _unix.Port(address, factory, backlog, mode, self, wantPID)
        port.startListening()
        return port

    def connectUNIX(self, address: Any, factory: Any, timeout: float = 30, checkPID: bool = False) -> _unix.Connector:
        connector = _unix.Connector(address, factory, timeout, self, checkPID)
        connector.connect()
        return connector

    # IReactorUNIXDatagram.

    def listenUNIXDatagram(
        self, address: Any, protocol: Any, maxPacketSize: int = 8192, mode: int = 0o666
    ) -> _unix.DatagramPort:
        port = _unix.DatagramPort(address, protocol, maxPacketSize, mode, self)
        port.startListening()
        return port

    def connectUNIXDatagram(
        self,
        address: Any,
        protocol: Any,
        maxPacketSize: int = 8192,
        mode: int = 0o666,
        bindAddress: Any = None,
    ) -> _unix.ConnectedDatagramPort:
        port = _unix.ConnectedDatagramPort(address, protocol, maxPacketSize, mode, bindAddress, self)
        port.startListening()
        return port

    # IReactorSocket.

    def adoptStreamPort(self, fileDescriptor: int, addressFamily: socket.AddressFamily, factory: Any) -> Any:
        if addressFamily != socket.AF_UNIX:
            return super().adoptStreamPort(fileDescriptor, addressFamily, factory)
        port = _unix.Port._fromListeningDescriptor(self, fileDescriptor, factory)
        port.startListening()
        return port

    def adoptStreamConnection(self, fileDescriptor: int, addressFamily: socket.AddressFamily, factory: Any) -> Any:
        if addressFamily != socket.AF_UNIX:
            return super().adoptStreamConnection(fileDescriptor, addressFamily, factory)
        return _unix.Server._fromConnectedSocket(fileDescriptor, factory, self)

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
