"""From single runs to tables."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from catalogue import Figure, Peer, Workload
from harness.figures import columns, ratio, short, spread
from harness.noise import DISTURBED


@dataclass
class Run:
    """One measurement."""

    value: float
    figures: dict[str, float]
    # What other programs used of the machine, in shares of one core.
    others: float | None


@dataclass
class Result:
    """All runs of one peer; those of a round stand at the same place in all results."""

    peer: Peer
    runs: list[Run] = field(default_factory=list)
    failure: str | None = None
    unsupported: bool = False

    @property
    def complete(self) -> bool:
        """Whether it can be compared."""
        return bool(self.runs) and self.failure is None

    def disturbed(self) -> int:
        """In how many runs others used the machine."""
        return sum(1 for run in self.runs if run.others is not None and run.others > DISTURBED)


def bases(results: Sequence[Result]) -> list[Result]:
    """What the others are measured by: the floors, or else who comes first."""
    complete = [result for result in results if result.complete]
    return [result for result in complete if result.peer.floor] or complete[:1]


def ratios(result: Result, base: Result) -> list[float]:
    """How many times the base, round by round: the runs of a round were measured within a minute."""
    pairs = zip(result.runs, base.runs, strict=True)
    return [ratio(run.value, other.value) for run, other in pairs]


def _cells(workload: Workload, result: Result, by: Sequence[Result]) -> list[str]:
    empty = [""] * (len(by) + len(workload.figures) + 1)
    if result.unsupported:
        return [result.peer.name, "-", *empty]
    if not result.complete:
        return [result.peer.name, "failed", *empty]
    disturbed = result.disturbed()
    return [
        result.peer.name,
        spread([run.value for run in result.runs]),
        *("x " + spread(ratios(result, base)) for base in by),
        *(_figure(result, figure) for figure in workload.figures),
        f"disturbed {disturbed}/{len(result.runs)}" if disturbed else "",
    ]


def _figure(result: Result, figure: Figure) -> str:
    values = [run.figures[figure.name] for run in result.runs if run.figures.get(figure.name) is not None]
    return short(median(values) / figure.divisor) if values else ""


def table(workload: Workload, results: Sequence[Result]) -> str:
    """Medians with (least..most), how many times the floors, and the other figures' medians."""
    by = bases(results)
    heads = [f"by {base.peer.name}" for base in by]
    heads += [figure.head for figure in workload.figures]
    better = "more" if workload.more_is_better else "less"
    lines = [[workload.name, workload.unit, *heads, f"({better} is better)"]]
    lines += [_cells(workload, result, by) for result in results]
    failures = [f"{result.peer.name} failed: {result.failure}" for result in results if result.failure]
    return "\n".join([columns(lines), *failures])


def write_csv(path: Path, tables: Iterable[tuple[Workload, Sequence[Result]]]) -> None:
    """Every single run; what a workload does not tell stays empty."""
    lines = []
    for workload, results in tables:
        for result in results:
            for number, run in enumerate(result.runs, 1):
                line = {"workload": workload.name, "unit": workload.unit, "peer": result.peer.name}
                line |= {"round": number, "value": run.value, "others_share": run.others}
                lines.append(line | run.figures)
    names = dict.fromkeys(name for line in lines for name in line)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(lines)
