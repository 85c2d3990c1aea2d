"""Signals: they end the loop's wait, and call the handlers that the program added."""

from __future__ import annotations

import errno
import signal
import socket
import sys
import threading
from asyncio import base_events, coroutines
from collections.abc import Callable
from typing import Any

from tidewaiter._tidewaiter import AsyncioLoop, Core, Handle


class Signals(AsyncioLoop, base_events.BaseEventLoop):
    """
    The part of the loop that handles signals.

    Python's own handler of a signal writes its number to a socket, if there is one. The loop reads that socket, so no
    wait misses a signal.
    """

    _core: Core

    def __init__(self) -> None:
        self._signal_handlers: dict[int, Handle] = {}
        self._signal_socket: socket.socket | None = None
        super().__init__()

    def run_forever(self) -> None:
        self._check_closed()
        self._check_running()
        borrowed = self._begin_waking()
        self._make_all_turns(True)
        try:
            super().run_forever()
        finally:
            self._make_all_turns(False)
            if borrowed and not self._signal_handlers:
                signal.set_wakeup_fd(-1)

    def close(self) -> None:
        super().close()
        if sys.is_finalizing():
            self._signal_handlers.clear()
        for number in list(self._signal_handlers):
            self.remove_signal_handler(number)
        if self._signal_socket is not None:
            self._signal_socket.close()
            self._signal_socket = None

    def _wakeup_number(self) -> int:
        """The descriptor that Python's handler writes to."""
        if self._signal_socket is None:
            ours, pythons = socket.socketpair()
            pythons.setblocking(False)
            self._core.wake_on(ours.detach(), self._signals_came)
            self._signal_socket = pythons
        return self._signal_socket.fileno()

    def _begin_waking(self) -> bool:
        """Let signals end our waits, if this is the main thread and no one else is told of them."""
        if threading.current_thread() is not threading.main_thread():
            return False
        try:
            previous = signal.set_wakeup_fd(-1)
        except ValueError:
            # The main thread of another interpreter.
            return False
        if previous != -1:
            try:
                signal.set_wakeup_fd(previous, warn_on_full_buffer=False)
            except (ValueError, OSError):
                # Its socket was closed, by a loop that is gone.
                pass
            else:
                return False
        signal.set_wakeup_fd(self._wakeup_number(), warn_on_full_buffer=False)
        return True

    def _signals_came(self, numbers: bytes) -> None:
        for number in numbers:
            handle = self._signal_handlers.get(number)
            if handle is None:
                continue
            if handle.cancelled():
                self.remove_signal_handler(number)
            else:
                self._add_callback(handle)

    def add_signal_handler(self, sig: int, callback: Callable[..., object], *args: Any) -> None:
        """
        Call `callback(*args)` in the loop when the process gets the signal `sig`.

        Raises `ValueError` for a number that is no signal, and `RuntimeError` for one that cannot be caught, or in
        another thread than the main one.
        """
        if sys.platform == "win32":
            raise NotImplementedError
        if coroutines.iscoroutine(callback) or coroutines.iscoroutinefunction(callback):
            raise TypeError("coroutines cannot be used with add_signal_handler()")
        _check_signal(sig)
        self._check_closed()
        try:
            signal.set_wakeup_fd(self._wakeup_number())
        except (ValueError, OSError) as error:
            raise RuntimeError(str(error)) from None
        self._signal_handlers[sig] = Handle(callback, args, self)
        try:
            # Python writes to the socket only for signals that have a handler in Python.
            signal.signal(sig, _do_nothing)
            signal.siginterrupt(sig, False)
        except OSError as error:
            del self._signal_handlers[sig]
            if not self._signal_handlers and not self.is_running():
                signal.set_wakeup_fd(-1)
            if error.errno == errno.EINVAL:
                raise RuntimeError(f"sig {sig} cannot be caught") from None
            raise

    def remove_signal_handler(self, sig: int) -> bool:
        """Remove the handler of a signal. Returns whether there was one."""
        if sys.platform == "win32":
            raise NotImplementedError
        _check_signal(sig)
        if self._signal_handlers.pop(sig, None) is None:
            return False
        default = signal.default_int_handler if sig == signal.SIGINT else signal.SIG_DFL
        try:
            signal.signal(sig, default)
        except OSError as error:
            if error.errno == errno.EINVAL:
                raise RuntimeError(f"sig {sig} cannot be caught") from None
            raise
        if not self._signal_handlers and not self.is_running():
            signal.set_wakeup_fd(-1)
        return True


def _check_signal(sig: int) -> None:
    if not isinstance(sig, int):
        raise TypeError(f"sig must be an int, not {sig!r}")
    if sig not in signal.valid_signals():
        raise ValueError(f"invalid signal number {sig}")


def _do_nothing(*_: object) -> None:
    """The handler for the process: the loop calls the program's."""
