"""What is measured, and who takes part."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Figure:
    """A column of the table: the name of what a run tells, and how it is shown."""

    name: str
    head: str
    # The figure is divided by so much to be shown.
    divisor: float = 1.0


RATE = Figure("rate", "rate/s")
PEAK = Figure("peak_kib", "peak MiB", 1024)
LATENCIES = (Figure("p50_us", "p50 us"), Figure("p99_us", "p99 us"), Figure("p999_us", "p99.9 us"))


@dataclass(frozen=True)
class Workload:
    """One table.

    Where `load` is given, the peer is a server that the load program drives with these arguments; `per`
    says what its value is: CPU per "message", CPU per "gib" that passes, or "memory" per connection. Else
    the peer measures itself and tells its value.
    """

    name: str
    # What the peers call it.
    task: str
    # Of the value.
    unit: str
    figures: tuple[Figure, ...]
    load: tuple[str, ...] = ()
    per: str = "message"
    more_is_better: bool = False
    # Whether the process is held to the first core; the load program always has the second.
    pinned: bool = True


@dataclass(frozen=True)
class Peer:
    """One program of bench/peers: `package` is its name there."""

    name: str
    package: str
    arguments: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    # It is no peer but what the kernel sets: the others are measured by it.
    floor: bool = False
    # What must be installed, as pkg-config calls it, and Debian's name for it.
    library: tuple[str, str] | None = None


def _echo(name: str, size: int, connections: int) -> Workload:
    load = ("--size", str(size), "--connections", str(connections))
    return Workload(name, "echo", "CPU us/message", (RATE, *LATENCIES, PEAK), load)


def _stream(name: str, task: str, *load: str) -> Workload:
    figures = (Figure("mib_per_s", "MiB/s"), PEAK)
    return Workload(name, task, "CPU s/GiB", figures, load, per="gib")


_CONNECTIONS = (1, 64, 1000, 10_000)
_CHURN = ("--mode", "churn", "--connections", "16")
IDLE_CONNECTIONS = 5000
_IDLE = ("--mode", "idle", "--connections", str(IDLE_CONNECTIONS))
_TIMER_FIGURES = (
    Figure("arm_ns", "arm ns"),
    Figure("cancel_ns", "cancel ns"),
    Figure("late_p50_us", "late p50 us"),
    Figure("late_p99_us", "late p99 us"),
    Figure("early", "early"),
    PEAK,
)

WORKLOADS = (
    *(_echo(f"echo-64-c{count}", 64, count) for count in _CONNECTIONS),
    *(_echo(f"echo-16k-c{count}", 16384, count) for count in _CONNECTIONS),
    Workload("churn", "echo", "CPU us/connection", (RATE, *LATENCIES, PEAK), _CHURN),
    _stream("stream-in", "sink", "--mode", "send", "--size", "65536"),
    _stream("stream-out", "source", "--mode", "receive"),
    Workload("idle-memory", "echo", "bytes/connection", (PEAK,), _IDLE, per="memory"),
    Workload("timers", "timers", "CPU ns/firing", _TIMER_FIGURES),
    Workload(
        "thread-calls",
        "threads",
        "calls/s",
        (Figure("cpu_us", "CPU us"), *LATENCIES, PEAK),
        more_is_better=True,
        pinned=False,
    ),
    Workload("spawn-1", "spawn-1", "own CPU us/child", (RATE, PEAK), pinned=False),
    Workload("spawn-32", "spawn-32", "own CPU us/child", (RATE, PEAK), pinned=False),
    Workload(
        "child-stdout",
        "child-stdout",
        "MiB/s",
        (Figure("cpu_s_per_gib", "own CPU s/GiB"), PEAK),
        more_is_better=True,
    ),
    Workload(
        "child-stdout-socket",
        "child-stdout-socket",
        "MiB/s",
        (Figure("cpu_s_per_gib", "own CPU s/GiB"), PEAK),
        more_is_better=True,
    ),
    Workload("children-500", "children", "own CPU us/line", (RATE, *LATENCIES, PEAK)),
)

PEERS = (
    Peer("bare-uring", "bench-bare-uring", floor=True),
    Peer("bare-epoll", "bench-bare-epoll", floor=True),
    Peer("tidewaiter-uring", "bench-tidewaiter", environment={"TIDEWAITER_PORT": "uring"}),
    Peer("tidewaiter-poll", "bench-tidewaiter", environment={"TIDEWAITER_PORT": "poll"}),
    Peer("tokio", "bench-tokio"),
    Peer("tokio-multi", "bench-tokio", arguments=("multi",)),
    Peer("compio", "bench-compio"),
    Peer("monoio", "bench-monoio"),
    Peer("mio", "bench-mio"),
    Peer("libuv", "bench-libuv", library=("libuv", "libuv1-dev")),
)
