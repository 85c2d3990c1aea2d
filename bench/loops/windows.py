"""The workloads and peers on Windows and under Wine, whose server's CPU time counts as the program's."""

from __future__ import annotations

from dataclasses import replace

from catalogue import OUR_LOOP, OURS_ON_WINDOWS, PREFIX, PROACTOR, WORKLOADS
from harness.workload import Peer, Workload

# The others are compared with the first.
PEERS = (
    Peer(PROACTOR, "Python", ("--loop", "asyncio")),
    Peer(OURS_ON_WINDOWS, "tidewaiter", OUR_LOOP, ours=True),
    Peer("winloop", "winloop", ("--loop", "winloop")),
)

_SERVERS = ("echo-64", "echo-16k", "streams-echo-64", "streams-echo-16k")
_ALONE = (
    "call-soon",
    "call-later",
    "call-soon-threadsafe",
    "task-switch",
    "future",
    "sleep-0",
    "child-stdout",
    "spawn-series",
    "spawn-32",
    "first-output",
)
# No servers on Windows itself, because we cannot read the CPU time of other processes there.
NAMES = frozenset(PREFIX + name for name in _ALONE)
# Other systems measure these only if the user gives the full name.
NOT_ELSEWHERE = frozenset([f"{PREFIX}first-output"])

WINE_PREFIX = f"{PREFIX}wine-"
_UNDER_WINE = (*_SERVERS, *_ALONE)


def _under_wine(name: str) -> Workload:
    """The workload under another name, because its table has other peers."""
    workload = next(workload for workload in WORKLOADS if workload.name == PREFIX + name)
    return replace(workload, name=WINE_PREFIX + name)


WINE_WORKLOADS = tuple(map(_under_wine, _UNDER_WINE))
NOT_UNDER_WINE = [name for one in WORKLOADS if (name := one.name.removeprefix(PREFIX)) not in _UNDER_WINE]
