"""Reads and writes runs as CSV: the settings as comments, then a line for each run."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from itertools import takewhile
from pathlib import Path

from harness.results import Result, Round, Run
from harness.workload import Peer, Workload

Table = tuple[Workload, Sequence[Result]]

# Columns that are not figures of the run.
_FIXED = ("workload", "unit", "peer", "round", "value", "others_share", "outcome")
# The outcome of a peer that does not support the workload. Any other outcome is the reason of a failure.
_UNSUPPORTED = "unsupported"
_REMARK = "# "


def write(path: Path, setting: dict[str, str], tables: Iterable[Table]) -> None:
    """Writes all runs to a file. Figures that a workload does not have stay empty."""
    lines = [line for table in tables for line in _lines(*table)]
    names = dict.fromkeys([*_FIXED, *(name for line in lines for name in line)])
    with path.open("w", newline="") as file:
        file.writelines(f"{_REMARK}{name}: {told}\n" for name, told in setting.items())
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(lines)


def _lines(workload: Workload, results: Sequence[Result]) -> Iterable[dict[str, object]]:
    for result in results:
        line = {"workload": workload.name, "unit": workload.unit, "peer": result.peer.name}
        for (_file, number), run in result.runs.items():
            yield line | {"round": number, "value": run.value, "others_share": run.others} | run.figures
        if result.failure or result.unsupported:
            yield line | {"outcome": result.failure or _UNSUPPORTED}


def read(
    paths: Sequence[Path], workloads: Sequence[Workload], peers: Sequence[Peer]
) -> tuple[list[dict[str, str]], list[Table]]:
    """Reads the settings of each file and the tables of all files, in the order of `workloads` and `peers`.

    Rounds of all files count, but ratios compare only rounds of the same file.
    """
    settings = []
    found: dict[str, dict[str, Result]] = {}
    for number, path in enumerate(paths):
        with path.open(newline="") as file:
            lines = file.readlines()
        remarks = list(takewhile(lambda line: line.startswith(_REMARK), lines))
        told = (remark.removeprefix(_REMARK).strip().partition(": ") for remark in remarks)
        settings.append({name: value for name, _, value in told})
        for line in csv.DictReader(lines[len(remarks) :]):
            _take(found, number, line, peers)
    unknown = found.keys() - {workload.name for workload in workloads}
    if unknown:
        raise SystemExit(f"unknown workload `{', '.join(sorted(unknown))}`")
    tables = [(workload, found[workload.name]) for workload in workloads if workload.name in found]
    return settings, [(workload, _in_order(results, peers)) for workload, results in tables]


def _take(
    found: dict[str, dict[str, Result]], file: int, line: dict[str, str], peers: Sequence[Peer]
) -> None:
    peer = next((peer for peer in peers if peer.name == line["peer"]), None)
    if peer is None:
        raise SystemExit(f"unknown peer `{line['peer']}`")
    result = found.setdefault(line["workload"], {}).setdefault(peer.name, Result(peer))
    outcome = line.get("outcome")
    if outcome == _UNSUPPORTED:
        result.unsupported = True
    elif outcome:
        result.failure = outcome
    else:
        figures = {name: float(told) for name, told in line.items() if told and name not in _FIXED}
        others = float(line["others_share"]) if line["others_share"] else None
        at: Round = (file, int(line["round"]))
        result.runs[at] = Run(float(line["value"]), figures, others)


def _in_order(results: dict[str, Result], peers: Sequence[Peer]) -> list[Result]:
    return [results[peer.name] for peer in peers if peer.name in results]
