"""A child of the port as a `subprocess.Popen`, which `get_extra_info("subprocess")` returns."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from tidewaiter._tidewaiter import AsyncioChild

if TYPE_CHECKING:
    from tidewaiter.asyncio._subprocesses import ChildTransport

# How long a wait with a limit sleeps between two looks, at least and at most.
_SHORTEST, _LONGEST = 0.0005, 0.05


def _peek(pid: int, block: bool) -> int | None:
    """The code with which our child ended, `None` while it runs. The port still reaps it."""
    options = os.WEXITED | os.WNOWAIT | (0 if block else os.WNOHANG)
    info = os.waitid(os.P_PID, pid, options)
    if info is None:
        return None
    return info.si_status if info.si_code == os.CLD_EXITED else -info.si_status


class ChildProcess(subprocess.Popen):  # type: ignore[type-arg]
    """
    A child of the port, as a `subprocess.Popen`. Its pipes belong to the transport, so that `stdin`, `stdout` and
    `stderr` are `None` here. The port reaps the child, also if `poll` or `wait` tell of its end before the loop does.
    """

    def __init__(self, transport: ChildTransport, child: AsyncioChild, args: Any, pid: int) -> None:
        self._transport = transport
        self._child = child
        self.args = args
        self.pid = pid
        self.returncode: Any = None
        self.stdin = self.stdout = self.stderr = None
        self.universal_newlines = self.encoding = self.errors = self.text_mode = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<Popen: returncode: {self.returncode} args: {self.args!r}>"

    def __del__(self, *_: object) -> None:
        """Do nothing: the port waits for the child."""

    def _look(self, block: bool) -> int | None:
        """Look whether the child has ended, or wait until it has."""
        try:
            return _peek(self.pid, block)
        except ChildProcessError:
            # The port has reaped it, in another thread, and the loop tells in a moment.
            return self._transport.get_returncode()

    def poll(self) -> int | None:
        if self.returncode is None:
            self.returncode = self._look(False)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the child's end. This blocks the loop if it is called in its thread."""
        if self.returncode is None and timeout is None:
            self.returncode = self._look(True)
        limit = None if timeout is None else time.monotonic() + timeout
        delay = _SHORTEST
        while self.poll() is None:
            if limit is not None and time.monotonic() >= limit:
                raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
            time.sleep(delay)
            delay = min(delay * 2, _LONGEST)
        return self.returncode

    def communicate(self, input: Any = None, timeout: float | None = None) -> Any:
        """Wait for the child's end: the transport has its pipes."""
        if input:
            raise ValueError("the transport has the child's standard input")
        self.wait(timeout)
        return None, None

    if sys.platform != "win32":

        def send_signal(self, sig: int) -> None:
            """Send a signal to the child. Do nothing if it has ended."""
            if self.returncode is None:
                try:
                    self._child.send_signal(sig)
                except ProcessLookupError:
                    pass

    def terminate(self) -> None:
        if self._transport._tree:
            self._reach(self._child.terminate)
        elif sys.platform == "win32":
            self._reach(self._child.kill)
        else:
            super().terminate()

    def kill(self) -> None:
        self._reach(self._child.kill)

    def _reach(self, method: Any) -> None:
        if self.returncode is None:
            try:
                method(self._transport._tree)
            except ProcessLookupError:
                pass


if sys.platform == "win32":
    import _winapi

    def _peek(pid: int, block: bool) -> int | None:
        access = _winapi.SYNCHRONIZE | 0x1000  # PROCESS_QUERY_LIMITED_INFORMATION
        handle = _winapi.OpenProcess(access, False, pid)
        try:
            if _winapi.WaitForSingleObject(handle, _winapi.INFINITE if block else 0) != _winapi.WAIT_OBJECT_0:
                return None
            return _winapi.GetExitCodeProcess(handle)
        finally:
            _winapi.CloseHandle(handle)

elif not hasattr(os, "waitid"):

    def _peek(pid: int, block: bool) -> int | None:
        """This system tells of an end only to the one that reaps: the loop."""
        return None
