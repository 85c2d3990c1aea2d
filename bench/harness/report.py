"""Formats results as text tables."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from harness.aims import judged
from harness.figures import columns, short, spread
from harness.results import Result, bases, ratios
from harness.workload import Figure, Workload


def times(values: Sequence[float]) -> str:
    """Formats ratios; empty if there are none."""
    return f"× {spread(values)}" if values else ""


def rows(workload: Workload, results: Sequence[Result]) -> list[list[str]]:
    """A header, and a row for each result: value, ratios to the floors, and medians of the figures."""
    by = bases(results)
    # Leave out columns that are empty on this system.
    figures = [figure for figure in workload.figures if any(result.shown(figure) for result in results)]
    heads = [f"by {base.peer.name}" for base in by]
    heads += [figure.head for figure in figures]
    better = "more" if workload.more_is_better else "less"
    head = [workload.name, workload.unit, *heads, f"({better} is better)"]
    return [head, *(_cells(figures, result, by) for result in results)]


def _cells(figures: Sequence[Figure], result: Result, by: Sequence[Result]) -> list[str]:
    empty = [""] * (len(by) + len(figures) + 1)
    if result.unsupported:
        return [result.peer.name, "-", *empty]
    if not result.complete:
        return [result.peer.name, "failed", *empty]
    disturbed = result.disturbed()
    return [
        result.peer.name,
        spread(result.shown()),
        *(times(ratios(result, base)) for base in by),
        *(_figure(result, figure) for figure in figures),
        f"disturbed {disturbed}/{len(result.runs)}" if disturbed else "",
    ]


def _figure(result: Result, figure: Figure) -> str:
    values = result.shown(figure)
    return short(median(values)) if values else ""


def failures(results: Sequence[Result]) -> list[str]:
    """A line for each peer that failed, with the reason."""
    return [f"{result.peer.name} failed: {result.failure}" for result in results if result.failure]


def text(workload: Workload, results: Sequence[Result]) -> str:
    """The report on a workload: its table, failures and aims."""
    parts = [columns(rows(workload, results)), *failures(results)]
    verdicts = [verdict.cells() for verdict in judged(workload, results)]
    if verdicts:
        parts.append(columns(verdicts))
    return "\n".join(parts)
