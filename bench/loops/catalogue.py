"""The workloads, peers and aims of the comparison of asyncio's loops."""

from __future__ import annotations

from harness.python import WRK
from harness.workload import LATENCIES, PEAK, RATE, Aim, Figure, Peer, Workload
from uvloops import CLIENT

# The prefix of the names of all workloads.
PREFIX = "asyncio-"
UVLOOP, ASYNCIO, RSLOOP, RLOOP = "uvloop", "asyncio", "rsloop", "rloop"
# Our loop on the ports of Linux, and on that of Windows.
OURS = ("tidewaiter-uring", "tidewaiter-poll")
OURS_ON_WINDOWS = "tidewaiter-iocp"
OUR_LOOP = ("--loop", "tidewaiter.asyncio")
PROACTOR = "proactor"

# The others are compared with the first.
PEERS = (
    Peer(UVLOOP, "uvloop", ("--loop", "uvloop")),
    *(
        Peer(name, "tidewaiter", OUR_LOOP, {"TIDEWAITER_PORT": name.removeprefix("tidewaiter-")}, ours=True)
        for name in OURS
    ),
    Peer(ASYNCIO, "Python", ("--loop", "asyncio")),
    Peer(RSLOOP, "rsloop", ("--loop", "rsloop")),
    Peer(RLOOP, "rloop", ("--loop", "rloop")),
)

_SERVER_FIGURES = (RATE, *LATENCIES, PEAK)
# CPU of the process; under Wine it includes the wineserver, which acts as the kernel.
CPU = Figure("outside_cpu_ms", "CPU ms")
_CHILDREN = Figure("children_per_s", "children/s", more_is_better=True)
_MIB = Figure("mib_per_s", "MiB/s", more_is_better=True)


def _aims(
    bound: float,
    *faster_than: str,
    by: str = UVLOOP,
    proactor: float | None = None,
    windows: Figure | None = None,
) -> tuple[Aim, ...]:
    """Aims for our ratio to one peer; to be faster than others; and for our ratio to Windows's own loop."""
    aims = [Aim(ours, bound, (by,)) for ours in OURS]
    aims += [Aim(ours, 1, (other,)) for ours in OURS for other in faster_than]
    if proactor is not None:
        aims.append(Aim(OURS_ON_WINDOWS, proactor, (PROACTOR,), windows))
    return tuple(aims)


def _served(
    name: str, task: str, load: tuple[str, ...], aims: tuple[Aim, ...], unit: str = "message"
) -> Workload:
    return Workload(f"{PREFIX}{name}", task, f"CPU us/{unit}", _SERVER_FIGURES, load, aims=aims)


def _echo(name: str, size: int, connections: int) -> Workload:
    load = ("--size", str(size), "--connections", str(connections))
    return _served(name, "echo", load, _aims(0.75, RSLOOP, RLOOP, proactor=0.5))


def _streams(name: str, size: int) -> Workload:
    load = ("--size", str(size), "--connections", "64")
    return _served(name, "streams-echo", load, _aims(0.5, RSLOOP, proactor=0.5))


def _bulk(name: str, task: str, *load: str) -> Workload:
    aims = _aims(0.8, by=ASYNCIO)
    return Workload(
        f"{PREFIX}{name}", task, "CPU s/GiB", (_MIB, PEAK), ("--tls", *load), per="gib", aims=aims
    )


def _web(name: str) -> Workload:
    """Hello world. 1.1 times as many requests per CPU second are 1 / 1.1 of the CPU per request."""
    return _served(name, name, (WRK, "--threads", "1", "--connections", "64"), _aims(1 / 1.1), "request")


def _uvloops(task: str, *options: str, by: tuple[str, ...] = (RLOOP,)) -> Workload:
    """uvloop's own benchmark."""
    load = (CLIENT, *options)
    return Workload(f"{PREFIX}{task}", task, "CPU us/message", (RATE, PEAK), load, aims=_aims(1, *by))


def _call(task: str, *figures: Figure) -> Workload:
    return Workload(f"{PREFIX}{task}", task, "CPU ns", figures, aims=_aims(0.9))


def _children(task: str) -> Workload:
    figures = (_CHILDREN, CPU)
    aims = _aims(0.8, proactor=0.5, windows=CPU)
    return Workload(f"{PREFIX}{task}", task, "own CPU us/child", figures, pinned=False, aims=aims)


_IDLE = ("--mode", "idle", "--connections", "5000")

WORKLOADS = (
    _echo("echo-64", 64, 64),
    _echo("echo-1000", 64, 1000),
    _echo("echo-16k", 16384, 64),
    _echo("echo-64k", 65536, 64),
    _streams("streams-echo-64", 64),
    _streams("streams-echo-16k", 16384),
    _call("call-soon"),
    _call("call-later", Figure("cancel_ns", "cancel ns"), Figure("fire_ns", "fire ns")),
    _call("call-soon-threadsafe", Figure("calls_per_s", "calls/s", more_is_better=True)),
    _call("task-switch"),
    _call("future"),
    _call("sleep-0"),
    _served("tls-echo", "tls-echo", ("--tls", "--connections", "64"), _aims(0.8, by=ASYNCIO)),
    _bulk("tls-in", "tls-sink", "--mode", "send", "--size", "65536"),
    _bulk("tls-out", "tls-source", "--mode", "receive"),
    _served("udp-echo", "udp-echo", ("--connections", "16", "--in-flight", "4"), _aims(0.8)),
    _served("unix-echo", "unix-echo", ("--connections", "64"), _aims(0.8)),
    Workload(
        f"{PREFIX}child-stdout",
        "child-stdout",
        "own CPU s/GiB",
        (_MIB, CPU),
        aims=_aims(0.8, proactor=0.5, windows=CPU),
    ),
    _children("spawn-series"),
    _children("spawn-32"),
    Workload(
        f"{PREFIX}first-output",
        "first-output",
        "ms",
        (CPU,),
        pinned=False,
        aims=(Aim(OURS_ON_WINDOWS, 0.5, (PROACTOR,), CPU),),
    ),
    _web("uvicorn-h11"),
    _web("uvicorn-httptools"),
    _web("aiohttp"),
    _uvloops("uvloops-sockets"),
    _uvloops("uvloops-streams"),
    _uvloops("uvloops-protocol"),
    _uvloops("uvloops-tls", "--ssl", by=()),
    Workload(f"{PREFIX}idle-memory", "echo", "bytes/connection", (PEAK,), _IDLE, per="memory", aims=_aims(1)),
)
