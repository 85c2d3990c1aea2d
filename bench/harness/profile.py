"""Profiles the measured process with perf, on Linux."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from harness import markdown
from harness.figures import short
from harness.noise import cpu_seconds
from harness.processes import Failed
from harness.results import Run
from harness.runs import Clock
from harness.workload import Peer, Workload

SAMPLES_PER_SECOND = 4999
# Number of functions that a table shows for each process.
FUNCTIONS = 12
NAME_LENGTH_MAX = 80
SECONDS_TO_END = 30
# The hash that Rust appends to the name of a function.
_HASH = re.compile(r"::h[0-9a-f]{16}$")
_LINE = re.compile(r"\s*([0-9.]+)%\s+\[(.)\]\s+(.+?)(?:\s+-\s+-)?\s*")


def missing() -> str | None:
    """The reason why this machine cannot make profiles; None if it can."""
    if shutil.which("perf"):
        return None
    return "perf is not installed (on Debian: `apt-get install linux-perf`)"


class Profiler:
    """A clock of CPU time that also profiles: the first reading starts sampling, the second ends it."""

    def __init__(self) -> None:
        # The share of all samples, by function.
        self.shares: dict[str, float] = {}
        self._sampler: _Sampler | None = None

    def __call__(self, process: int) -> float | None:
        if self._sampler is None:
            self._sampler = _Sampler(process)
        elif not self.shares:
            self.shares = self._sampler.end()
        return cpu_seconds(process)


class _Sampler:
    """A perf process that samples all threads of another process."""

    def __init__(self, process: int) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._samples = str(Path(self._folder.name) / "samples")
        orders, self._orders = os.pipe()
        self._answers, answers = os.pipe()
        command = ["perf", "record", "--quiet", "--no-inherit", "--event", "cpu-clock"]
        command += ["--freq", str(SAMPLES_PER_SECOND), "--pid", str(process), "--output", self._samples]
        command += ["--delay", "-1", "--control", f"fd:{orders},{answers}"]
        self._perf = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, pass_fds=(orders, answers)
        )
        os.close(orders)
        os.close(answers)
        self._order("enable")

    def _order(self, order: str) -> None:
        """Sends an order to perf, and waits until perf has carried it out or has exited."""
        with suppress(BrokenPipeError):
            os.write(self._orders, order.encode() + b"\n")
            os.read(self._answers, 16)

    def end(self) -> dict[str, float]:
        """Stops perf; returns the share of the samples for each function."""
        self._order("stop")
        os.close(self._orders)
        os.close(self._answers)
        complaint = self._perf.communicate(timeout=SECONDS_TO_END)[1].strip()
        command = ["perf", "report", "--stdio", "--input", self._samples, "--no-children", "--sort", "symbol"]
        told = subprocess.run(command, capture_output=True, text=True, check=False)
        self._folder.cleanup()
        found = [match.groups() for match in map(_LINE.fullmatch, told.stdout.split("\n")) if match]
        if not found:
            raise Failed(f"perf has no samples: it needs a longer run or more rights: {complaint}")
        shares = defaultdict(float)
        for percent, *where in found:
            shares[_function(*where)] += float(percent) / 100
        return shares


def _function(space: str, name: str) -> str:
    """The name for a table: without its hash, shortened at the front, and marked if it is the kernel's."""
    name = _HASH.sub("", name)
    name = name if len(name) <= NAME_LENGTH_MAX else f"…{name[-NAME_LENGTH_MAX:]}"
    return f"kernel: {name}" if space == "k" else name


@dataclass(frozen=True)
class Profile:
    """The value of a run, and the share of its time by function."""

    peer: Peer
    value: float
    shares: dict[str, float]


def profiled(run: Callable[[Workload, Peer, Clock], Run], workload: Workload, peer: Peer) -> Profile:
    """Runs and profiles a peer."""
    profiler = Profiler()
    value = run(workload, peer, profiler).value
    return Profile(peer, value, profiler.shares)


def table(workload: Workload, profiles: Sequence[Profile]) -> list[list[str]]:
    """A header, the sums, and a row for each function that is among the most expensive of any process."""
    costs = [_costs(workload, profile) for profile in profiles]
    shown = {name for cost in costs for name in sorted(cost, key=cost.__getitem__)[-FUNCTIONS:]}
    most = sorted(shown, key=lambda name: max(cost.get(name, 0.0) for cost in costs), reverse=True)
    lines = [["", *(profile.peer.name for profile in profiles)]]
    lines.append(["all", *(short(sum(cost.values())) for cost in costs)])
    kernel = [sum(value for name, value in cost.items() if name.startswith("kernel: ")) for cost in costs]
    lines.append(["all of the kernel", *map(short, kernel)])
    return lines + [[f"`{name}`", *(short(cost.get(name, 0.0)) for cost in costs)] for name in most]


def write(folder: Path, told: dict[str, str], workload: Workload, profiles: Sequence[Profile]) -> None:
    """Writes the profiles of a workload as Markdown."""
    unit = workload.unit if _is_cpu(workload) else "% of its CPU time"
    title = f"# Profile of {workload.name}\n\n{unit} by function, its callees not included."
    parts = [title, markdown.table(table(workload, profiles)), markdown.settings([told])]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{workload.name}.md").write_text("\n\n".join(parts) + "\n")


def _costs(workload: Workload, profile: Profile) -> dict[str, float]:
    whole = profile.value if _is_cpu(workload) else 100
    return {name: share * whole for name, share in profile.shares.items()}


def _is_cpu(workload: Workload) -> bool:
    """Whether the workload's value is the CPU time of the profiled process."""
    return "CPU" in workload.unit
