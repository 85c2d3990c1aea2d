"""Writes a comparison as Markdown: all tables to one file, and a line for each workload to another."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from harness.aims import judged
from harness.figures import short
from harness.records import Table
from harness.report import failures, rows, times
from harness.results import Result, ratios
from harness.workload import Workload

_OUTCOMES = {True: "reached", False: "**missed**", None: "not measured"}


def write(
    folder: Path, name: str, told: Sequence[dict[str, str]], tables: Sequence[Table], plots: Path | None
) -> Path:
    """Writes the setting, the aims and all tables to `NAME.md` in the folder; returns the path."""
    path = folder / f"{name}.md"
    results = [result for _workload, of_workload in tables for result in of_workload]
    disturbed = sum(result.disturbed() for result in results)
    runs = f"{sum(len(result.runs) for result in results)}, of which disturbed: {disturbed}"
    parts = [f"# Measured: {name}", settings([*told, {"runs": runs}]), _aims(tables)]
    parts += [_section(one, _link(path, plots, one)) for one in tables]
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text("\n\n".join(filter(None, parts)) + "\n")
    return path


def summarize(path: Path, name: str, tables: Sequence[Table], full: Path | None) -> None:
    """Replaces or appends the section of a comparison in the file `path`: one line for each workload."""
    first, last = (f"<!-- measured {name}: {edge} -->" for edge in ("begin", "end"))
    measured = f"{first}\n\n{_summary(path, tables, full)}\n\n{last}\n"
    old = path.read_text() if path.exists() else ""
    before, begin, rest = old.partition(first + "\n")
    _replaced, end, after = rest.partition(last + "\n")
    path.write_text(before + measured + after if begin and end else old + measured)


def _summary(path: Path, tables: Sequence[Table], full: Path | None) -> str:
    """A table with the value of each of our peers, and its ratio to the best competitor."""
    ours = dict.fromkeys(one.peer.name for _, results in tables for one in results if one.peer.ours)
    head = [cell for name in ours for cell in (name, "by the best other")]
    lines = [["", "unit", *head]]
    for workload, results in tables:
        title = workload.name
        if full:
            title = f"[{title}]({Path(os.path.relpath(full, path.parent)).as_posix()}#{title})"
        complete = {result.peer.name: result for result in results if result.complete}
        cells = [cell for name in ours for cell in _beside_the_best(workload, complete, name)]
        more = " (more is better)" if workload.more_is_better else ""
        lines.append([title, f"{workload.unit}{more}", *cells])
    return table(lines)


def _beside_the_best(workload: Workload, complete: dict[str, Result], name: str) -> tuple[str, str]:
    """Our median, and its ratio to the best competitor with that one's name."""
    ours = complete.get(name)
    if ours is None:
        return "", ""
    others = [one for one in complete.values() if not one.peer.ours and not one.peer.floor]
    each = [(one.peer.name, ratios(ours, one)) for one in others]
    closest = min if workload.more_is_better else max
    compared = [one for one in each if one[1]]
    if not compared:
        return short(median(ours.shown())), ""
    best, values = closest(compared, key=lambda one: median(one[1]))
    return short(median(ours.shown())), f"{times(values)} {best}"


def settings(told: Sequence[dict[str, str]]) -> str:
    """A table of the settings of all runs; where runs differ, it lists each value."""
    names = dict.fromkeys(name for one in told for name in one)
    lines = [["", ""]]
    for name in names:
        values = dict.fromkeys(one[name] for one in told if name in one)
        quoted = (f"`{value}`" if name == "command" else value for value in values)
        lines.append([name, "<br>".join(quoted)])
    return table(lines)


def _aims(tables: Sequence[Table]) -> str:
    verdicts = [(workload, verdict) for workload, results in tables for verdict in judged(workload, results)]
    if not verdicts:
        return ""
    lines = [["workload", "", "figure", "aim", "measured", ""]]
    for workload, verdict in verdicts:
        *cells, _outcome = verdict.cells()
        lines.append([f"[{workload.name}](#{workload.name})", *cells, _OUTCOMES[verdict.reached]])
    reached = sum(1 for _, verdict in verdicts if verdict.reached)
    return f"## Aims\n\n{reached} of {len(verdicts)} are reached.\n\n{table(lines)}"


def _section(measured: Table, plot: str) -> str:
    workload, results = measured
    head, *lines = rows(workload, results)
    # The heading has the unit and whether more or less is better, so leave the corner of the table empty.
    title = f"## {workload.name}\n\n{head[1]}; {head[-1].strip('()')}."
    cells = [["", *head[1:-1], ""]]
    cells += [_row(result, line) for result, line in zip(results, lines, strict=True)]
    return "\n\n".join(filter(None, [title, plot, table(cells), *failures(results)]))


def _row(result: Result, line: list[str]) -> list[str]:
    name, *rest = line
    return [f"**{name}**" if result.peer.ours else name, *rest]


def _link(path: Path, plots: Path | None, measured: Table) -> str:
    """A link to the plot, relative to the file."""
    workload, results = measured
    if plots is None or not any(result.complete for result in results):
        return ""
    folder = Path(os.path.relpath(plots, path.parent)).as_posix()
    return f"![{_alternative(measured)}]({folder}/{workload.name}.svg)"


def _alternative(measured: Table) -> str:
    """The alternative text of the plot: its values."""
    workload, results = measured
    values = (f"{one.peer.name} {median(one.shown()):.3g}" for one in results if one.complete)
    return f"{workload.name}, {workload.unit}: {', '.join(values)}"


def table(lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose first line is the header."""
    head, *rest = (f"| {' | '.join(line)} |" for line in lines)
    rule = f"| {' | '.join('---' for _ in lines[0])} |"
    return "\n".join([head, rule, *rest])
