"""What all comparisons do: choose, measure or read, report."""

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
    """Who is compared in what, and how one run is made."""

    # As it is typed.
    command = "cargo xtask bench"
    name: str
    # Of all workloads' names; it need not be typed.
    prefix = ""
    workloads: Sequence[Workload]
    peers: Sequence[Peer]
    # The CPU time of what is measured, by the process that was started.
    clock: Clock = staticmethod(cpu_seconds)

    def takes_part(self, peer: Peer) -> bool:
        """Whether the peer can be measured here; says so if it lacks something."""
        return True

    def belongs(self, workload: Workload) -> bool:
        """Whether the workload is measured where it is not named in full."""
        return True

    @abstractmethod
    def versions(self, peers: Sequence[Peer]) -> list[str]:
        """What is measured, and what runs it, each with its version."""

    @abstractmethod
    def prepare(self, workloads: Sequence[Workload], peers: Sequence[Peer]) -> None:
        """Builds what is to be measured, and what measures it."""

    @abstractmethod
    def run(self, workload: Workload, peer: Peer, clock: Clock) -> Run:
        """One measurement, in fresh processes; `clock` is read as it begins and as it ends."""


def options(description: str) -> argparse.ArgumentParser:
    """What every comparison can be told."""
    parser = argparse.ArgumentParser(prog=Comparison.command, description=description)
    parser.add_argument("workloads", nargs="*", help="names, or beginnings of names; all if none is given")
    parser.add_argument("--peers", help="names, separated by commas; all if it is not given")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="measured under load")
    parser.add_argument("--csv", type=Path, help="every single run, into this file")
    parser.add_argument("--plots", type=Path, help="a plot for each workload, into this folder")
    parser.add_argument(
        "--markdown", type=Path, metavar="FOLDER", help="all tables and aims, into a file in this folder"
    )
    parser.add_argument(
        "--summary", type=Path, metavar="FILE", help="a line for each workload, into this Markdown file"
    )
    parser.add_argument("--assert", dest="aims_count", action="store_true", help="fail if an aim is missed")
    parser.add_argument(
        "--profile",
        type=Path,
        metavar="FOLDER",
        help="one run of each, and where its CPU time goes: a file for each workload, in this folder",
    )
    parser.add_argument(
        "--report",
        nargs="+",
        type=Path,
        metavar="CSV",
        help="measure nothing, but report what earlier runs wrote with --csv",
    )
    parser.add_argument("--list", action="store_true", help="name workloads and peers, run nothing")
    return parser


def _chosen(comparison: Comparison, arguments: argparse.Namespace) -> tuple[list[Workload], list[Peer]]:
    prefix = comparison.prefix
    named = [prefix + name.removeprefix(prefix) for name in arguments.workloads]
    for name in named:
        if not any(workload.name.startswith(name) for workload in comparison.workloads):
            raise SystemExit(f"no workload is named `{name}`")
    names = arguments.peers.split(",") if arguments.peers else [peer.name for peer in comparison.peers]
    unknown = set(names) - {peer.name for peer in comparison.peers}
    if unknown:
        raise SystemExit(f"no peer is named `{', '.join(sorted(unknown))}`")
    begun = [workload for workload in comparison.workloads if workload.name.startswith(tuple(named) or "")]
    # What was measured elsewhere can be reported anywhere.
    workloads = [one for one in begun if arguments.report or one.name in named or comparison.belongs(one)]
    return workloads, [peer for peer in comparison.peers if peer.name in names]


Tables = tuple[list[dict[str, str]], list[Table]]


def _prepared(
    comparison: Comparison, arguments: argparse.Namespace
) -> tuple[list[Workload], list[Peer], dict[str, str]]:
    """What can be measured of what was named, now that it is built, and the setting."""
    workloads, peers = _chosen(comparison, arguments)
    peers = [peer for peer in peers if comparison.takes_part(peer)]
    if not workloads or not peers:
        raise SystemExit("nothing that was named can be measured here")
    raise_descriptor_limit()
    comparison.prepare(workloads, peers)
    return workloads, peers, setting(comparison.command, comparison.versions(peers))


def _profile(comparison: Comparison, arguments: argparse.Namespace) -> None:
    """Samples a run of each, and prints and writes a table for each workload."""
    if comparison.clock is not cpu_seconds:
        raise SystemExit("profiles are of programs that run without Wine")
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
    """Measures, and prints each table as soon as it is complete."""
    workloads, peers, told = _prepared(comparison, arguments)
    once = partial(comparison.run, clock=comparison.clock)
    tables = []
    for workload in workloads:
        results = measure(once, workload, peers, arguments.rounds, patient=arguments.aims_count)
        tables.append((workload, results))
        print(text(workload, results) + "\n", flush=True)
        # Anew each time: what was measured is kept if somebody ends us.
        if arguments.csv:
            records.write(arguments.csv, told, tables)
    return [told], tables


def _reported(comparison: Comparison, arguments: argparse.Namespace) -> Tables:
    """Reads what was measured earlier, and prints the tables."""
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
    """Measures or reads, reports, and returns whether nothing failed."""
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
    if arguments.markdown:
        full = markdown.write(arguments.markdown, comparison.name, settings, tables, arguments.plots)
    if arguments.summary:
        markdown.summarize(arguments.summary, comparison.name, tables, full)
    failed = any(result.failure for _, results in tables for result in results)
    missed = sum(1 for table in tables for verdict in judged(*table) if verdict.reached is False)
    if missed and arguments.aims_count:
        print(f"aims missed: {missed}")
    return int(failed or (missed > 0 and arguments.aims_count))
