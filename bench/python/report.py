"""From single measurements to a table."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from catalogue import Row
from harness.figures import columns, ratio, spread
from harness.noise import DISTURBED


@dataclass
class Run:
    """One measurement of one reactor."""

    value: float
    others: float | None
    extra: dict[str, float] = field(default_factory=dict)


@dataclass
class Comparison:
    """All rounds of one row; the runs of a round stand at the same place in both lists."""

    row: Row
    ours: list[Run] = field(default_factory=list)
    peer: list[Run] = field(default_factory=list)
    failure: str | None = None

    def gains(self) -> list[float]:
        """How many times better ours was, round by round. Both were measured within seconds of each other."""
        pairs = zip(self.ours, self.peer, strict=True)
        if self.row.more_is_better:
            return [ratio(ours.value, peer.value) for ours, peer in pairs]
        return [ratio(peer.value, ours.value) for ours, peer in pairs]

    def reached(self) -> bool | None:
        """Whether the aim is reached; None without an aim."""
        if self.failure:
            return False
        if self.row.limit is not None:
            return median(run.value for run in self.ours) <= self.row.limit
        if self.row.gain is not None:
            return median(self.gains()) >= self.row.gain
        return None

    def disturbed(self) -> int:
        """In how many runs others used the machine."""
        runs = self.ours + self.peer
        return sum(1 for run in runs if run.others is not None and run.others > DISTURBED)


def _cells(comparison: Comparison) -> list[str]:
    row = comparison.row
    if comparison.failure:
        return [row.name, row.unit, "failed", "", "", "", "", ""]
    aim = f"<= {row.limit:g}" if row.limit is not None else f"x {row.gain:g}" if row.gain else ""
    reached = {True: "reached", False: "missed", None: ""}[comparison.reached()]
    runs = len(comparison.ours) + len(comparison.peer)
    disturbed = comparison.disturbed()
    return [
        row.name,
        row.unit,
        spread([run.value for run in comparison.ours]),
        spread([run.value for run in comparison.peer]),
        "x " + spread(comparison.gains()),
        aim,
        reached,
        f"disturbed {disturbed}/{runs}" if disturbed else "",
    ]


def table(comparisons: Iterable[Comparison]) -> str:
    """Medians with (least..most), the gain from round to round, and what was aimed at."""
    comparisons = list(comparisons)
    head = ["workload", "unit", "ours", "peer", "gain", "aim", "", ""]
    lines = [head, *map(_cells, comparisons)]
    text = [columns(lines)]
    text += [f"{one.row.name} failed: {one.failure}" for one in comparisons if one.failure]
    return "\n".join(text)


def write_csv(path: Path, comparisons: Iterable[Comparison]) -> None:
    """Every single run."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["workload", "unit", "reactor", "round", "value", "others_share", "extra"])
        for comparison in comparisons:
            row = comparison.row
            for side, runs in (("ours", comparison.ours), ("peer", comparison.peer)):
                for number, run in enumerate(runs, 1):
                    extra = " ".join(f"{key}={value:.6g}" for key, value in run.extra.items())
                    line = [row.name, row.unit, side, number, run.value, run.others, extra]
                    writer.writerow(line)
