"""The workloads and peers on Windows and under Wine.

Under Wine, CPU times include the wineserver, which acts as the kernel. A system call costs about thirty times
as much there as on Windows. So the results show which reactor makes fewer system calls, not how fast it is on
Windows.
"""

from __future__ import annotations

from dataclasses import replace

from catalogue import IOCP, OURS, OURS_ON_WINDOWS, PREFIX, WORKLOADS
from harness.workload import Peer, Workload

# The second is compared with the first.
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
    "first-output-terminal",
    "spawn-series",
    "spawn-series-descriptors",
    "spawn-many",
    "silent-children",
)
# The default workloads on Windows: no servers, because we cannot read the CPU time of other processes there.
NAMES = frozenset(PREFIX + name for name in _CLOCKS_AND_CHILDREN)
# Workloads that other systems measure only if the user gives the full name.
_NOT_ELSEWHERE = (
    "first-output",
    "first-output-terminal",
    "spawn-series",
    "spawn-series-descriptors",
    "silent-children",
)
NOT_ELSEWHERE = frozenset(PREFIX + name for name in _NOT_ELSEWHERE)

# Servers can be measured under Wine, because Linux reports the CPU time of other processes.
_SERVERS = ("echo-64", "echo-64k", "stream-in", "stream-out", "churn", "udp-echo")
WINE_PREFIX = f"{PREFIX}wine-"


def _under_wine(name: str) -> Workload:
    """The workload under another name, because its table has other peers."""
    workload = next(workload for workload in WORKLOADS if workload.name == PREFIX + name)
    return replace(workload, name=WINE_PREFIX + name)


_UNDER_WINE = (*_SERVERS, *_CLOCKS_AND_CHILDREN)
WINE_WORKLOADS = tuple(map(_under_wine, _UNDER_WINE))
# Workloads that take long under Wine and show nothing new.
NOT_UNDER_WINE = [name for one in WORKLOADS if (name := one.name.removeprefix(PREFIX)) not in _UNDER_WINE]
