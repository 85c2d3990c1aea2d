"""A whole run as Markdown, in the form in which a document of the project holds it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from harness.aims import judged
from harness.records import Table
from harness.report import failures, rows
from harness.results import Result

_OUTCOMES = {True: "reached", False: "**missed**", None: "not measured"}


def write(
    path: Path, name: str, told: Sequence[dict[str, str]], tables: Sequence[Table], plots: Path | None
) -> None:
    """Writes the file, or what stands in it between the lines for the comparison of that name."""
    first, last = (f"<!-- measured {name}: {edge} -->" for edge in ("begin", "end"))
    results = [result for _workload, of_workload in tables for result in of_workload]
    disturbed = sum(result.disturbed() for result in results)
    runs = f"{sum(len(result.runs) for result in results)}, of which disturbed: {disturbed}"
    parts = [settings([*told, {"runs": runs}]), _aims(tables)]
    parts += [_section(one, _link(path, plots, one)) for one in tables]
    measured = f"{first}\n\n" + "\n\n".join(filter(None, parts)) + f"\n\n{last}\n"
    old = path.read_text() if path.exists() else ""
    before, begin, rest = old.partition(first + "\n")
    _replaced, end, after = rest.partition(last + "\n")
    path.write_text(before + measured + after if begin and end else measured)


def settings(told: Sequence[dict[str, str]]) -> str:
    """What the runs tell of how they were made; what they do not agree in is told of each."""
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
    return f"### Aims\n\n{reached} of {len(verdicts)} are reached.\n\n{table(lines)}"


def _section(measured: Table, plot: str) -> str:
    workload, results = measured
    head, *lines = rows(workload, results)
    # Whatever wins is named in the heading; the table's corner stays empty.
    title = f"### {workload.name}\n\n{head[1]}; {head[-1].strip('()')}."
    cells = [["", *head[1:-1], ""]]
    cells += [_row(result, line) for result, line in zip(results, lines, strict=True)]
    return "\n\n".join(filter(None, [title, plot, table(cells), *failures(results)]))


def _row(result: Result, line: list[str]) -> list[str]:
    name, *rest = line
    return [f"**{name}**" if result.peer.ours else name, *rest]


def _link(path: Path, plots: Path | None, measured: Table) -> str:
    """The plot, as it is found from the file."""
    workload, results = measured
    if plots is None or not any(result.complete for result in results):
        return ""
    folder = Path(os.path.relpath(plots, path.parent)).as_posix()
    return f"![{_alternative(measured)}]({folder}/{workload.name}.svg)"


def _alternative(measured: Table) -> str:
    """The plot in words."""
    workload, results = measured
    values = (f"{one.peer.name} {median(one.shown()):.3g}" for one in results if one.complete)
    return f"{workload.name}, {workload.unit}: {', '.join(values)}"


def table(lines: Sequence[Sequence[str]]) -> str:
    """The first line is the head."""
    head, *rest = (f"| {' | '.join(line)} |" for line in lines)
    rule = f"| {' | '.join('---' for _ in lines[0])} |"
    return "\n".join([head, rule, *rest])
