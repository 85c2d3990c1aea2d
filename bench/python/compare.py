"""Compares Twisted reactors, and loops without Twisted: in interleaved rounds, with fresh processes.

    cargo xtask bench python [workload...] [--peers NAME,NAME...] [--rounds N] [--wine]

See the README in this folder.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import windows

from catalogue import PEERS, PREFIX, WORKLOADS
from harness.program import compare, options
from harness.python import PythonComparison, PythonUnderWine
from harness.results import Run
from harness.runs import Clock, Unsupported
from harness.workload import Peer, Workload


class Reactors(PythonComparison):
    """Reactors in the Python that runs this program."""

    command = "cargo xtask bench python"
    name = "python"
    prefix = PREFIX
    workloads = WORKLOADS
    peers = (*PEERS, *windows.PEERS)

    def program(self, peer: Peer) -> Path:
        """Bare loops have the programs of the comparison of loops."""
        folder = HERE if "--reactor" in peer.arguments else HERE.parent / "loops"
        return folder / "measure.py"

    def run(self, workload: Workload, peer: Peer, clock: Clock) -> Run:
        """Bare loops take part with servers alone: what measures itself has other units there."""
        if "--reactor" not in peer.arguments and not workload.load:
            raise Unsupported
        return super().run(workload, peer, clock)

    def takes_part(self, peer: Peer) -> bool:
        return peer in (windows.PEERS if os.name == "nt" else PEERS)

    def belongs(self, workload: Workload) -> bool:
        if os.name == "nt":
            return workload.name in windows.NAMES
        return workload.name not in windows.NOT_ELSEWHERE


class ReactorsUnderWine(PythonUnderWine, Reactors):
    """Reactors in a Python for Windows under Wine."""

    name = "python-wine"
    prefix = windows.WINE_PREFIX
    workloads = windows.WINE_WORKLOADS
    peers = windows.PEERS
    left_out = windows.NOT_UNDER_WINE


def main() -> int:
    """Runs the comparison; returns the exit code."""
    parser = options(__doc__.partition("\n")[0])
    parser.add_argument("--wine", action="store_true", help="measure a Python for Windows under Wine")
    parser.set_defaults(seconds=1.0)
    arguments = parser.parse_args()
    comparison = ReactorsUnderWine if arguments.wine else Reactors
    return compare(comparison(arguments.seconds), arguments)


if __name__ == "__main__":
    sys.exit(main())
