"""The results of measurements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from harness.figures import ratio
from harness.noise import DISTURBED
from harness.workload import Figure, Peer

# A round: the number of the file that it was read from, counted from 0, and its number there, counted from 1.
Round = tuple[int, int]


@dataclass
class Run:
    """One measurement."""

    value: float
    figures: dict[str, float]
    # The CPU that other programs used, in shares of one core; None if the system does not tell.
    others: float | None

    def shown(self, figure: Figure | None) -> float | None:
        """A figure in the unit of its column, or the value for None; None if the run lacks the figure."""
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
        """Whether the result can be compared with others."""
        return bool(self.runs) and self.failure is None

    def disturbed(self) -> int:
        """The number of runs that other programs disturbed."""
        return sum(1 for run in self.runs.values() if run.others is not None and run.others > DISTURBED)

    def shown(self, figure: Figure | None = None) -> list[float]:
        """The figure, or the value for None, of each run that has it."""
        told = (run.shown(figure) for run in self.runs.values())
        return [one for one in told if one is not None]


def bases(results: Sequence[Result]) -> list[Result]:
    """The results that the others are compared with: the floors, or the first result if there are none."""
    complete = [result for result in results if result.complete]
    return [result for result in complete if result.peer.floor] or complete[:1]


def ratios(result: Result, base: Result, figure: Figure | None = None) -> list[float]:
    """The ratios to the base in each round: runs of a round are close in time, so noise hits them alike."""
    rounds = [at for at in result.runs if at in base.runs]
    pairs = [(result.runs[at].shown(figure), base.runs[at].shown(figure)) for at in rounds]
    return [ratio(one, other) for one, other in pairs if one is not None and other is not None]
