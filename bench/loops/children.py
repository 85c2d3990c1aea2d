"""Workloads with child processes, which measure themselves."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

from harness.told import begin, end, tell

CHILD = str(Path(__file__).resolve().parent.parent / "python" / "child.py")
# The smallest programs that every system has: one that exits at once, and one that writes something.
BRIEF = ["chcp.com"] if os.name == "nt" else ["true"]
TALKER = ["chcp.com"] if os.name == "nt" else ["echo", "x"]
WARM_UP = 3
TALKERS = 20
IN_SERIES = 30 if os.name == "nt" else 300
AT_A_TIME = 32
STDOUT_MEBIBYTES = 32 if os.name == "nt" else 128

Loop = asyncio.AbstractEventLoop


class Child(asyncio.SubprocessProtocol):
    """Counts the output of a child, and knows when its first output came."""

    def __init__(self, loop: Loop) -> None:
        self.received = 0
        self.first: float | None = None
        self.ended = loop.create_future()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if self.first is None:
            self.first = perf_counter()
        self.received += len(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set_result(None)


async def _run(loop: Loop, command: list[str]) -> Child:
    transport, child = await loop.subprocess_exec(lambda: Child(loop), *command, stderr=None)
    await child.ended
    transport.close()
    return child


async def child_stdout(loop: Loop) -> None:
    """Measures the CPU for a child's standard output."""
    begin()
    started, started_cpu = perf_counter(), process_time()
    child = await _run(loop, [sys.executable, CHILD, "write", str(STDOUT_MEBIBYTES)])
    seconds, cpu = perf_counter() - started, process_time() - started_cpu
    end()
    if child.received != STDOUT_MEBIBYTES * 2**20:
        raise RuntimeError(f"received {child.received} bytes of {STDOUT_MEBIBYTES} MiB")
    tell(result={"value": cpu / STDOUT_MEBIBYTES * 1024, "mib_per_s": STDOUT_MEBIBYTES / seconds})


async def _spawn(loop: Loop, at_a_time: int) -> None:
    """Measures the CPU for a child that is spawned and reaped, with `at_a_time` of them alive."""

    async def some(count: int) -> None:
        for _ in range(count):
            await _run(loop, BRIEF)

    async def all_of(count: int) -> None:
        await asyncio.gather(*(some(count // at_a_time) for _ in range(at_a_time)))

    await all_of(WARM_UP * at_a_time)
    # As many for each of those that are alive at a time.
    children = max(1, IN_SERIES // at_a_time) * at_a_time
    begin()
    started, started_cpu = perf_counter(), process_time()
    await all_of(children)
    seconds, cpu = perf_counter() - started, process_time() - started_cpu
    end()
    tell(result={"value": cpu / children * 1e6, "children_per_s": children / seconds})


async def spawn_series(loop: Loop) -> None:
    """Measures children one after the other."""
    await _spawn(loop, 1)


async def spawn_32(loop: Loop) -> None:
    """Measures 32 children at a time."""
    await _spawn(loop, AT_A_TIME)


async def first_output(loop: Loop) -> None:
    """Measures milliseconds from the start to the first output, one child after the other."""
    times: list[float] = []
    for number in range(WARM_UP + TALKERS):
        if number == WARM_UP:
            begin()
        started = perf_counter()
        child = await _run(loop, TALKER)
        if child.first is None:
            raise RuntimeError("the child wrote nothing")
        times.append((child.first - started) * 1000)
    end()
    tell(result={"value": median(times[WARM_UP:])})


CHILDREN: dict[str, Callable] = {
    "child-stdout": child_stdout,
    "spawn-series": spawn_series,
    "spawn-32": spawn_32,
    "first-output": first_output,
}
