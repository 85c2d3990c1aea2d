"""Runs, and rounds of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from subprocess import Popen

from harness.aims import judged
from harness.noise import Watch
from harness.processes import Failed, cpu_per, memory_kib, started, told
from harness.results import Result, Run
from harness.workload import Peer, Workload

# A row whose aims decide is measured so many times longer before it misses one.
PATIENCE = 3

# Drives the server at a port, whose process is the second: its CPU time, and what the load program tells.
Drive = Callable[[int, int], tuple[float, dict[str, float]]]
Measured = tuple[float, dict[str, float]]


class Unsupported(Exception):
    """The peer has nothing for the workload."""


def _unmarked(_mark: str) -> None:
    pass


def run(
    command: list[str],
    workload: Workload,
    environment: Mapping[str, str],
    drive: Drive,
    marked: Callable[[str], None] = _unmarked,
) -> Run:
    """One measurement, in fresh processes.

    A peer that measures itself may mark where the measured time begins and ends.
    """
    watch = Watch()
    core = 0 if workload.pinned else None
    with started(command, core, dict(environment)) as (process, output):
        lines = told(output)
        measured = (
            _served(workload, process, lines, drive) if workload.load else _alone(process, lines, marked)
        )
    # Outside of the process, whose failures are errors: this is none.
    if measured is None:
        raise Unsupported
    return Run(*measured, watch.stop())


def _served(workload: Workload, process: Popen, lines: Iterator[dict], drive: Drive) -> Measured | None:
    first = next(lines, {})
    if "unsupported" in first:
        return None
    if "port" not in first:
        raise Failed("the server did not start")
    before_kib = memory_kib(process.pid, "VmRSS") or 0
    cpu, figures = drive(first["port"], process.pid)
    figures["peak_kib"] = memory_kib(process.pid, "VmHWM")
    if workload.per == "memory":
        # At its most: the connections are gone by now.
        return (figures["peak_kib"] - before_kib) * 1024 / workload.connections, figures
    return cpu_per(workload.per, cpu, figures), figures


def _alone(process: Popen, lines: Iterator[dict], marked: Callable[[str], None]) -> Measured | None:
    for line in lines:
        if "unsupported" in line:
            return None
        if "mark" in line:
            marked(line["mark"])
        if "result" in line:
            figures = line["result"]
            process.wait()
            return figures.pop("value"), figures
    raise Failed("the process ended without a result")


def measure(
    once: Callable[[Workload, Peer], Run],
    workload: Workload,
    peers: Sequence[Peer],
    rounds: int,
    *,
    patient: bool = False,
) -> list[Result]:
    """All rounds of one workload: everybody in turn, and another one begins each time."""
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
