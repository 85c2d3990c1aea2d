"""Checks results against the aims of their workloads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from harness.figures import short, spread
from harness.results import Result, ratios
from harness.workload import EVERY_PEER, Aim, Workload


@dataclass(frozen=True)
class Verdict:
    """An aim, with the measured value and the outcome."""

    aim: Aim
    unit: str
    wanted: str
    measured: str
    # None if nothing was measured that the aim is about.
    reached: bool | None

    def cells(self) -> list[str]:
        """The cells of a row in a table."""
        outcome = {True: "reached", False: "missed", None: "not measured"}[self.reached]
        return [self.aim.ours, self.unit, self.wanted, self.measured, outcome]


def judged(workload: Workload, results: Sequence[Result]) -> list[Verdict]:
    """The verdicts on a workload's aims, for our peers that take part."""
    here = {result.peer.name for result in results}
    complete = [result for result in results if result.complete]
    return [_verdict(workload, aim, complete) for aim in workload.aims if aim.ours in here]


def _verdict(workload: Workload, aim: Aim, complete: Sequence[Result]) -> Verdict:
    unit, more = workload.unit, workload.more_is_better
    if aim.figure:
        unit, more = aim.figure.head, aim.figure.more_is_better
    wanted = f"at {'least' if more else 'most'} {_bound(aim)}"
    compared = _compared(aim, complete)
    if not compared:
        return Verdict(aim, unit, wanted, "", None)
    # The closest competitor decides.
    name, values = (min if more else max)(compared, key=lambda one: median(one[1]))
    middle = median(values)
    reached = middle >= aim.bound if more else middle <= aim.bound
    measured = f"× {spread(values)} {name}" if name else spread(values)
    return Verdict(aim, unit, wanted, measured, reached)


def _bound(aim: Aim) -> str:
    if not aim.by:
        return short(aim.bound)
    return f"{short(aim.bound)} × {', '.join(aim.by)}"


def _compared(aim: Aim, complete: Sequence[Result]) -> list[tuple[str, list[float]]]:
    """Values to compare with the bound: our own figure, or its ratio to each competitor with its name."""
    ours = next((result for result in complete if result.peer.name == aim.ours), None)
    if ours is None:
        return []
    if aim.by:
        others = [result for result in complete if _counts(aim, result)]
        each = [(other.peer.name, ratios(ours, other, aim.figure)) for other in others]
    else:
        each = [("", ours.shown(aim.figure))]
    return [one for one in each if one[1]]


def _counts(aim: Aim, other: Result) -> bool:
    """Whether the aim compares us with this result."""
    peer = other.peer
    return peer.name in aim.by or (aim.by == EVERY_PEER and not peer.floor and not peer.ours)
