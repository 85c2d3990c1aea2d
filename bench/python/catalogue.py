"""The rows of the comparison: what is measured, in which unit, and what we aim at."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One workload.

    `gain` is how many times better ours is to be than the peer; `limit` bounds our own value instead.
    Where `load` is given, `workload` is a server that the load program drives with these arguments, and the
    value is the server's CPU time per message (`per="message"`) or per GiB that passes (`per="gib"`).
    """

    name: str
    workload: str
    unit: str
    more_is_better: bool = False
    load: tuple[str, ...] = ()
    per: str = "message"
    gain: float | None = None
    limit: float | None = None
    # Whether the process is held to the first core; the load program always has the second.
    pinned: bool = True
    # "all", "posix" or "nt": where it belongs to the default rows.
    system: str = "all"


def _served(name: str, workload: str, gain: float, *load: str, unit: str = "us/message") -> Row:
    per = "gib" if unit.endswith("GiB") else "message"
    return Row(name, workload, unit, load=load, per=per, gain=gain, system="posix")


def _echo(size: int, connections: int, gain: float, name: str) -> Row:
    load = ("--size", str(size), "--connections", str(connections))
    return _served(name, "echo", gain, *load)


ROWS: tuple[Row, ...] = (
    # At most 0.40 of the peer's CPU.
    _echo(64, 64, 2.5, "echo-64"),
    _echo(64, 1000, 2.5, "echo-1000"),
    _echo(65536, 64, 1.7, "echo-64k"),
    _served("stream-in", "sink", 1.5, "--mode", "send", "--size", "65536", unit="s/GiB"),
    _served("stream-out", "source", 1.3, "--mode", "receive", unit="s/GiB"),
    _served("churn", "echo", 1.7, "--mode", "churn", "--connections", "16", unit="us/connection"),
    _served("tls-echo", "tls-echo", 1.6, "--tls", "--connections", "64"),
    _served("web", "web", 1.35, "--mode", "http", "--connections", "64", unit="us/request"),
    Row("timer-arm", "timer-arm", "ns", gain=3),
    Row("timer-fire", "timer-fire", "ns", gain=4),
    Row("timer-chain", "timer-chain", "ns", gain=5, system="posix"),
    Row("thread-calls", "thread-calls", "calls/s", more_is_better=True, gain=5, pinned=False),
    Row("child-stdout", "child-stdout", "MiB/s", more_is_better=True, gain=3),
    Row("first-output", "first-output", "ms", gain=8, pinned=False, system="nt"),
    Row(
        "spawn-series",
        "spawn-series",
        "children/s",
        more_is_better=True,
        gain=6,
        pinned=False,
        system="nt",
    ),
    Row("spawn-many", "spawn-many", "children/s", more_is_better=True, gain=1.5, pinned=False),
    Row("silent-children", "silent-children", "wake-ups", limit=0, pinned=False, system="nt"),
)
