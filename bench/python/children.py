"""Workloads with child processes, which measure themselves."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

from twisted.internet.protocol import ProcessProtocol

from harness.told import begin, end, tell

CHILD = str(Path(__file__).with_name("child.py"))
# The smallest programs that every system has: one that exits at once, and one that writes something.
BRIEF = ["chcp.com"] if os.name == "nt" else ["true"]
TALKER = ["chcp.com"] if os.name == "nt" else ["echo", "x"]
WARM_UP = 3
TALKERS = 20
IN_SERIES = 30 if os.name == "nt" else 300
AT_A_TIME = 8
STDOUT_MEBIBYTES = 32 if os.name == "nt" else 128
SILENT = 10
SILENT_SECONDS = 5.0
RUN_SECONDS_MAX = 60


class Talker(ProcessProtocol):
    """Measures the time to the child's first output."""

    def __init__(self, ended: Callable[[float], None]) -> None:
        self.ended = ended
        self.began = perf_counter()
        self.first: float | None = None

    def outReceived(self, data: bytes) -> None:
        if self.first is None:
            self.first = perf_counter()

    def processEnded(self, reason) -> None:
        if self.first is None:
            raise RuntimeError(f"the child wrote nothing: {reason.value}")
        self.ended(self.first - self.began)


def first_output(reactor, **options) -> None:
    """Measures milliseconds from the spawn to the first output, one child after the other."""
    times: list[float] = []

    def ended(seconds: float) -> None:
        times.append(seconds * 1000)
        if len(times) == WARM_UP:
            begin()
        if len(times) < WARM_UP + TALKERS:
            spawn()
        else:
            end()
            reactor.stop()

    def spawn() -> None:
        _spawn(reactor, Talker(ended), TALKER, **options)

    _run(reactor, spawn)
    tell(result={"value": median(times[WARM_UP:])})


def first_output_terminal(reactor) -> None:
    """Measures the same of children with terminals."""
    first_output(reactor, usePTY=True)


class Brief(ProcessProtocol):
    """Calls back when the child has ended."""

    def __init__(self, ended: Callable[[], None]) -> None:
        self.ended = ended

    def processEnded(self, reason) -> None:
        self.ended()


def _spawn_and_reap(reactor, at_a_time: int, **options) -> None:
    """Measures children per second, with `at_a_time` of them alive."""
    count = 0
    started = began_cpu = 0.0
    seconds = cpu = 0.0

    def ended() -> None:
        nonlocal count, started, began_cpu, seconds, cpu
        count += 1
        if count == WARM_UP * at_a_time:
            begin()
            started, began_cpu = perf_counter(), process_time()
        done = count - WARM_UP * at_a_time
        if done == IN_SERIES:
            seconds, cpu = perf_counter() - started, process_time() - began_cpu
            end()
            reactor.stop()
        elif done < IN_SERIES:
            _spawn(reactor, Brief(ended), BRIEF, **options)

    def first() -> None:
        for _ in range(at_a_time):
            _spawn(reactor, Brief(ended), BRIEF, **options)

    _run(reactor, first)
    tell(result={"value": IN_SERIES / seconds, "cpu_us": cpu / IN_SERIES * 1e6})


def spawn_series(reactor) -> None:
    """Measures children per second, each spawned when the previous one was reaped."""
    _spawn_and_reap(reactor, 1)


def spawn_series_descriptors(reactor) -> None:
    """Measures the same with two further descriptors, one each way."""
    _spawn_and_reap(reactor, 1, childFDs={0: "w", 1: "r", 2: "r", 3: "r", 4: "w"})


def spawn_many(reactor) -> None:
    """Measures children per second, eight at a time."""
    _spawn_and_reap(reactor, AT_A_TIME)


class Writer(ProcessProtocol):
    """Counts the bytes that a child writes."""

    def __init__(self, reactor) -> None:
        self.reactor = reactor
        self.received = 0
        self.seconds = self.cpu = 0.0

    def outReceived(self, data: bytes) -> None:
        if not self.received:
            begin()
            self.started, self.started_cpu = perf_counter(), process_time()
        self.received += len(data)

    def processEnded(self, reason) -> None:
        self.seconds = perf_counter() - self.started
        self.cpu = process_time() - self.started_cpu
        end()
        self.reactor.stop()


def child_stdout(reactor) -> None:
    """Measures MiB per second from a child's standard output."""
    writer = Writer(reactor)
    command = [sys.executable, CHILD, "write", str(STDOUT_MEBIBYTES)]
    _run(reactor, lambda: _spawn(reactor, writer, command))
    if writer.received != STDOUT_MEBIBYTES * 2**20:
        raise RuntimeError(f"received {writer.received} bytes of {STDOUT_MEBIBYTES} MiB")
    cpu_per_gib = writer.cpu / STDOUT_MEBIBYTES * 1024
    tell(
        result={
            "value": STDOUT_MEBIBYTES / writer.seconds,
            "cpu_s_per_gib": cpu_per_gib,
        }
    )


class Silent(ProcessProtocol):
    """Waits for the first output of a child that then stays silent."""

    def __init__(self, ready: Callable[[], None], ended: Callable[[], None]) -> None:
        self.ready = ready
        self.ended = ended

    def outReceived(self, data: bytes) -> None:
        self.ready()

    def processEnded(self, reason) -> None:
        self.ended()


def silent_children(reactor) -> None:
    """Counts how often the loop wakes up in five seconds with ten silent children."""
    turns = _turn_counter(reactor)
    ready = ended = 0
    children = []
    before: tuple[int, float] = (0, 0.0)
    result: dict[str, float] = {}

    def one_ready() -> None:
        nonlocal ready
        ready += 1
        if ready == SILENT:
            reactor.callLater(0.5, measure)

    def measure() -> None:
        nonlocal before
        begin()
        before = (turns(), process_time())
        reactor.callLater(SILENT_SECONDS, measured)

    def measured() -> None:
        # Subtract the turn for this timer. Without any turn, the reactor does not run its own loop.
        taken = turns() - before[0]
        if taken:
            result["value"] = taken - 1
        result["cpu_ms"] = (process_time() - before[1]) * 1000
        end()
        for child in children:
            child.closeStdin()

    def one_ended() -> None:
        nonlocal ended
        ended += 1
        if ended == SILENT:
            reactor.stop()

    def spawn() -> None:
        for _ in range(SILENT):
            protocol = Silent(one_ready, one_ended)
            command = [sys.executable, CHILD, "silent"]
            children.append(_spawn(reactor, protocol, command))

    _run(reactor, spawn)
    tell(**({"result": result} if "value" in result else {"unsupported": True}))


def _turn_counter(reactor) -> Callable[[], int]:
    """Returns a function that counts the turns of the loop; our reactor has a metric for them."""
    if hasattr(reactor, "metrics"):
        return lambda: reactor.metrics()["turns"]
    count = 0
    iterate = reactor.doIteration

    def counted(timeout) -> None:
        nonlocal count
        count += 1
        iterate(timeout)

    reactor.doIteration = counted
    return lambda: count


def _spawn(reactor, protocol: ProcessProtocol, command: list[str], **options):
    if type(reactor).__name__ == "IOCPReactor":
        # It refuses all options that we use, so its children are plain ones.
        options = {}
    return reactor.spawnProcess(protocol, _path_of(command[0]), command, env=None, **options)


def _path_of(program: str) -> str:
    """The full path of a program, which Twisted needs; looked up once."""
    found = _PATHS.get(program)
    if found is None:
        import shutil

        found = shutil.which(program)
        if found is None:
            raise RuntimeError(f"{program} is not on the PATH")
        _PATHS[program] = found
    return found


_PATHS: dict[str, str] = {}


def _run(reactor, first: Callable) -> None:
    reactor.callWhenRunning(first)
    # A lost child must not block the whole comparison.
    deadline = reactor.callLater(RUN_SECONDS_MAX, reactor.stop)
    deadline_at = time.monotonic() + RUN_SECONDS_MAX
    reactor.run()
    if time.monotonic() >= deadline_at:
        raise RuntimeError(f"not finished after {RUN_SECONDS_MAX} seconds")
    if deadline.active():
        deadline.cancel()


CHILDREN: dict[str, Callable] = {
    "first-output": first_output,
    "first-output-terminal": first_output_terminal,
    "spawn-series": spawn_series,
    "spawn-series-descriptors": spawn_series_descriptors,
    "spawn-many": spawn_many,
    "child-stdout": child_stdout,
    "silent-children": silent_children,
}
