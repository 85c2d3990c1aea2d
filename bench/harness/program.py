"""The program that all comparisons share: selects workloads and peers, measures or reads, and reports."""

from __future__ import annotations

import argparse
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from harness import markdown, profile, records
from harness.aims import judged
from harness.figures import columns
from harness.noise import cpu_seconds
from harness.plots import write_plot
from harness.processes import Failed, raise_descriptor_limit
from harness.records import Table
from harness.report import text
from harness.results import Run
from harness.runs import Clock, Unsupported, measure
from harness.setting import setting
from harness.workload import Peer, Workload


class Comparison(ABC):
    """A set of workloads and peers, and the way to measure one run."""

    # The command line that starts the comparison.
    command = "cargo xtask bench"
    name: str
    # A prefix of the names of all workloads, which users may leave out.
    prefix = ""
    workloads: Sequence[Workload]
    peers: Sequence[Peer]
    # Reads the CPU time of the measured program; takes the id of the process that we started.
    clock: Clock = staticmethod(cpu_seconds)

    def takes_part(self, peer: Peer) -> bool:
        """Whether the peer can be measured here. Prints what is missing if it cannot."""
        return True

    def belongs(self, workload: Workload) -> bool:
        """Whether to measure the workload although the user did not give its full name."""
        return True

    @abstractmethod
    def versions(self, peers: Sequence[Peer]) -> list[str]:
        """The peers, and the programs that run them, each with its version."""

    @abstractmethod
    def prepare(self, workloads: Sequence[Workload], peers: Sequence[Peer]) -> None:
        """Builds the peers and the programs that measure them."""

    @abstractmethod
    def run(self, workload: Workload, peer: Peer, clock: Clock) -> Run:
        """Makes one measurement in fresh processes; reads `clock` when it begins and when it ends."""


def options(description: str) -> argparse.ArgumentParser:
    """A parser with the options of all comparisons."""
    parser = argparse.ArgumentParser(prog=Comparison.command, description=description)
    parser.add_argument("workloads", nargs="*", help="names or prefixes of workloads [default: all]")
    parser.add_argument("--peers", help="names of peers, separated by commas [default: all]")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="measured time of a server under load")
    parser.add_argument("--csv", type=Path, help="write every single run to this file")
    parser.add_argument("--plots", type=Path, help="write a plot for each workload to this folder")
    parser.add_argument(
        "--markdown", type=Path, metavar="FOLDER", help="write all tables and aims to a file in this folder"
    )
    parser.add_argument(
        "--summary", type=Path, metavar="FILE", help="write a line for each workload to this Markdown file"
    )
    parser.add_argument(
        "--part", metavar="NAME", help="name these results, which then have a file and a summary of their own"
    )
    parser.add_argument("--assert", dest="aims_count", action="store_true", help="fail if an aim is missed")
    parser.add_argument(
        "--profile",
        type=Path,
        metavar="FOLDER",
        help="profile one run of each peer, and write a file for each workload to this folder",
    )
    parser.add_argument(
        "--report",
        nargs="+",
        type=Path,
        metavar="CSV",
        help="measure nothing; report the runs that earlier commands wrote with --csv",
    )
    parser.add_argument("--list", action="store_true", help="list workloads and peers, and run nothing")
    return parser


def _chosen(comparison: Comparison, arguments: argparse.Namespace) -> tuple[list[Workload], list[Peer]]:
    prefix = comparison.prefix
    named = [prefix + name.removeprefix(prefix) for name in arguments.workloads]
    for name in named:
        if not any(workload.name.startswith(name) for workload in comparison.workloads):
            raise SystemExit(f"unknown workload `{name}`")
    names = arguments.peers.split(",") if arguments.peers else [peer.name for peer in comparison.peers]
    unknown = set(names) - {peer.name for peer in comparison.peers}
    if unknown:
        raise SystemExit(f"unknown peer `{', '.join(sorted(unknown))}`")
    matching = [workload for workload in comparison.workloads if workload.name.startswith(tuple(named) or "")]
    # Any machine can report results of another.
    workloads = [one for one in matching if arguments.report or one.name in named or comparison.belongs(one)]
    return workloads, [peer for peer in comparison.peers if peer.name in names]


Tables = tuple[list[dict[str, str]], list[Table]]


def _prepared(
    comparison: Comparison, arguments: argparse.Namespace
) -> tuple[list[Workload], list[Peer], dict[str, str]]:
    """Builds the selected workloads and peers that can be measured here; returns them with the setting."""
    workloads, peers = _chosen(comparison, arguments)
    peers = [peer for peer in peers if comparison.takes_part(peer)]
    if not workloads or not peers:
        raise SystemExit("none of the selected workloads and peers can be measured here")
    raise_descriptor_limit()
    comparison.prepare(workloads, peers)
    return workloads, peers, setting(comparison.command, comparison.versions(peers))


def _profile(comparison: Comparison, arguments: argparse.Namespace) -> None:
    """Profiles a run of each peer; prints and writes a table for each workload."""
    if comparison.clock is not cpu_seconds:
        raise SystemExit("programs under Wine cannot be profiled")
    if missing := profile.missing():
        raise SystemExit(missing)
    workloads, peers, told = _prepared(comparison, arguments)
    for workload in workloads:
        profiles = []
        for peer in peers:
            try:
                profiles.append(profile.profiled(comparison.run, workload, peer))
            except Unsupported:
                continue
            except Failed as failed:
                raise SystemExit(f"{workload.name} of {peer.name}: {failed}") from failed
        print(columns(profile.table(workload, profiles)) + "\n", flush=True)
        profile.write(arguments.profile, told, workload, profiles)


def _measured(comparison: Comparison, arguments: argparse.Namespace) -> Tables:
    """Measures all workloads, and prints each table as soon as it is complete."""
    workloads, peers, told = _prepared(comparison, arguments)
    once = partial(comparison.run, clock=comparison.clock)
    tables = []
    for workload in workloads:
        results = measure(once, workload, peers, arguments.rounds, patient=arguments.aims_count)
        tables.append((workload, results))
        print(text(workload, results) + "\n", flush=True)
        # Rewrite the file after each workload, so that an interrupted run keeps its results.
        if arguments.csv:
            records.write(arguments.csv, told, tables)
    return [told], tables


def _reported(comparison: Comparison, arguments: argparse.Namespace) -> Tables:
    """Reads earlier results, and prints their tables."""
    workloads, peers = _chosen(comparison, arguments)
    settings, found = records.read(arguments.report, comparison.workloads, comparison.peers)
    tables = [
        (workload, [result for result in results if result.peer in peers])
        for workload, results in found
        if workload in workloads
    ]
    for table in tables:
        print(text(*table) + "\n")
    return settings, tables


def compare(comparison: Comparison, arguments: argparse.Namespace) -> int:
    """Measures or reads results, and reports them; returns the exit code: 0 unless something failed."""
    if arguments.list:
        workloads, peers = _chosen(comparison, arguments)
        print("workloads:", *(workload.name for workload in workloads))
        print("peers:", *(peer.name for peer in peers))
        return 0
    if arguments.profile:
        _profile(comparison, arguments)
        return 0
    settings, tables = (_reported if arguments.report else _measured)(comparison, arguments)
    for table in tables if arguments.plots else []:
        write_plot(arguments.plots, *table)
    full = None
    name = arguments.part or comparison.name
    if arguments.markdown:
        full = markdown.write(arguments.markdown, name, settings, tables, arguments.plots)
    if arguments.summary:
        markdown.summarize(arguments.summary, name, tables, full)
    failed = any(result.failure for _, results in tables for result in results)
    missed = sum(1 for table in tables for verdict in judged(*table) if verdict.reached is False)
    if missed and arguments.aims_count:
        print(f"aims missed: {missed}")
    return int(failed or (missed > 0 and arguments.aims_count))
