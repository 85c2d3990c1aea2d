"""Runs test modules in worker processes, with a time limit for each test, and collects the results.

A worker is a program that runs the tests of a plan, and writes a line of JSON before and after each of them. A test
that hangs or crashes costs this process alone: another one goes on with the next test.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent

BAD = ("fail", "error", "unexpected", "hang", "crash")
# A process may fail to start on a loaded machine, under Wine above all: that says nothing about the tests.
STARTS = 3


class NotStarted(Exception):
    """A worker ended, or was silent, before its first test."""


@dataclass
class Outcome:
    """The outcome of one test. `loaded` is the outcome of a module."""

    module: str
    status: str
    detail: str = ""

    @property
    def bad(self) -> bool:
        return self.status in BAD


@dataclass(frozen=True)
class Suite:
    """The tests to run, by which worker, and on what."""

    name: str
    # The reactor or the loop under test.
    subject: str
    # The worker's file in this folder, and what its plan has besides the modules.
    worker: str
    settings: dict[str, Any]
    environment: dict[str, str] = field(default_factory=dict)
    # How long a test may take, before its process is ended.
    limit_seconds: float = 40.0
    # Modules per process: enough to amortize its start, few enough to spread the work evenly.
    modules_per_worker: int = 8
    pattern: str = ""
    jobs: int = 1
    verbose: bool = False

    def run(self, modules: list[str], only: set[str] | None = None) -> dict[str, Outcome]:
        """Runs the tests of these modules, or only the named ones of them."""
        parts = [modules[at : at + self.modules_per_worker] for at in range(0, len(modules), self.modules_per_worker)]
        folder = Path(tempfile.mkdtemp(prefix="conformance-"))
        try:
            with NullDevice(), ThreadPoolExecutor(self.jobs) as pool:
                results = pool.map(lambda part: self.run_part(part, only, folder), parts)
                return {name: outcome for part in results for name, outcome in part.items()}
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def run_part(self, modules: list[str], only: set[str] | None, folder: Path) -> dict[str, Outcome]:
        outcomes: dict[str, Outcome] = {}
        complete = False
        failed_starts = 0
        while not complete:
            plan = {
                **self.settings,
                "pattern": self.pattern,
                "modules": modules,
                "only": None if only is None else sorted(only),
                "finished": [name for name, it in outcomes.items() if it.status != "loaded"],
            }
            try:
                complete = self.run_worker(plan, Path(tempfile.mkdtemp(dir=folder)), outcomes)
            except (NotStarted, OSError) as error:
                failed_starts += 1
                if failed_starts == STARTS:
                    raise
                print(f"a worker did not start, and is started again: {error}", flush=True)
        return outcomes

    def run_worker(self, plan: dict[str, Any], folder: Path, outcomes: dict[str, Outcome]) -> bool:
        """Returns whether the whole plan ran. Otherwise a test ended the process, and is recorded as the cause."""
        worker = Worker(self, plan, folder)
        current: str | None = None
        try:
            while (record := worker.record()) and "done" not in record:
                if "begin" in record:
                    current = record["begin"]
                    outcomes[current] = Outcome(record["module"], "begun")
                elif current is not None:
                    outcomes[current] = Outcome(outcomes[current].module, record["status"], record["detail"])
                    self.say(current, outcomes[current])
            status = "" if record else "crash"
        except queue.Empty:
            status = "hang"
        output = worker.end(ask=status == "hang")
        if not status:
            return True
        if current is None:
            raise NotStarted(f"{status} of {' '.join(plan['modules'])}\n{output}")
        # If the process dies between two tests, the first of them is the cause.
        outcomes[current] = Outcome(outcomes[current].module, status, output)
        self.say(current, outcomes[current])
        return False

    def say(self, name: str, outcome: Outcome) -> None:
        if outcome.bad or (self.verbose and outcome.status != "loaded"):
            print(f"{outcome.status:6} {name}", flush=True)


class Worker:
    """A worker process, and the records that it sends."""

    def __init__(self, suite: Suite, plan: dict[str, Any], folder: Path) -> None:
        self.folder = folder
        self.limit_seconds = suite.limit_seconds
        plan_file = folder / "plan.json"
        plan_file.write_text(json.dumps(plan), encoding="utf-8")
        programs = str(Path(sys.executable).parent) + os.pathsep + os.environ["PATH"]
        with open(folder / "output.txt", "wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, str(HERE / suite.worker), str(plan_file)],
                cwd=folder,
                env=os.environ | {"LC_ALL": "C.UTF-8", "PATH": programs} | suite.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=output,
                start_new_session=True,
            )
        self.records: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self) -> None:
        """Reads in a thread, because not every system can wait on a pipe with a time limit."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.endswith(b"\n"):
                self.records.put(json.loads(line))
        self.records.put({})

    def record(self) -> dict[str, Any]:
        """Returns the next record, or an empty one at the end. Raises `queue.Empty` at the time limit."""
        return self.records.get(timeout=self.limit_seconds)

    def end(self, ask: bool) -> str:
        """Ends the process and its children, and returns its last output.

        With `ask`, the process first prints its stacks: faulthandler does that on a signal.
        """
        if ask and os.name == "posix":
            self.process.send_signal(signal.SIGABRT)
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
        if os.name == "posix":
            self.end_group()
        code = self.process.wait()
        output = (self.folder / "output.txt").read_text(encoding="utf-8", errors="replace")
        shutil.rmtree(self.folder, ignore_errors=True)
        return f"{output[-3000:]}\nexit code {code}"

    def end_group(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)


class NullDevice:
    """Restores the null device's mode: `test_logfile`, run as root, removes it."""

    def __enter__(self) -> None:
        self.mode = stat.S_IMODE(os.stat(os.devnull).st_mode) if os.name == "posix" else None

    def __exit__(self, *reason: object) -> None:
        if self.mode is not None and stat.S_IMODE(os.stat(os.devnull).st_mode) != self.mode:
            os.chmod(os.devnull, self.mode)
