"""Workloads with timers and calls from another thread, which measure themselves."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable
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


def nothing() -> None:
    """Does nothing, for delayed calls that never happen."""


def timer_arm(reactor) -> None:
    """Measures ns for a callLater that is due much later, and for its cancel."""
    delays = [random.Random(1).uniform(100, 10_000) for _ in range(TIMERS)]
    arms: list[float] = []
    cancels: list[float] = []

    def batch() -> None:
        call_later = reactor.callLater
        started = computing_ns()
        calls = [call_later(delay, nothing) for delay in delays]
        armed = computing_ns()
        for call in calls:
            call.cancel()
        cancelled = computing_ns()
        arms.append((armed - started) / TIMERS)
        cancels.append((cancelled - armed) / TIMERS)
        if len(arms) < BATCHES:
            # Start the next batch in another turn, after work that the reactor has postponed.
            call_later(0.01, batch)
        else:
            end()
            reactor.stop()

    _run(reactor, batch)
    tell(result={"value": median(arms), "cancel_ns": median(cancels)})


def timer_fire(reactor) -> None:
    """Measures ns of CPU for each of many timers that are due at the same time, with sorting them."""
    costs: list[float] = []
    spread = random.Random(1)
    delays = [0.4 + spread.random() / 1000 for _ in range(TIMERS)]
    left = 0
    armed = 0

    def fired() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            costs.append((process_time_ns() - armed) / TIMERS)
            reactor.callLater(0, batch if len(costs) < BATCHES else stop)

    def batch() -> None:
        nonlocal left, armed
        left = TIMERS
        for delay in delays:
            reactor.callLater(delay, fired)
        armed = process_time_ns()

    def stop() -> None:
        end()
        reactor.stop()

    _run(reactor, batch)
    tell(result={"value": median(costs)})


def timer_chain(reactor) -> None:
    """Measures ns for each link of a chain in which each callLater(0) schedules the next."""
    left = LINKS
    started = 0
    ended = 0

    def link() -> None:
        nonlocal left, ended
        left -= 1
        if left:
            reactor.callLater(0, link)
        else:
            ended = computing_ns()
            end()
            reactor.stop()

    def first() -> None:
        nonlocal started
        started = computing_ns()
        link()

    _run(reactor, first)
    tell(result={"value": (ended - started) / LINKS})


def thread_calls(reactor) -> None:
    """Measures calls per second from another thread that calls callFromThread as fast as it can."""
    ran = 0
    started = started_cpu = 0
    ended = ended_cpu = 0

    def call() -> None:
        nonlocal ran, ended, ended_cpu
        ran += 1
        if ran == CALLS:
            ended, ended_cpu = perf_counter_ns(), process_time_ns()
            end()
            reactor.stop()

    def post() -> None:
        nonlocal started, started_cpu
        call_from_thread = reactor.callFromThread
        started, started_cpu = perf_counter_ns(), process_time_ns()
        for _ in range(CALLS):
            call_from_thread(call)

    thread = threading.Thread(target=post)
    _run(reactor, thread.start)
    thread.join()
    cpu_ns = (ended_cpu - started_cpu) / CALLS
    tell(result={"value": CALLS / (ended - started) * 1e9, "cpu_ns": cpu_ns})


def _run(reactor, first: Callable) -> None:
    reactor.callWhenRunning(begin)
    reactor.callWhenRunning(reactor.callLater, 0.01, first)
    reactor.run()


CLOCKS: dict[str, Callable] = {
    "timer-arm": timer_arm,
    "timer-fire": timer_fire,
    "timer-chain": timer_chain,
    "thread-calls": thread_calls,
}
