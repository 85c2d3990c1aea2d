"""Plots as SVG: a bar for each peer, whose length is the ratio of its value to the floor's."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from xml.sax.saxutils import escape

from harness.results import Result, bases, ratios
from harness.workload import Workload

WIDTH = 720
NAMES_WIDTH = 150
LABELS_WIDTH = 130
ROW_HEIGHT = 24
HEAD_HEIGHT = 44
BAR_HEIGHT = 14
# These colors are legible on both light and dark pages.
FLOOR, OURS, PEER, TEXT = "#7d8590", "#1f7ae0", "#b8863b", "#6e7781"
STYLE = f"text {{ font: 12px sans-serif; fill: {TEXT} }} .strong {{ font-weight: bold; fill: {OURS} }}"
STYLE += " .title { font-size: 14px } rect { fill-opacity: 0.55 } path { stroke-width: 2 }"


def write_plot(folder: Path, workload: Workload, results: Sequence[Result]) -> None:
    """Writes the plot of a workload to `folder/WORKLOAD.svg`."""
    by = bases(results)
    if not by:
        return
    base = by[0]
    pairs = ((result, ratios(result, base)) for result in results if result.complete)
    bars = [(result, values) for result, values in pairs if values]
    longest = max(max(values) for _, values in bars)
    height = HEAD_HEIGHT + ROW_HEIGHT * len(bars) + 8
    better = "more" if workload.more_is_better else "less"
    title = f"{workload.name}: {workload.unit}, in relation to {base.peer.name} ({better} is better)"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" role="img">',
        f"<title>{escape(title)}</title><style>{STYLE}</style>",
        f'<text class="title" x="8" y="20">{escape(title)}</text>',
        *(_bar(at, result, values, longest) for at, (result, values) in enumerate(bars)),
        "</svg>",
    ]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{workload.name}.svg").write_text("\n".join(parts) + "\n")


def _bar(at: int, result: Result, values: Sequence[float], longest: float) -> str:
    """The name, a bar for the median, a line from the minimum to the maximum, and the median as text."""
    scale = (WIDTH - NAMES_WIDTH - LABELS_WIDTH) / longest if longest else 0
    middle, least, most = (value * scale for value in (median(values), min(values), max(values)))
    top = HEAD_HEIGHT + at * ROW_HEIGHT - 10
    centre = top + BAR_HEIGHT / 2
    peer, name = result.peer, escape(result.peer.name)
    color = FLOOR if peer.floor else OURS if peer.ours else PEER
    strong = ' class="strong"' if peer.ours else ""
    label = f"× {median(values):.2f}" + (", disturbed" if result.disturbed() else "")
    return "\n".join(
        [
            f'<text{strong} x="{NAMES_WIDTH - 8}" y="{centre + 4:.1f}" text-anchor="end">{name}</text>',
            f'<rect x="{NAMES_WIDTH}" y="{top}" width="{middle:.1f}" height="{BAR_HEIGHT}" fill="{color}"/>',
            f'<path d="M{NAMES_WIDTH + least:.1f} {centre:.1f}H{NAMES_WIDTH + most:.1f}" stroke="{color}"/>',
            f'<text{strong} x="{NAMES_WIDTH + most + 6:.1f}" y="{centre + 4:.1f}">{label}</text>',
        ]
    )
