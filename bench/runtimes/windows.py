"""The workloads and peers of Windows programs under Wine.

CPU times include the wineserver, which acts as the kernel. A system call costs about thirty times as much
there as on Windows. So the results show which peer makes fewer system calls, not how fast it is on Windows.
"""

from __future__ import annotations

from harness.workload import EVERY_PEER, LATENCIES, PEAK, RATE, Aim, Figure, Peer, Workload

PREFIX = "wine-"
IOCP = "tidewaiter-iocp"
_AIMS = (Aim(IOCP, 1, EVERY_PEER),)


def _served(name: str, unit: str, *load: str) -> Workload:
    return Workload(PREFIX + name, "echo", f"CPU us/{unit}", (RATE, *LATENCIES, PEAK), load, aims=_AIMS)


def _echo(name: str, size: int, connections: int) -> Workload:
    return _served(name, "message", "--size", str(size), "--connections", str(connections))


def _alone(name: str, task: str, unit: str, rate: Figure = RATE) -> Workload:
    return Workload(PREFIX + name, task, f"CPU us/{unit}", (rate, PEAK), per="operation", aims=_AIMS)


def _pipe_echo(pipes: int) -> Workload:
    return _alone(f"pipe-echo-{pipes}", f"pipe-echo-{pipes}", "message")


_CONNECTIONS = (1, 64, 1000)

WORKLOADS = (
    *(_echo(f"echo-64-c{count}", 64, count) for count in _CONNECTIONS),
    *(_echo(f"echo-16k-c{count}", 16384, count) for count in _CONNECTIONS),
    _served("churn", "connection", "--mode", "churn", "--connections", "16"),
    _alone("spawn-1", "spawn-1", "child"),
    _alone("spawn-8", "spawn-8", "child"),
    _alone("children-20", "children-20", "line"),
    _alone("child-stdout", "child-stdout", "MiB", Figure("rate", "MiB/s", more_is_better=True)),
    *(_pipe_echo(pipes) for pipes in (1, 16)),
)

PEERS = (
    Peer(IOCP, "bench-tidewaiter", ours=True),
    Peer("tokio", "bench-tokio", crate="tokio"),
    Peer("compio", "bench-compio", crate="compio"),
    Peer("libuv", "bench-libuv"),
)
