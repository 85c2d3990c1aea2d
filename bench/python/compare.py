"""Compares Twisted reactors, and loops without Twisted: in interleaved rounds, with fresh processes.

    cargo xtask bench python [workload...] [--peers NAME,NAME...] [--rounds N] [--wine]

See the README in this folder.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import windows

from catalogue import PEERS, PREFIX, WORKLOADS, WRK
from harness import wine
from harness.processes import Failed, drive, load_program, started
from harness.program import Comparison, compare, options
from harness.results import Run
from harness.runs import Clock, Drive, run
from harness.setting import output
from harness.workload import Peer, Workload

# Under Wine, some runs fail at random.
TRIES_UNDER_WINE = 3
WARM_UP_SECONDS = 1


class Reactors(Comparison):
    """Reactors in the Python that runs this program."""

    command = "cargo xtask bench python"
    name = "python"
    prefix = PREFIX
    workloads = WORKLOADS
    peers = (*PEERS, *windows.PEERS)

    def __init__(self, seconds: float) -> None:
        self.python = [sys.executable]
        self.seconds = seconds

    def takes_part(self, peer: Peer) -> bool:
        return peer in (windows.PEERS if os.name == "nt" else PEERS)

    def belongs(self, workload: Workload) -> bool:
        if os.name == "nt":
            return workload.name in windows.NAMES
        return workload.name not in windows.NOT_ELSEWHERE

    def versions(self, peers: Sequence[Peer]) -> list[str]:
        packages = sorted({peer.package for peer in peers})
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
        return self._run(workload, peer, {}, clock)

    def _run(self, workload: Workload, peer: Peer, environment: dict[str, str], clock: Clock) -> Run:
        command = [*self.python, str(HERE / "measure.py"), workload.task, *peer.arguments]
        environment = os.environ | peer.environment | environment
        return run(command, workload, environment, self._drive(workload, clock), clock)

    def _drive(self, workload: Workload, clock: Clock) -> Drive:
        if _is_for_wrk(workload):
            return partial(drive_wrk, workload.load, max(1, round(self.seconds)), clock=clock)
        load = [*workload.load, "--duration", str(int(self.seconds * 1000))]
        return partial(drive, self.load, load, clock=clock)


class UnderWine(Reactors):
    """Reactors in a Python for Windows under Wine."""

    name = "python-wine"
    prefix = windows.WINE_PREFIX
    workloads = windows.WINE_WORKLOADS
    peers = windows.PEERS
    clock = staticmethod(wine.cpu_with_server)

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
            raise SystemExit("`WINDOWS_PYTHON` is no program: `cargo xtask bench python --wine` sets it")
        print(f"left out under Wine: {', '.join(windows.NOT_UNDER_WINE)}")
        super().prepare(workloads, peers)

    def run(self, workload: Workload, peer: Peer, clock: Clock) -> Run:
        for _ in range(TRIES_UNDER_WINE - 1):
            try:
                return self._on_fresh_server(workload, peer, clock)
            except Failed as failed:
                print(f"{workload.name} failed, trying again: {failed}", file=sys.stderr)
        return self._on_fresh_server(workload, peer, clock)

    def _on_fresh_server(self, workload: Workload, peer: Peer, clock: Clock) -> Run:
        with wine.fresh_server(windows.BRIEF, core=0):
            return self._run(workload, peer, wine.QUIET, clock)


def _is_for_wrk(workload: Workload) -> bool:
    return workload.load[:1] == (WRK,)


def drive_wrk(
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


def main() -> int:
    """Runs the comparison; returns the exit code."""
    parser = options(__doc__.partition("\n")[0])
    parser.add_argument("--wine", action="store_true", help="measure a Python for Windows under Wine")
    parser.set_defaults(seconds=1.0)
    arguments = parser.parse_args()
    comparison = UnderWine if arguments.wine else Reactors
    return compare(comparison(arguments.seconds), arguments)


if __name__ == "__main__":
    sys.exit(main())
