"""How much of the machine others used while we measured, and the CPU time of processes that are not ours."""

from __future__ import annotations

import os
import time
from pathlib import Path

# Shares of one core that others had, above which a run counts as disturbed.
DISTURBED = 0.15


class Watch:
    """Watches one run: `stop` gives what others used, in shares of one core; None where that is not known."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._busy = _busy_seconds()
        self._own = _own_seconds()

    def stop(self) -> float | None:
        """Call it when every process of the run has been waited for."""
        busy = _busy_seconds()
        if self._busy is None or busy is None:
            return None
        others = busy - self._busy - (_own_seconds() - self._own)
        return max(0.0, others) / (time.monotonic() - self._began)


def _busy_seconds() -> float | None:
    """All cores' time outside of interrupts, with what the hypervisor took."""
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
    """The CPU time of a live process, all threads, user and system: exact where the OS has a clock of it."""
    try:
        # The number of the clock that clock_getcpuclockid gives on Linux.
        return time.clock_gettime((~process << 3) | 2)
    except (AttributeError, OSError):
        return None


def wine_server() -> int | None:
    """The server of the Wine prefix in use: every call of a Windows program into the kernel ends there."""
    prefix = os.environ.get("WINEPREFIX")
    if prefix is None:
        return None
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and _serves(folder, prefix):
            return int(folder.name)
    return None


def _serves(folder: Path, prefix: str) -> bool:
    try:
        # Some distributions have one for each word size, "wineserver64".
        if not (folder / "comm").read_text().startswith("wineserver"):
            return False
        environment = (folder / "environ").read_bytes().split(b"\0")
    except OSError:
        return False
    return f"WINEPREFIX={prefix}".encode() in environment
