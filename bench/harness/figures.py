"""Figures as text."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median


def short(value: float) -> str:
    """Three digits that say something, or a whole number."""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def spread(values: Sequence[float]) -> str:
    """The median with (least..most)."""
    return f"{short(median(values))} ({short(min(values))}..{short(max(values))})"


def ratio(above: float, below: float) -> float:
    """How many times `below` goes into `above`; nothing goes into nothing once."""
    if below:
        return above / below
    return float("inf") if above else 1.0


def columns(lines: Sequence[Sequence[str]]) -> str:
    """Lines of cells, each column as wide as it must be."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = (
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
    return "\n".join(text)
