"""The workloads, peers and aims of the comparison of Twisted reactors."""

from __future__ import annotations

from harness.python import WRK
from harness.workload import LATENCIES, PEAK, RATE, Aim, Figure, Peer, Workload

# The prefix of the names of all workloads.
PREFIX = "python-"
EPOLL, IOCP = "epollreactor", "iocpreactor"
# Our reactor on its default port, on Linux and on Windows.
URING, OURS_ON_WINDOWS = "tidewaiter-uring", "tidewaiter-iocp"
OURS = ("--reactor", "tidewaiter.twisted")
_ASYNCIO = ("--reactor", "twisted.internet.asyncioreactor")

# The others are compared with the first.
PEERS = (
    Peer(EPOLL, "Twisted", ("--reactor", "twisted.internet.epollreactor")),
    Peer(URING, "tidewaiter", OURS, {"TIDEWAITER_PORT": "uring"}, ours=True),
    Peer("tidewaiter-poll", "tidewaiter", OURS, {"TIDEWAITER_PORT": "poll"}, ours=True),
    Peer("asyncioreactor", "Twisted", _ASYNCIO),
    Peer("asyncioreactor-uvloop", "uvloop", (*_ASYNCIO, "--loop", "uvloop")),
    # Bare asyncio protocols, without Twisted.
    Peer("bare-uvloop", "uvloop", ("--loop", "uvloop")),
    Peer("bare-rloop", "rloop", ("--loop", "rloop")),
)

_SERVER_FIGURES = (RATE, *LATENCIES, PEAK)
_CPU_PER_CHILD = Figure("cpu_us", "own CPU us")
# CPU of the process; under Wine it includes the wineserver, which acts as the kernel.
_CPU = Figure("outside_cpu_ms", "CPU ms")


def _aims(epoll: float, iocp: float | None = None) -> tuple[Aim, ...]:
    """Aims for our ratios to epollreactor and, if one is given, to iocpreactor."""
    aims = (Aim(URING, epoll, (EPOLL,)),)
    return aims if iocp is None else (*aims, Aim(OURS_ON_WINDOWS, iocp, (IOCP,)))


def _served(name: str, task: str, unit: str, most: float, *load: str) -> Workload:
    return Workload(f"{PREFIX}{name}", task, f"CPU us/{unit}", _SERVER_FIGURES, load, aims=_aims(most))


def _echo(name: str, size: int, connections: int, most: float) -> Workload:
    load = ("--size", str(size), "--connections", str(connections))
    return _served(name, "echo", "message", most, *load)


def _local(task: str, most: float, iocp: float | None = None, *, load: tuple[str, ...]) -> Workload:
    """Echoes of 64 bytes, which are no TCP."""
    aims = _aims(most, iocp)
    return Workload(f"{PREFIX}{task}", task, "CPU us/message", _SERVER_FIGURES, load, aims=aims)


def _stream(name: str, task: str, most: float, *load: str) -> Workload:
    figures = (Figure("mib_per_s", "MiB/s", more_is_better=True), PEAK)
    return Workload(f"{PREFIX}{name}", task, "CPU s/GiB", figures, load, per="gib", aims=_aims(most))


def _clock(task: str, *aims: Aim, figures: tuple[Figure, ...] = ()) -> Workload:
    return Workload(f"{PREFIX}{task}", task, "CPU ns", figures, aims=aims)


def _rate(task: str, unit: str, figure: Figure, *aims: Aim, pinned: bool = False) -> Workload:
    figures = (figure, _CPU)
    return Workload(
        f"{PREFIX}{task}", task, f"{unit}/s", figures, more_is_better=True, pinned=pinned, aims=aims
    )


def _first_output(task: str, most: float) -> Workload:
    aims = (Aim(OURS_ON_WINDOWS, most, (IOCP,)),)
    return Workload(PREFIX + task, task, "ms", (_CPU,), pinned=False, aims=aims)


WORKLOADS = (
    _echo("echo-64", 64, 64, 0.34),
    _echo("echo-1000", 64, 1000, 0.34),
    _echo("echo-64k", 65536, 64, 1 / 1.7),
    _stream("stream-in", "sink", 1 / 1.5, "--mode", "send", "--size", "65536"),
    _stream("stream-out", "source", 1 / 1.3, "--mode", "receive"),
    _served("churn", "echo", "connection", 1 / 1.7, "--mode", "churn", "--connections", "16"),
    _local("udp-echo", 0.4, 0.6, load=("--connections", "16", "--in-flight", "4")),
    _local("unix-echo", 0.4, load=("--connections", "64")),
    _served("tls-echo", "tls-echo", "message", 1 / 1.6, "--tls", "--connections", "64"),
    _served("web", "web", "request", 1 / 1.35, WRK, "--threads", "1", "--connections", "64"),
    Workload(
        f"{PREFIX}idle-memory",
        "echo",
        "bytes/connection",
        (PEAK,),
        ("--mode", "idle", "--connections", "5000"),
        per="memory",
        aims=_aims(1),
    ),
    _clock("timer-arm", *_aims(1 / 4, 1 / 3), figures=(Figure("cancel_ns", "cancel ns"),)),
    _clock("timer-fire", *_aims(1 / 6, 1 / 4)),
    _clock("timer-chain", *_aims(1 / 5)),
    _rate("thread-calls", "calls", Figure("cpu_ns", "CPU ns"), *_aims(8, 5)),
    _rate("child-stdout", "MiB", Figure("cpu_s_per_gib", "own CPU s/GiB"), *_aims(3.5, 3), pinned=True),
    _first_output("first-output", 1 / 8),
    _first_output("first-output-terminal", 1 / 4.5),
    _rate("spawn-series", "children", _CPU_PER_CHILD, Aim(OURS_ON_WINDOWS, 6, (IOCP,))),
    _rate("spawn-series-descriptors", "children", _CPU_PER_CHILD, Aim(OURS_ON_WINDOWS, 3.8, (IOCP,))),
    _rate("spawn-many", "children", _CPU_PER_CHILD, *_aims(1.5, 1.5)),
    Workload(
        PREFIX + "silent-children",
        "silent-children",
        "wake-ups",
        (_CPU,),
        pinned=False,
        aims=(Aim(OURS_ON_WINDOWS, 0),),
    ),
)
