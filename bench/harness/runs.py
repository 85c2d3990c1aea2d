"""Makes single runs, and rounds of runs."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from subprocess import Popen

from harness.aims import judged
from harness.noise import Watch, cpu_seconds
from harness.processes import Failed, cpu_per, memory_kib, started, told
from harness.results import Result, Run
from harness.workload import Peer, Workload

# With --assert, a workload that misses an aim gets up to this many times as many rounds.
PATIENCE = 3

# Reads the CPU time of a process, in seconds.
Clock = Callable[[int], float | None]
# Drives a server, given its address and its process id; returns its CPU time and the load program's figures.
Drive = Callable[[str, int], tuple[float, dict[str, float]]]
Measured = tuple[float, dict[str, float]]


class Unsupported(Exception):
    """The peer does not support the workload."""


def run(
    command: list[str],
    workload: Workload,
    environment: Mapping[str, str],
    drive: Drive,
    clock: Clock = cpu_seconds,
) -> Run:
    """Makes one measurement in a fresh process.

    A peer that measures itself reports when its measured time begins and ends; we read `clock` then.
    """
    watch = Watch()
    core = 0 if workload.pinned else None
    # A folder of its own: a socket that a killed server left in a common one would be in the way of others.
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        started(command, core, {**environment, "TMPDIR": folder}) as (process, output),
    ):
        lines = told(output)
        if workload.load:
            measured = _served(workload, process, lines, drive)
        else:
            measured = _alone(workload, process, lines, clock)
    # Raise this only after the `with` block, which fails if the peer has written an error.
    if measured is None:
        raise Unsupported
    return Run(*measured, watch.stop())


def _served(workload: Workload, process: Popen, lines: Iterator[dict], drive: Drive) -> Measured | None:
    first = next(lines, {})
    if "unsupported" in first:
        return None
    if "address" not in first:
        raise Failed("the server did not start")
    address = first["address"]
    # A server that opens all its sockets before it listens tells how much memory it had before that.
    before_kib = first.get("before_kib") or memory_kib(process.pid, "VmRSS") or 0
    cpu, figures = drive(address, process.pid)
    figures["peak_kib"] = memory_kib(process.pid, "VmHWM")
    if workload.per == "memory":
        # Use the peak, because the connections are closed by now.
        return (figures["peak_kib"] - before_kib) * 1024 / workload.connections, figures
    return cpu_per(workload.per, cpu, figures), figures


def _alone(workload: Workload, process: Popen, lines: Iterator[dict], clock: Clock) -> Measured | None:
    before = after = None
    for line in lines:
        if "unsupported" in line:
            return None
        if "begin" in line:
            before = clock(process.pid)
        if "end" in line or ("result" in line and after is None):
            after = clock(process.pid)
        if "result" in line:
            figures = line["result"]
            process.wait()
            if before is not None and after is not None:
                figures["outside_cpu_ms"] = (after - before) * 1000
            return _value(workload, figures), figures
    raise Failed("the process ended without a result")


def _value(workload: Workload, figures: dict[str, float]) -> float:
    told = figures.pop("value")
    if workload.per != "operation":
        return told
    if "outside_cpu_ms" not in figures:
        raise Failed("the CPU time of the process is unknown")
    return figures["outside_cpu_ms"] * 1000 / figures["operations"]


def measure(
    once: Callable[[Workload, Peer], Run],
    workload: Workload,
    peers: Sequence[Peer],
    rounds: int,
    *,
    patient: bool = False,
) -> list[Result]:
    """Measures all rounds of a workload. Each round runs all peers, beginning with another one each time."""
    results = [Result(peer) for peer in peers]
    last, number = rounds, 0
    while number < last:
        start = number % len(results)
        number += 1
        for result in [*results[start:], *results[:start]]:
            _measure_once(once, workload, result, number)
        if number == last and patient and _missed(workload, results):
            last = min(last + 2, rounds * PATIENCE)
    return results


def _measure_once(
    once: Callable[[Workload, Peer], Run], workload: Workload, result: Result, number: int
) -> None:
    if result.failure or result.unsupported:
        return
    try:
        result.runs[0, number] = once(workload, result.peer)
    except Unsupported:
        result.unsupported = True
    except Failed as failed:
        result.failure = str(failed)


def _missed(workload: Workload, results: Sequence[Result]) -> bool:
    return any(verdict.reached is False for verdict in judged(workload, results))
