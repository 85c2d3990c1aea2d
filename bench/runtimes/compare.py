"""Compares runtimes: in interleaved rounds, with fresh processes for each run; reports medians with spread.

    cargo xtask bench [workload...] [--peers NAME,NAME...] [--rounds N]

See the README in the folder above.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import windows

from catalogue import PEERS, WORKLOADS
from harness import wine
from harness.figures import ratio
from harness.processes import build, drive, load_program
from harness.program import Comparison, compare, options
from harness.results import Run
from harness.runs import Clock, run
from harness.workload import Peer, Workload
from installed import is_installed, version


class Runtimes(Comparison):
    """Programs of bench/peers."""

    name = "runtimes"
    workloads = WORKLOADS
    peers = PEERS

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def takes_part(self, peer: Peer) -> bool:
        return is_installed(peer)

    def versions(self, peers: Sequence[Peer]) -> list[str]:
        return list(dict.fromkeys(filter(None, map(version, peers))))

    def prepare(self, workloads: Sequence[Workload], peers: Sequence[Peer]) -> None:
        self._build([peer.package for peer in peers])

    def _build(self, packages: Sequence[str], triple: str | None = None) -> None:
        programs = build(dict.fromkeys(packages), folder="bench/peers", triple=triple)
        load = load_program()
        if programs is None or load is None:
            raise SystemExit("cargo is not installed, which builds the peers")
        self.programs, self.load = programs, load

    def run(self, workload: Workload, peer: Peer, clock: Clock) -> Run:
        program = [str(self.programs / peer.package)]
        measured = self._run(workload, peer, program, {}, clock)
        if workload.beside:
            beside = self._run(workload.beside, peer, program, {}, clock)
            measured.figures["by_beside"] = ratio(measured.value, beside.value)
        return measured

    def _run(
        self, workload: Workload, peer: Peer, program: list[str], environment: dict[str, str], clock: Clock
    ) -> Run:
        def driven(address: str, server: int) -> tuple[float, dict[str, float]]:
            milliseconds = int(self.seconds * 1000)
            load = [*workload.load, "--warm-up", str(milliseconds // 4), "--duration", str(milliseconds)]
            return drive(self.load, load, address, server, clock)

        command = [*program, workload.task, *peer.arguments]
        return run(command, workload, os.environ | peer.environment | environment, driven, clock)


class UnderWine(Runtimes):
    """The same programs, built for Windows."""

    name = "wine"
    prefix = windows.PREFIX
    workloads = windows.WORKLOADS
    peers = windows.PEERS
    clock = staticmethod(wine.cpu_with_server)

    def versions(self, peers: Sequence[Peer]) -> list[str]:
        return [*super().versions(peers), *wine.setting().values()]

    def prepare(self, workloads: Sequence[Workload], peers: Sequence[Peer]) -> None:
        if missing := wine.missing():
            raise SystemExit(missing)
        # bench-common contains the program that the children run.
        self._build([*(peer.package for peer in peers), "bench-common"], wine.TARGET)

    def run(self, workload: Workload, peer: Peer, clock: Clock) -> Run:
        program = ["wine", str(self.programs / f"{peer.package}.exe")]
        with wine.fresh_server([str(self.programs / "bench-brief.exe")], core=0):
            return self._run(workload, peer, program, wine.QUIET, clock)


def main() -> int:
    """Runs the comparison; returns the exit code."""
    parser = options(__doc__.partition("\n")[0])
    parser.add_argument("--wine", action="store_true", help="measure Windows programs under Wine")
    arguments = parser.parse_args()
    comparison = UnderWine if arguments.wine else Runtimes
    return compare(comparison(arguments.seconds), arguments)


if __name__ == "__main__":
    sys.exit(main())
