"""Formats figures as text."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median


def short(value: float) -> str:
    """Three significant digits, or a whole number from 1000 on."""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def spread(values: Sequence[float]) -> str:
    """The median, with the minimum and maximum: "median (min..max)"."""
    return f"{short(median(values))} ({short(min(values))}..{short(max(values))})"


def ratio(above: float, below: float) -> float:
    """The quotient; 0 by 0 is 1, and any other value by 0 is infinite."""
    if below:
        return above / below
    return float("inf") if above else 1.0


def columns(lines: Sequence[Sequence[str]]) -> str:
    """A table as text, with columns as wide as their longest cell."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = (
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
    return "\n".join(text)
