"""Compares Twisted reactors, and loops without Twisted: interleaved rounds, each run in fresh processes.

    cargo xtask bench python [workload...] [--peers NAME,NAME...] [--rounds N]

See the README beside it.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from catalogue import ON_WINDOWS, ONLY_ON_WINDOWS, PEERS, WINDOWS_PEERS, WORKLOADS, WRK
from harness import wine
from harness.processes import Failed, drive, load_program, started
from harness.program import Comparison, compare, options
from harness.results import Run
from harness.runs import Clock, Drive, run
from harness.setting import output
from harness.workload import Peer, Workload

# On Wine, some runs fail by chance.
TRIES_ON_WINDOWS = 3
WARM_UP_SECONDS = 1


class Reactors(Comparison):
    """Programs in one Python, which may be Windows's under Wine."""

    command = "cargo xtask bench python"
    name = "python"
    prefix = "python-"
    workloads = WORKLOADS
    peers = (*PEERS, *WINDOWS_PEERS)

    def __init__(self, python: list[str], seconds: float) -> None:
        self.python = python
        self.seconds = seconds
        self.windows = os.name == "nt" or Path(python[0]).name.startswith("wine")
        if self.windows and os.name != "nt":
            self.clock = wine.cpu_with_server

    def takes_part(self, peer: Peer) -> bool:
        return peer in (WINDOWS_PEERS if self.windows else PEERS)

    def belongs(self, workload: Workload) -> bool:
        return workload.name in ON_WINDOWS if self.windows else workload.name not in ONLY_ON_WINDOWS

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
                "wrk is not there: install it (Debian: `apt-get install wrk`), or name other workloads"
            )
        loads = any(workload.load and not _is_for_wrk(workload) for workload in workloads)
        self.load = load_program(["tls"]) if loads else None
        if loads and self.load is None:
            raise SystemExit("cargo is not there to build the load program")

    def run(self, workload: Workload, peer: Peer, clock: Clock) -> Run:
        for _ in range(TRIES_ON_WINDOWS - 1 if self.windows else 0):
            try:
                return self._run(workload, peer, clock)
            except Failed as failed:
                print(f"{workload.name} is tried again: {failed}", file=sys.stderr)
        return self._run(workload, peer, clock)

    def _run(self, workload: Workload, peer: Peer, clock: Clock) -> Run:
        command = [*self.python, str(HERE / "measure.py"), workload.task, *peer.arguments]
        return run(command, workload, os.environ | peer.environment, self._drive(workload, clock), clock)

    def _drive(self, workload: Workload, clock: Clock) -> Drive:
        if _is_for_wrk(workload):
            return partial(drive_wrk, workload.load, max(1, round(self.seconds)), clock=clock)
        duration = ["--duration", str(int(self.seconds * 1000))]
        return partial(drive, self.load, [*workload.load, *duration], clock=clock)


def _is_for_wrk(workload: Workload) -> bool:
    return workload.load[:1] == (WRK,)


def drive_wrk(
    command: Sequence[str], seconds: int, port: int, server: int, clock: Clock
) -> tuple[float, dict[str, float]]:
    """As `drive`, but with wrk, which knows whole seconds; it does not tell when its measured time begins."""
    _wrk(command, WARM_UP_SECONDS, port)
    before = clock(server)
    figures = _wrk(command, seconds, port)
    after = clock(server)
    if before is None or after is None:
        raise Failed("this system does not tell the CPU time of another process")
    if figures.pop("errors"):
        raise Failed("wrk had errors")
    return after - before, figures


def _wrk(command: Sequence[str], seconds: int, port: int) -> dict[str, float]:
    options = ["--duration", f"{seconds}s", "--script", str(HERE / "wrk.lua")]
    with started([*command, *options, f"http://127.0.0.1:{port}/"], core=1) as (process, lines):
        told = next((line for line in lines if line.startswith("{")), None)
        if process.wait() != 0 or told is None:
            raise Failed("wrk failed")
    return json.loads(told)


def main() -> int:
    """Whether all went well."""
    parser = options(__doc__.partition("\n")[0])
    parser.add_argument("--python", default=sys.executable, help="may be 'wine …/python.exe'")
    parser.set_defaults(seconds=1.0)
    arguments = parser.parse_args()
    one = Path(arguments.python).exists()
    python = [arguments.python] if one else shlex.split(arguments.python)
    return compare(Reactors(python, arguments.seconds), arguments)


if __name__ == "__main__":
    sys.exit(main())
