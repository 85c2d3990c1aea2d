"""What comparisons of Python programs share: each run is a fresh process, here or under Wine."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from harness import wine
from harness.processes import Failed, drive, load_program, started
from harness.program import Comparison
from harness.results import Run
from harness.runs import Clock, Drive, run
from harness.setting import output
from harness.workload import Peer, Workload

HERE = Path(__file__).resolve().parent
# The program that drives a server whose `load` begins with this name; bench/load drives all others.
WRK = "wrk"
# The smallest program with output, which is part of Windows and of Wine.
BRIEF = ["chcp.com"]
# Under Wine, some runs fail at random.
TRIES_UNDER_WINE = 3
WARM_UP_SECONDS = 1


class PythonComparison(Comparison):
    """Peers in the Python that runs this program."""

    def __init__(self, seconds: float) -> None:
        self.python = [sys.executable]
        self.seconds = seconds

    def program(self, peer: Peer) -> Path:
        """The program that runs a peer's workload, given the name of the task and the peer's arguments."""
        raise NotImplementedError

    def versions(self, peers: Sequence[Peer]) -> list[str]:
        packages = sorted({peer.package for peer in peers} - {"Python"})
        code = "import importlib.metadata as m, json, platform, sys\n"
        code += "told = {'Python': platform.python_version()} | {p: m.version(p) for p in sys.argv[1:]}\n"
        code += "print(json.dumps(told))"
        told = output([*self.python, "-c", code, *packages], HERE)
        return [f"{name} {version}" for name, version in json.loads(told or "{}").items()]

    def prepare(self, workloads: Sequence[Workload], peers: Sequence[Peer]) -> None:
        if any(_is_for_wrk(workload) for workload in workloads) and not shutil.which(WRK):
            raise SystemExit(
                "wrk is not installed (on Debian: `apt-get install wrk`); other workloads do without it"
            )
        loads = any(workload.load and not _is_for_wrk(workload) for workload in workloads)
        self.load = load_program(["tls"]) if loads else None
        if loads and self.load is None:
            raise SystemExit("cargo is not installed, which builds the load program")

    def run(self, workload: Workload, peer: Peer, clock: Clock) -> Run:
        return self.run_in(workload, peer, {}, clock)

    def run_in(self, workload: Workload, peer: Peer, environment: dict[str, str], clock: Clock) -> Run:
        """Makes a run with further variables in the environment."""
        command = [*self.python, str(self.program(peer)), workload.task, *peer.arguments]
        environment = os.environ | peer.environment | environment
        return run(command, workload, environment, self.drive_by(workload, clock), clock)

    def drive_by(self, workload: Workload, clock: Clock) -> Drive:
        """Drives a workload's server by its load program."""
        if _is_for_wrk(workload):
            return partial(_drive_wrk, workload.load, max(1, round(self.seconds)), clock=clock)
        load = [*workload.load, "--duration", str(int(self.seconds * 1000))]
        return partial(drive, self.load, load, clock=clock)


class PythonUnderWine(PythonComparison):
    """Peers in a Python for Windows under Wine."""

    clock = staticmethod(wine.cpu_with_server)
    # Names of workloads that take long under Wine and show nothing new.
    left_out: Sequence[str]

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.python = ["wine", os.environ.get("WINDOWS_PYTHON", "")]

    def takes_part(self, peer: Peer) -> bool:
        return True

    def belongs(self, workload: Workload) -> bool:
        return True

    def versions(self, peers: Sequence[Peer]) -> list[str]:
        return [*super().versions(peers), *wine.setting().values()]

    def prepare(self, workloads: Sequence[Workload], peers: Sequence[Peer]) -> None:
        if missing := wine.missing():
            raise SystemExit(missing)
        if not Path(self.python[-1]).is_file():
            raise SystemExit(f"`WINDOWS_PYTHON` is no program: `{self.command} --wine` sets it")
        print(f"left out under Wine: {', '.join(self.left_out)}")
        super().prepare(workloads, peers)

    def run(self, workload: Workload, peer: Peer, clock: Clock) -> Run:
        for _ in range(TRIES_UNDER_WINE - 1):
            try:
                return self._on_fresh_server(workload, peer, clock)
            except Failed as failed:
                print(f"{workload.name} failed, trying again: {failed}", file=sys.stderr)
        return self._on_fresh_server(workload, peer, clock)

    def _on_fresh_server(self, workload: Workload, peer: Peer, clock: Clock) -> Run:
        with wine.fresh_server(BRIEF, core=0):
            return self.run_in(workload, peer, wine.QUIET, clock)


def _is_for_wrk(workload: Workload) -> bool:
    return workload.load[:1] == (WRK,)


def _drive_wrk(
    command: Sequence[str], seconds: int, address: str, server: int, clock: Clock
) -> tuple[float, dict[str, float]]:
    """Like `drive`, but with wrk: in whole seconds, and without a signal that the measured time begins."""
    _wrk(command, WARM_UP_SECONDS, address)
    before = clock(server)
    figures = _wrk(command, seconds, address)
    after = clock(server)
    if before is None or after is None:
        raise Failed("this system does not tell the CPU time of another process")
    if figures.pop("errors"):
        raise Failed("wrk had errors")
    return after - before, figures


def _wrk(command: Sequence[str], seconds: int, address: str) -> dict[str, float]:
    options = ["--duration", f"{seconds}s", "--script", str(HERE / "wrk.lua")]
    with started([*command, *options, f"http://{address}/"], core=1) as (process, lines):
        told = next((line for line in lines if line.startswith("{")), None)
        if process.wait() != 0 or told is None:
            raise Failed("wrk failed")
    return json.loads(told)
