"""What was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from harness.figures import ratio
from harness.noise import DISTURBED
from harness.workload import Figure, Peer

# The file that a run was read from, counted from 0, and the round in it, counted from 1.
Round = tuple[int, int]


@dataclass
class Run:
    """One measurement."""

    value: float
    figures: dict[str, float]
    # What other programs used of the machine, in shares of one core.
    others: float | None

    def shown(self, figure: Figure | None) -> float | None:
        """The figure in the unit of its column, or else the value; None if the run did not tell it."""
        if figure is None:
            return self.value
        told = self.figures.get(figure.name)
        return None if told is None else told / figure.divisor


@dataclass
class Result:
    """All runs of one peer."""

    peer: Peer
    runs: dict[Round, Run] = field(default_factory=dict)
    failure: str | None = None
    unsupported: bool = False

    @property
    def complete(self) -> bool:
        """Whether it can be compared."""
        return bool(self.runs) and self.failure is None

    def disturbed(self) -> int:
        """In how many runs others used the machine."""
        return sum(1 for run in self.runs.values() if run.others is not None and run.others > DISTURBED)

    def shown(self, figure: Figure | None = None) -> list[float]:
        """The figure, or else the value, of each run that told it."""
        told = (run.shown(figure) for run in self.runs.values())
        return [one for one in told if one is not None]


def bases(results: Sequence[Result]) -> list[Result]:
    """What the others are measured by: the floors, or else who comes first."""
    complete = [result for result in results if result.complete]
    return [result for result in complete if result.peer.floor] or complete[:1]


def ratios(result: Result, base: Result, figure: Figure | None = None) -> list[float]:
    """How many times the base, round by round: the runs of a round were measured within a minute."""
    rounds = [at for at in result.runs if at in base.runs]
    pairs = [(result.runs[at].shown(figure), base.runs[at].shown(figure)) for at in rounds]
    return [ratio(one, other) for one, other in pairs if one is not None and other is not None]
