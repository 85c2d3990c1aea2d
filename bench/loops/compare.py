"""Compares loops of asyncio: in interleaved rounds, with fresh processes.

    cargo xtask bench asyncio [workload...] [--peers NAME,NAME...] [--rounds N] [--wine]

See the README in this folder.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from functools import partial
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import windows

import uvloops
from catalogue import PEERS, PREFIX, WORKLOADS
from harness.program import compare, options
from harness.python import PythonComparison, PythonUnderWine
from harness.runs import Clock, Drive
from harness.workload import Peer, Workload


class Loops(PythonComparison):
    """Loops in the Python that runs this program."""

    command = "cargo xtask bench asyncio"
    name = "asyncio"
    prefix = PREFIX
    workloads = WORKLOADS
    peers = (*PEERS, *windows.PEERS)

    def program(self, peer: Peer) -> Path:
        return HERE / "measure.py"

    def takes_part(self, peer: Peer) -> bool:
        if peer not in (windows.PEERS if os.name == "nt" else PEERS):
            return False
        module = peer.arguments[-1].partition(".")[0]
        if importlib.util.find_spec(module) is None:
            print(f"{peer.name} is left out: it is not installed in {sys.prefix}")
            return False
        return True

    def belongs(self, workload: Workload) -> bool:
        if os.name == "nt":
            return workload.name in windows.NAMES
        return workload.name not in windows.NOT_ELSEWHERE

    def drive_by(self, workload: Workload, clock: Clock) -> Drive:
        client, *options = workload.load or (None,)
        if client == uvloops.CLIENT:
            return partial(uvloops.drive, options, self.seconds, clock=clock)
        return super().drive_by(workload, clock)


class LoopsUnderWine(PythonUnderWine, Loops):
    """Loops in a Python for Windows under Wine."""

    name = "asyncio-wine"
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
    comparison = LoopsUnderWine if arguments.wine else Loops
    return compare(comparison(arguments.seconds), arguments)


if __name__ == "__main__":
    sys.exit(main())
