"""Compares runtimes: interleaved rounds, each run in fresh processes, medians with spread.

    cargo xtask bench [workload...] [--peers NAME,NAME...] [--rounds N]

See the README in the folder above.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import windows

import catalogue
import markdown
import records
from aims import judged
from catalogue import IDLE_CONNECTIONS, Peer, Workload
from harness import wine
from harness.noise import Watch, cpu_seconds
from harness.processes import (
    Failed,
    build,
    cpu_per,
    drive,
    load_program,
    memory_kib,
    raise_descriptor_limit,
    started,
    told,
)
from plots import write_plot
from report import text
from results import Result, Run
from setting import setting


class Unsupported(Exception):
    """The peer has nothing for the workload."""


@dataclass
class Bench:
    """What all runs have in common."""

    programs: Path
    load: str
    seconds: float
    # The programs are Windows's, and Wine runs them.
    under_wine: bool

    def run(self, workload: Workload, peer: Peer) -> Run:
        """One measurement, in fresh processes."""
        if not self.under_wine:
            return self._run(workload, peer, [str(self.programs / peer.package)])
        brief = str(self.programs / "bench-brief.exe")
        with wine.fresh_server([brief], core=0):
            return self._run(workload, peer, ["wine", str(self.programs / f"{peer.package}.exe")])

    def _run(self, workload: Workload, peer: Peer, program: list[str]) -> Run:
        watch = Watch()
        command = [*program, workload.task, *peer.arguments]
        environment = os.environ | peer.environment | (wine.QUIET if self.under_wine else {})
        core = 0 if workload.pinned else None
        with started(command, core, environment) as (process, output):
            measure = self._served if workload.load else self._alone
            measured = measure(workload, process, told(output))
        # Outside of the process, whose failures are errors: this is none.
        if measured is None:
            raise Unsupported
        return Run(*measured, watch.stop())

    def _served(self, workload: Workload, process, lines):
        first = next(lines, {})
        if "unsupported" in first:
            return None
        if "port" not in first:
            raise Failed("the server did not start")
        before_kib = memory_kib(process.pid, "VmRSS") or 0
        arguments = [*workload.load, "--duration", str(int(self.seconds * 1000))]
        cpu, figures = drive(self.load, arguments, first["port"], process.pid, self._clock)
        figures["peak_kib"] = memory_kib(process.pid, "VmHWM")
        if workload.per == "memory":
            # At its most: the connections are gone by now.
            return (figures["peak_kib"] - before_kib) * 1024 / IDLE_CONNECTIONS, figures
        return cpu_per(workload.per, cpu, figures), figures

    def _clock(self, process: int) -> float | None:
        return wine.cpu_with_server(process) if self.under_wine else cpu_seconds(process)

    def _alone(self, workload: Workload, process, lines):
        before = after = None
        for line in lines:
            if "unsupported" in line:
                return None
            if "begin" in line:
                before = self._clock(process.pid)
            if "result" in line:
                after = self._clock(process.pid)
                figures = line["result"]
                process.wait()
                value = figures.pop("value")
                if workload.per != "operation":
                    return value, figures
                if before is None or after is None:
                    raise Failed("the CPU time was not to be had")
                return (after - before) / figures["operations"] * 1e6, figures
        raise Failed("the process ended without a result")


def measure(bench: Bench, workload: Workload, peers: Sequence[Peer], rounds: int) -> list[Result]:
    """All rounds of one workload: everybody in turn, and another one begins each time."""
    results = [Result(peer) for peer in peers]
    for number in range(1, rounds + 1):
        start = (number - 1) % len(results)
        for result in [*results[start:], *results[:start]]:
            if result.failure or result.unsupported:
                continue
            try:
                result.runs[0, number] = bench.run(workload, result.peer)
            except Unsupported:
                result.unsupported = True
            except Failed as failed:
                result.failure = str(failed)
    return results


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="cargo xtask bench", description=__doc__.partition("\n")[0])
    parser.add_argument("workloads", nargs="*", help="names, or beginnings of names; all if none is given")
    parser.add_argument("--peers", help="names, separated by commas; all if it is not given")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="measured under load")
    parser.add_argument("--csv", type=Path, help="every single run, into this file")
    parser.add_argument("--plots", type=Path, help="a plot for each workload, into this folder")
    parser.add_argument("--wine", action="store_true", help="Windows programs, run by Wine")
    parser.add_argument("--markdown", type=Path, help="all tables and aims, into this file")
    parser.add_argument("--assert", dest="aims_count", action="store_true", help="fail if an aim is missed")
    parser.add_argument(
        "--report",
        nargs="+",
        type=Path,
        metavar="CSV",
        help="measure nothing, but report what earlier runs wrote with --csv",
    )
    parser.add_argument("--list", action="store_true", help="name workloads and peers, run nothing")
    return parser.parse_args()


def _is_here(peer: Peer) -> bool:
    """Whether what the peer needs is installed; says so if not."""
    if peer.library is None:
        return True
    library, package = peer.library
    pkg_config = shutil.which("pkg-config")
    if pkg_config and subprocess.run([pkg_config, "--exists", library], check=False).returncode == 0:
        return True
    print(f"{peer.name} is left out: install {package} and pkg-config (these are Debian's names)")
    return False


def _chosen(arguments: argparse.Namespace) -> tuple[list[Workload], list[Peer]]:
    source = windows if arguments.wine else catalogue
    prefix = windows.PREFIX if arguments.wine else ""
    beginnings = tuple(prefix + name for name in arguments.workloads) or ("",)
    for name in beginnings:
        if not any(workload.name.startswith(name) for workload in source.WORKLOADS):
            raise SystemExit(f"no workload is named `{name}`")
    names = arguments.peers.split(",") if arguments.peers else [peer.name for peer in source.PEERS]
    unknown = set(names) - {peer.name for peer in source.PEERS}
    if unknown:
        raise SystemExit(f"no peer is named `{', '.join(sorted(unknown))}`")
    workloads = [workload for workload in source.WORKLOADS if workload.name.startswith(beginnings)]
    return workloads, [peer for peer in source.PEERS if peer.name in names]


def _built(peers: Sequence[Peer], seconds: float, under_wine: bool) -> Bench:
    packages = dict.fromkeys(peer.package for peer in peers)
    if under_wine:
        # It has the program that children run.
        packages["bench-common"] = None
    programs = build(packages, folder="bench/peers", triple=wine.TARGET if under_wine else None)
    load = load_program()
    if programs is None or load is None:
        raise SystemExit("cargo is not there to build the peers")
    return Bench(programs, load, seconds, under_wine)


def _measured(arguments: argparse.Namespace, workloads: Sequence[Workload], peers: Sequence[Peer]):
    """Measures, and prints each table as soon as it is complete."""
    if arguments.wine and (missing := wine.missing()):
        raise SystemExit(missing)
    peers = [peer for peer in peers if _is_here(peer)]
    told = setting(peers) | (wine.setting() if arguments.wine else {})
    raise_descriptor_limit()
    bench = _built(peers, arguments.seconds, arguments.wine)
    tables = []
    for workload in workloads:
        results = measure(bench, workload, peers, arguments.rounds)
        tables.append((workload, results))
        print(text(workload, results) + "\n", flush=True)
        # Anew each time: what was measured is kept if somebody ends us.
        if arguments.csv:
            records.write(arguments.csv, told, tables)
    return [told], tables


def _reported(arguments: argparse.Namespace, workloads: Sequence[Workload], peers: Sequence[Peer]):
    """Reads what was measured earlier, and prints the tables."""
    settings, found = records.read(arguments.report)
    tables = [
        (workload, [result for result in results if result.peer in peers])
        for workload, results in found
        if workload in workloads
    ]
    for table in tables:
        print(text(*table) + "\n")
    return settings, tables


def main() -> int:
    """Measures or reads, reports, and returns whether nothing failed."""
    arguments = _arguments()
    workloads, peers = _chosen(arguments)
    if arguments.list:
        print("workloads:", *(workload.name for workload in workloads))
        print("peers:", *(peer.name for peer in peers))
        return 0
    settings, tables = (_reported if arguments.report else _measured)(arguments, workloads, peers)
    for table in tables if arguments.plots else []:
        write_plot(arguments.plots, *table)
    if arguments.markdown:
        markdown.write(arguments.markdown, settings, tables, arguments.plots)
    failed = any(result.failure for _, results in tables for result in results)
    missed = sum(1 for table in tables for verdict in judged(*table) if verdict.reached is False)
    if missed and arguments.aims_count:
        print(f"aims missed: {missed}")
    return int(failed or (missed > 0 and arguments.aims_count))


if __name__ == "__main__":
    sys.exit(main())
