"""Workloads with calls, timers and tasks, which measure themselves."""

from __future__ import annotations

import asyncio
import os
import random
import threading
from collections.abc import Awaitable, Callable
from statistics import median
from time import perf_counter_ns, process_time_ns

from harness.told import begin, end, tell

BATCHES = 5
TIMERS = 40_000
LINKS = 100_000
CALLS = 40_000 if os.name == "nt" else 200_000
# Measure pure computing in CPU time, which other load on the machine disturbs least. On Windows, that clock
# is too coarse.
computing_ns = perf_counter_ns if os.name == "nt" else process_time_ns

Loop = asyncio.AbstractEventLoop


def nothing() -> None:
    """Does nothing, for timers that never fire."""


async def call_soon(loop: Loop) -> None:
    """Measures a link of a chain in which each call schedules the next one."""
    over = loop.create_future()
    left = LINKS

    def link() -> None:
        nonlocal left
        left -= 1
        if left:
            loop.call_soon(link)
        else:
            over.set_result(None)

    await _measured(link, over)


async def _measured(first: Callable[[], None], over: Awaitable) -> None:
    begin()
    started = computing_ns()
    first()
    await over
    ended = computing_ns()
    end()
    tell(result={"value": (ended - started) / LINKS})


async def call_later(loop: Loop) -> None:
    """Measures a timer that is due much later, its cancel, and the firing of timers that are due together."""
    delays = [random.Random(1).uniform(100, 10_000) for _ in range(TIMERS)]
    arms: list[float] = []
    cancels: list[float] = []
    fires: list[float] = []
    begin()
    for _ in range(BATCHES):
        arm = loop.call_later
        started = computing_ns()
        timers = [arm(delay, nothing) for delay in delays]
        armed = computing_ns()
        for timer in timers:
            timer.cancel()
        cancelled = computing_ns()
        arms.append((armed - started) / TIMERS)
        cancels.append((cancelled - armed) / TIMERS)
        # Turn once, for work that the loop has postponed.
        await asyncio.sleep(0.01)
        fires.append(await _fire(loop))
    end()
    tell(result={"value": median(arms), "cancel_ns": median(cancels), "fire_ns": median(fires)})


async def _fire(loop: Loop) -> float:
    spread = random.Random(1)
    over = loop.create_future()
    left = TIMERS

    def fired() -> None:
        nonlocal left
        left -= 1
        if not left:
            over.set_result(None)

    for _ in range(TIMERS):
        loop.call_later(0.4 + spread.random() / 1000, fired)
    armed = process_time_ns()
    await over
    return (process_time_ns() - armed) / TIMERS


async def call_soon_threadsafe(loop: Loop) -> None:
    """Measures a call from another thread that calls as fast as it can; both threads' CPU counts."""
    over = loop.create_future()
    ran = 0

    def call() -> None:
        nonlocal ran
        ran += 1
        if ran == CALLS:
            over.set_result(None)

    def post() -> None:
        for _ in range(CALLS):
            loop.call_soon_threadsafe(call)

    thread = threading.Thread(target=post)
    begin()
    started, started_cpu = perf_counter_ns(), process_time_ns()
    thread.start()
    await over
    ended, ended_cpu = perf_counter_ns(), process_time_ns()
    end()
    thread.join()
    per_call = (ended_cpu - started_cpu) / CALLS
    tell(result={"value": per_call, "calls_per_s": CALLS / (ended - started) * 1e9})


async def task_switch(loop: Loop) -> None:
    """Measures a switch between two tasks that wake one another."""
    turns = [loop.create_future(), loop.create_future()]

    async def play(own: int) -> None:
        for _ in range(LINKS // 2):
            await turns[own]
            turns[own] = loop.create_future()
            turns[1 - own].set_result(None)

    players = [loop.create_task(play(0)), loop.create_task(play(1))]
    await asyncio.sleep(0)
    await _measured(lambda: turns[0].set_result(None), asyncio.gather(*players))


async def future(loop: Loop) -> None:
    """Measures a future that the loop completes in its next turn, and its await."""

    async def work() -> None:
        for _ in range(LINKS):
            one = loop.create_future()
            loop.call_soon(one.set_result, None)
            await one

    await _measured(nothing, work())


async def sleep_0(loop: Loop) -> None:
    """Measures a turn that a task gives up."""

    async def work() -> None:
        for _ in range(LINKS):
            await asyncio.sleep(0)

    await _measured(nothing, work())


CLOCKS: dict[str, Callable] = {
    "call-soon": call_soon,
    "call-later": call_later,
    "call-soon-threadsafe": call_soon_threadsafe,
    "task-switch": task_switch,
    "future": future,
    "sleep-0": sleep_0,
}
