"""What is measured of Windows programs under Wine, and who takes part.

Values are CPU times from outside, of the program and of the Wine server: that is where a call into the kernel
ends, and it costs as much as some thirty elsewhere. So they compare who asks for less, and say little of Windows.
"""

from __future__ import annotations

from catalogue import LATENCIES, PEAK, RATE, Figure, Peer, Workload

_OPERATION = "operation"


def _echo(name: str, size: int, connections: int) -> Workload:
    load = ("--size", str(size), "--connections", str(connections))
    return Workload(name, "echo", "CPU us/message", (RATE, *LATENCIES, PEAK), load)


WORKLOADS = (
    *(_echo(f"echo-64-c{count}", 64, count) for count in (1, 64, 1000)),
    *(_echo(f"echo-16k-c{count}", 16384, count) for count in (1, 64, 1000)),
    Workload(
        "churn",
        "echo",
        "CPU us/connection",
        (RATE, *LATENCIES, PEAK),
        ("--mode", "churn", "--connections", "16"),
    ),
    Workload("spawn-1", "spawn-1", "CPU us/child", (RATE, PEAK), per=_OPERATION),
    Workload("spawn-8", "spawn-8", "CPU us/child", (RATE, PEAK), per=_OPERATION),
    Workload("child-stdout", "child-stdout", "CPU us/MiB", (Figure("rate", "MiB/s"), PEAK), per=_OPERATION),
)

PEERS = (
    Peer("tidewaiter-iocp", "bench-tidewaiter"),
    Peer("tokio", "bench-tokio"),
    Peer("compio", "bench-compio"),
    Peer("libuv", "bench-libuv"),
)
