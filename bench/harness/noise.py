"""Measures how much CPU other programs used during a run, and the CPU time of other processes."""

from __future__ import annotations

import os
import time
from pathlib import Path

# A run counts as disturbed if other programs used more than this share of one core.
DISTURBED = 0.15


class Watch:
    """Measures the CPU that other programs use during a run."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._busy = _busy_seconds()
        self._own = _own_seconds()

    def stop(self) -> float | None:
        """The share of one core that other programs used; None if the system does not tell.

        Call this after all processes of the run have been reaped.
        """
        busy = _busy_seconds()
        if self._busy is None or busy is None:
            return None
        others = busy - self._busy - (_own_seconds() - self._own)
        return max(0.0, others) / (time.monotonic() - self._began)


def _busy_seconds() -> float | None:
    """Busy seconds of all cores, without interrupts, with the time that the hypervisor took."""
    try:
        line = Path("/proc/stat").read_text().split("\n", 1)[0]
    except OSError:
        return None
    user, nice, system, _idle, _wait, _irq, _softirq, steal = map(int, line.split()[1:9])
    return (user + nice + system + steal) / os.sysconf("SC_CLK_TCK")


def _own_seconds() -> float:
    times = os.times()
    own = times.user + times.system + times.children_user + times.children_system
    wine = wine_server()
    return own + (cpu_seconds(wine) or 0.0 if wine else 0.0)


def cpu_seconds(process: int) -> float | None:
    """User and system time of all threads of a live process; None if the OS does not tell."""
    try:
        # The clock id that clock_getcpuclockid returns on Linux.
        return time.clock_gettime((~process << 3) | 2)
    except (AttributeError, OSError):
        return None


def wine_server() -> int | None:
    """The process id of the wineserver in use, the process that implements Windows's system calls."""
    prefix = os.environ.get("WINEPREFIX")
    if prefix is None:
        return None
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and _serves(folder, prefix):
            return int(folder.name)
    return None


def _serves(folder: Path, prefix: str) -> bool:
    try:
        # Some distributions name it after the word size, as in "wineserver64".
        if not (folder / "comm").read_text().startswith("wineserver"):
            return False
        environment = (folder / "environ").read_bytes().split(b"\0")
    except OSError:
        return False
    return f"WINEPREFIX={prefix}".encode() in environment
