"""Compares runtimes: interleaved rounds, each run in fresh processes, medians with spread.

    cargo xtask bench [workload...] [--peers NAME,NAME...] [--rounds N]

See the README in the folder above.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from catalogue import PEERS, WORKLOADS
from harness.processes import ROOT, build, drive, load_program
from harness.program import Comparison, compare, options
from harness.results import Run
from harness.runs import run
from harness.setting import first_line, output
from harness.workload import Peer, Workload


class Runtimes(Comparison):
    """Programs of bench/peers."""

    name = "runtimes"
    workloads = WORKLOADS
    peers = PEERS

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def takes_part(self, peer: Peer) -> bool:
        if peer.library is None:
            return True
        library, package = peer.library
        pkg_config = shutil.which("pkg-config")
        if pkg_config and subprocess.run([pkg_config, "--exists", library], check=False).returncode == 0:
            return True
        print(f"{peer.name} is left out: install {package} and pkg-config (these are Debian's names)")
        return False

    def versions(self, peers: Sequence[Peer]) -> list[str]:
        return list(dict.fromkeys(filter(None, map(_version, peers))))

    def prepare(self, workloads: Sequence[Workload], peers: Sequence[Peer]) -> None:
        packages = dict.fromkeys(peer.package for peer in peers)
        programs = build(packages, folder="bench/peers")
        load = load_program()
        if programs is None or load is None:
            raise SystemExit("cargo is not there to build the peers")
        self.programs, self.load = programs, load

    def run(self, workload: Workload, peer: Peer) -> Run:
        command = [str(self.programs / peer.package), workload.task, *peer.arguments]
        load = [*workload.load, "--duration", str(int(self.seconds * 1000))]
        return run(command, workload, os.environ | peer.environment, partial(drive, self.load, load))


def _version(peer: Peer) -> str:
    if peer.crate:
        tree = ["cargo", "tree", "--package", peer.package, "--depth", "1", "--prefix", "none"]
        lines = output(tree, ROOT / "bench" / "peers").split("\n")
        versions = (line.split()[1] for line in lines if line.startswith(f"{peer.crate} v"))
        return f"{peer.crate} {next(versions, '').removeprefix('v')}"
    if peer.library:
        name = peer.library[0]
        return f"{name} {first_line(['pkg-config', '--modversion', name])}"
    return ""


def main() -> int:
    """Whether all went well."""
    arguments = options(__doc__.partition("\n")[0]).parse_args()
    return compare(Runtimes(arguments.seconds), arguments)


if __name__ == "__main__":
    sys.exit(main())
