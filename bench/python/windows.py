"""What is measured on Windows and under Wine, and who takes part.

Under Wine, CPU times are of the process and of the Wine server: there a call into the kernel ends, and it
costs as much as some thirty elsewhere. So they tell who asks the kernel for less, and say little of the speed
of Windows.
"""

from __future__ import annotations

from dataclasses import replace

from catalogue import IOCP, OURS, OURS_ON_WINDOWS, PREFIX, WORKLOADS
from harness.workload import Peer, Workload

# The first is what the other is measured by.
PEERS = (
    Peer(IOCP, "Twisted", ("--reactor", "twisted.internet.iocpreactor")),
    Peer(OURS_ON_WINDOWS, "tidewaiter", OURS, ours=True),
)

_CLOCKS_AND_CHILDREN = (
    "timer-arm",
    "timer-fire",
    "thread-calls",
    "child-stdout",
    "first-output",
    "spawn-series",
    "spawn-many",
    "silent-children",
)
# What is measured on Windows where nothing is named: there is no clock of another process's CPU time.
NAMES = frozenset(PREFIX + name for name in _CLOCKS_AND_CHILDREN)
# What is measured elsewhere only where it is named.
NOT_ELSEWHERE = frozenset(PREFIX + name for name in ("first-output", "spawn-series", "silent-children"))

# Under Wine there is such a clock, for the servers.
_SERVERS = ("echo-64", "echo-64k", "stream-in", "stream-out", "churn")
WINE_PREFIX = f"{PREFIX}wine-"
# The smallest program that says something and ends: Wine brings it.
BRIEF = ["chcp.com"]


def _under_wine(name: str) -> Workload:
    """A table of its own: it has other peers."""
    workload = next(workload for workload in WORKLOADS if workload.name == PREFIX + name)
    return replace(workload, name=WINE_PREFIX + name)


_UNDER_WINE = (*_SERVERS, *_CLOCKS_AND_CHILDREN)
WINE_WORKLOADS = tuple(map(_under_wine, _UNDER_WINE))
# What would take long there, and tell nothing that these do not.
NOT_UNDER_WINE = [name for one in WORKLOADS if (name := one.name.removeprefix(PREFIX)) not in _UNDER_WINE]
