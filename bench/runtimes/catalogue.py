"""The workloads and peers of the comparison of runtimes."""

from __future__ import annotations

from dataclasses import replace

from harness.workload import EVERY_PEER, LATENCIES, PEAK, RATE, Aim, Figure, Peer, Workload

# Our peers: tidewaiter on its default port on Linux, and on the other one.
URING, POLL = "tidewaiter-uring", "tidewaiter-poll"
# The same with tasks instead of callbacks.
URING_TASKS, POLL_TASKS = "tidewaiter-uring-tasks", "tidewaiter-poll-tasks"
# Our children in a program that uses tokio.
PROCESS = "tidewaiter-process"


def _leads(*figures: Figure | None) -> tuple[Aim, ...]:
    """Aims that no peer is ahead of us in these figures; None means the value of the workload."""
    return tuple(Aim(URING, 1, EVERY_PEER, figure) for figure in figures)


def _echo(name: str, size: int, connections: int) -> Workload:
    load = ("--size", str(size), "--connections", str(connections))
    aims = (
        Aim(URING, 1.08, ("bare-uring",)),
        *_leads(None),
        Aim(POLL, 1.08, ("bare-epoll",)),
        Aim(POLL, 1, ("tokio", "compio", "libuv")),
    )
    aims += tuple(
        aim
        for tasks, callbacks in ((URING_TASKS, URING), (POLL_TASKS, POLL))
        for aim in (Aim(tasks, 1.05, (callbacks,)), Aim(tasks, 1, ("tokio", "compio", "monoio")))
    )
    if connections == 1:
        aims = ()
    if (size, connections) == (16384, 10_000):
        aims += (Aim(URING, 20, figure=PEAK), Aim(POLL, 20, figure=PEAK))
    return Workload(name, "echo", "CPU us/message", (RATE, *LATENCIES, PEAK), load, aims=aims)


def _stream(name: str, task: str, *load: str) -> Workload:
    figures = (Figure("mib_per_s", "MiB/s", more_is_better=True), Figure("in_share", "share in"), PEAK)
    return Workload(name, task, "CPU s/GiB", figures, load, per="gib", aims=_leads(None))


def _spawn(name: str) -> Workload:
    aims = (Aim(URING, 0.85, EVERY_PEER),)
    return Workload(name, name, "own CPU us/child", (RATE, PEAK), pinned=False, aims=aims)


def _child_stdout(name: str, task: str, *aims: Aim, pinned: bool = True) -> Workload:
    figures = (OWN_CPU, PEAK)
    return Workload(name, task, "MiB/s", figures, more_is_better=True, pinned=pinned, aims=aims)


def _children(count: int) -> Workload:
    name = f"children-{count}"
    figures = (RATE, *LATENCIES, BYTES_PER_CHILD, IDLE, THREADS, PEAK)
    aims = (
        Aim(URING, 0.6, EVERY_PEER),
        Aim(URING, 0, figure=THREADS),
        Aim(URING, 1000, figure=IDLE),
        Aim(PROCESS, 1, ("tokio",)),
        Aim(PROCESS, 1, figure=THREADS),
    )
    return Workload(name, name, "own CPU us/line", figures, aims=aims)


def _unix_echo(connections: int) -> Workload:
    load = ("--size", "64", "--connections", str(connections))
    name = f"unix-echo-64-c{connections}"
    return Workload(name, "unix-echo", "CPU us/message", (RATE, *LATENCIES, PEAK), load, aims=_LOCAL_AIMS)


def _udp_echo(name: str, sockets: int, clients: int, in_flight: int) -> Workload:
    """Clients with as many datagrams in flight each, spread over the server's sockets."""
    load = ("--servers", str(sockets), "--connections", str(clients), "--in-flight", str(in_flight))
    aims = (
        Aim(URING, 1.05, ("bare-uring",)),
        Aim(URING, 0.9, EVERY_PEER),
        Aim(POLL, 1.05, ("bare-epoll",)),
        Aim(POLL, 0.9, EVERY_PEER),
    )
    figures = (RATE, *LATENCIES, PEAK)
    return Workload(f"udp-echo-{name}", f"udp-echo-{sockets}", "CPU us/datagram", figures, load, aims=aims)


def _udp_stream(name: str, task: str, mode: str) -> Workload:
    figures = (Figure("mib_per_s", "MiB/s", more_is_better=True), PEAK)
    load = ("--mode", mode, "--size", "1200")
    aims = tuple(Aim(ours, 1, ("quinn-udp",)) for ours in (URING, POLL))
    return Workload(name, task, "CPU s/GiB", figures, load, per="gib", aims=aims)


def _by_tokio(*figures: Figure | None) -> tuple[Aim, ...]:
    """Aims that tasks take no more than tokio's."""
    return tuple(Aim(ours, 1, ("tokio",), figure) for ours in (URING_TASKS, POLL_TASKS) for figure in figures)


def _task(operation: str) -> Workload:
    name = f"task-{operation}"
    return Workload(name, name, f"CPU ns/{operation}", (RATE, PEAK), aims=_by_tokio(None))


def _hyper(name: str, body_bytes: int, connections: int) -> Workload:
    """At least 1.1 times as many requests per second of CPU time as on tokio."""
    load = ("--mode", "fetch", "--size", str(body_bytes), "--connections", str(connections))
    aims = tuple(Aim(ours, 1 / 1.1, ("tokio",)) for ours in (URING_TASKS, POLL_TASKS))
    return Workload(name, name, "CPU us/request", (RATE, *LATENCIES, PEAK), load, aims=aims)


def _redis(clients: int, in_flight: int) -> Workload:
    """Clients that send as many commands at a time."""
    load = ("--mode", "redis", "--connections", str(clients), "--in-flight", str(in_flight))
    figures = (RATE, *LATENCIES, PEAK)
    name = f"redis-c{clients}-p{in_flight}"
    return Workload(name, "redis", "CPU us/command", figures, load, aims=_by_tokio(None))


OWN_CPU = Figure("cpu_s_per_gib", "own CPU s/GiB")
BYTES_PER_CHILD = Figure("bytes_per_child", "bytes/child")
IDLE = Figure("idle_us_per_s", "idle CPU us/s")
THREADS = Figure("threads", "further threads")
_SPAWN_LARGE = (
    Figure("time_by_small", "time by small"),
    Figure("cpu_us", "own CPU us"),
    Figure("gib", "GiB"),
)
# libuv's pipes are sockets.
_PIPE_PEERS = ("tokio", "compio")
_PIPE_AIMS = (Aim(URING, 1, _PIPE_PEERS), Aim(URING, 1, _PIPE_PEERS, OWN_CPU))

_CONNECTIONS = (1, 64, 1000, 10_000)
_CHURN = ("--mode", "churn", "--connections", "16")
_IDLE = ("--mode", "idle", "--connections", "5000")
_ARM, _CANCEL = Figure("arm_ns", "arm ns"), Figure("cancel_ns", "cancel ns")
_LATE_P50, _LATE_P99 = Figure("late_p50_us", "late p50 us"), Figure("late_p99_us", "late p99 us")
_EARLY = Figure("early", "early")
_TIMER_AIMS = (
    Aim(URING, 70, figure=_ARM),
    Aim(URING, 60, figure=_CANCEL),
    Aim(URING, 1, ("tokio",)),
    Aim(URING, 150, figure=_LATE_P99),
    Aim(URING, 0, figure=_EARLY),
    Aim(URING, 1, ("tokio",), PEAK),
)
# Transports between programs of one machine.
_LOCAL_AIMS = (
    Aim(URING, 1.05, ("bare-uring",)),
    *_leads(None),
    Aim(POLL, 1.05, ("bare-epoll",)),
    Aim(POLL, 1, EVERY_PEER),
)
_BY_STREAM = Figure("by_beside", "by TCP")
_BY_STREAM_AIMS = tuple(Aim(ours, 1, figure=_BY_STREAM) for ours in (URING, POLL))
_SEND_FILE = ("--mode", "fetch", "--size", str(2**30), "--connections", "64")
_CHURN_AIMS = (Aim(URING, 1.1, ("bare-uring",)), *_leads(None))

_IDLE_MEMORY_AIMS = tuple(Aim(ours, 0.5, ("tokio",)) for ours in (URING_TASKS, POLL_TASKS))

_IDLE_MEMORY = Workload(
    "idle-memory", "echo", "bytes/connection", (PEAK,), _IDLE, per="memory", aims=_IDLE_MEMORY_AIMS
)
_PROXY = ("--mode", "fetch", "--size", str(100 * 2**20), "--connections", "1")

WORKLOADS = (
    *(_echo(f"echo-64-c{count}", 64, count) for count in _CONNECTIONS),
    *(_echo(f"echo-16k-c{count}", 16384, count) for count in _CONNECTIONS),
    Workload("churn", "echo", "CPU us/connection", (RATE, *LATENCIES, PEAK), _CHURN, aims=_CHURN_AIMS),
    _stream("stream-in", "sink", "--mode", "send", "--size", "65536"),
    _stream("stream-out", "source", "--mode", "receive"),
    _stream("stream-both", "both", "--mode", "both", "--size", "65536"),
    _IDLE_MEMORY,
    Workload(
        "timers",
        "timers",
        "CPU ns/firing",
        (_ARM, _CANCEL, _LATE_P50, _LATE_P99, _EARLY, PEAK),
        aims=_TIMER_AIMS,
    ),
    Workload(
        "thread-calls",
        "threads",
        "calls/s",
        (Figure("cpu_us", "CPU us"), *LATENCIES, PEAK),
        more_is_better=True,
        pinned=False,
        aims=_leads(None, *LATENCIES[:2]),
    ),
    _spawn("spawn-1"),
    _spawn("spawn-32"),
    Workload(
        "spawn-large",
        "spawn-large",
        "own CPU by small",
        _SPAWN_LARGE,
        pinned=False,
        aims=(Aim(URING, 1.05), Aim(URING, 1.05, figure=_SPAWN_LARGE[0])),
    ),
    _child_stdout("child-stdout", "child-stdout", *_PIPE_AIMS),
    _child_stdout("child-stdout-unpinned", "child-stdout", *_PIPE_AIMS, pinned=False),
    _child_stdout("child-stdout-socket", "child-stdout-socket", Aim(URING, 1, ("libuv",))),
    Workload(
        "child-pipeline",
        "child-pipeline",
        "MiB/s",
        (Figure("own_cpu_ms", "own CPU ms"), PEAK),
        more_is_better=True,
        pinned=False,
        aims=(Aim(URING, 0.97, ("bare-epoll",)),),
    ),
    *(_children(count) for count in (500, 2000)),
    _udp_echo("1x1", sockets=1, clients=1, in_flight=1),
    _udp_echo("16x4", sockets=16, clients=16, in_flight=4),
    # One socket for all clients, as most servers have it.
    _udp_echo("one-16x4", sockets=1, clients=16, in_flight=4),
    _udp_stream("udp-in", "udp-sink", "send"),
    _udp_stream("udp-out", "udp-source", "receive"),
    replace(
        _IDLE_MEMORY,
        name="udp-idle-memory",
        task="udp-echo-5000",
        unit="bytes/socket",
        figures=(_BY_STREAM, PEAK),
        load=(*_IDLE, "--servers", "5000"),
        aims=_BY_STREAM_AIMS,
        beside=_IDLE_MEMORY,
    ),
    *(_unix_echo(count) for count in (1, 64)),
    replace(
        _stream("unix-in", "unix-sink", "--mode", "send", "--size", "65536"),
        aims=_LOCAL_AIMS,
    ),
    replace(_stream("unix-out", "unix-source", "--mode", "receive"), aims=_LOCAL_AIMS),
    replace(
        _IDLE_MEMORY,
        name="unix-idle-memory",
        task="unix-echo",
        figures=(_BY_STREAM, PEAK),
        aims=_BY_STREAM_AIMS,
        beside=_IDLE_MEMORY,
    ),
    replace(
        _stream("send-file", "send-file", *_SEND_FILE),
        aims=tuple(Aim(ours, 1, ("nginx",)) for ours in (URING, POLL)),
    ),
    *(_task(operation) for operation in ("spawn", "hop", "sleep", "timeout")),
    *(_redis(clients, in_flight) for clients in (1, 50) for in_flight in (1, 16)),
    replace(_stream("proxy", "proxy", *_PROXY), aims=_by_tokio(None)),
    _hyper("hyper-hello", 13, 64),
    _hyper("hyper-1m", 2**20, 16),
    Workload(
        "child-outputs",
        "child-outputs",
        "own CPU us/child",
        (RATE, THREADS, PEAK),
        pinned=False,
        aims=(
            Aim(PROCESS, 1, ("tokio",)),
            Aim(PROCESS, 1, ("tokio",), RATE),
            Aim(PROCESS, 1, figure=THREADS),
        ),
    ),
)

PEERS = (
    Peer("bare-uring", "bench-bare-uring", floor=True),
    Peer("bare-epoll", "bench-bare-epoll", floor=True),
    Peer(URING, "bench-tidewaiter", environment={"TIDEWAITER_PORT": "uring"}, ours=True),
    Peer(POLL, "bench-tidewaiter", environment={"TIDEWAITER_PORT": "poll"}, ours=True),
    Peer(URING_TASKS, "bench-tasks", environment={"TIDEWAITER_PORT": "uring"}, ours=True),
    Peer(POLL_TASKS, "bench-tasks", environment={"TIDEWAITER_PORT": "poll"}, ours=True),
    Peer(PROCESS, "bench-process", ours=True),
    Peer("tokio", "bench-tokio", crate="tokio"),
    Peer("tokio-multi", "bench-tokio", arguments=("multi",), crate="tokio"),
    Peer("compio", "bench-compio", crate="compio"),
    Peer("monoio", "bench-monoio", crate="monoio"),
    Peer("mio", "bench-mio", crate="mio"),
    Peer("libuv", "bench-libuv", library=("libuv", "libuv1-dev")),
    Peer("quinn-udp", "bench-quinn-udp", crate="quinn-udp"),
    Peer("nginx", "bench-nginx", program=("nginx", "nginx")),
    Peer("asio", "bench-asio", header=("boost/version.hpp", "BOOST_LIB_VERSION", "libboost-dev")),
)
