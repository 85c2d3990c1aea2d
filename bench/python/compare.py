"""Compares two Twisted reactors: interleaved rounds, each in fresh processes, medians with spread.

    python bench/python/compare.py --ours tidewaiter.twisted --peer twisted.internet.epollreactor

Without names of workloads it runs those of the system. See the README beside it.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from catalogue import ROWS, Row
from harness.noise import Watch, cpu_seconds, wine_server
from harness.processes import Failed, cpu_per, drive, load_program, raise_descriptor_limit, started, told
from report import Comparison, Run, table, write_csv

TRIES = 3
# A server that takes longer to stop is killed; what was measured before still counts.
STOP_SECONDS_MAX = 5
# With `--assert`, a row that misses its aim is measured so many times longer before it fails.
PATIENCE = 3


@dataclass
class Bench:
    """What all runs have in common."""

    python: list[str]
    load: str | None
    seconds: float
    port: str | None
    windows: bool

    def run(self, row: Row, module: str, ours: bool) -> Run:
        """One measurement in fresh processes; what fails by chance, as Wine does, is tried again."""
        for left in reversed(range(TRIES)):
            watch = Watch()
            try:
                value, extra = (self._served if row.load else self._alone)(row, module, ours)
            except Failed as failed:
                if not left:
                    raise
                print(f"{row.name} is tried again: {failed}", file=sys.stderr)
            else:
                return Run(value, watch.stop(), extra)
        raise AssertionError("the last try returns or raises")

    def _alone(self, row: Row, module: str, ours: bool) -> tuple[float, dict[str, float]]:
        wine = wine_server() if self.windows else None
        wine_before = wine_after = None
        result: dict[str, float] | None = None
        with self._process(row, module, ours) as (process, lines):
            for line in lines:
                if line.get("mark") == "begin" and wine:
                    wine_before = cpu_seconds(wine)
                elif line.get("mark") == "end" and wine:
                    wine_after = cpu_seconds(wine)
                elif "result" in line:
                    result = line["result"]
            process.wait()
        if result is None:
            raise Failed("the process ended without a result")
        if wine_before is not None and wine_after is not None:
            result["wineserver_ms"] = (wine_after - wine_before) * 1000
        return result.pop("value"), result

    def _served(self, row: Row, module: str, ours: bool) -> tuple[float, dict[str, float]]:
        if self.load is None:
            raise Failed("there is no load program: build it, or name it with --load")
        with self._process(row, module, ours) as (process, lines):
            port = next((line["port"] for line in lines if "port" in line), None)
            if port is None:
                raise Failed("the server did not start")
            seconds = ["--duration", str(int(self.seconds * 1000))]
            cpu, figures = drive(self.load, [*row.load, *seconds], port, process.pid)
            process.terminate()
            overdue = threading.Timer(STOP_SECONDS_MAX, process.kill)
            overdue.start()
            for line in lines:
                figures.update(line.get("result", {}))
            overdue.cancel()
            if "peak_kib" not in figures:
                print(f"{row.name}: {module} did not stop when terminated", file=sys.stderr)
        return cpu_per(row.per, cpu, figures), figures

    @contextmanager
    def _process(self, row: Row, module: str, ours: bool):
        environment = dict(os.environ)
        if ours and self.port:
            environment["TIDEWAITER_PORT"] = self.port
        command = [*self.python, str(HERE / "measure.py"), row.workload, module]
        core = 0 if row.pinned else None
        with started(command, core=core, environment=environment) as (process, output):
            yield process, told(output)


def compare(bench: Bench, row: Row, arguments: argparse.Namespace) -> Comparison:
    """All rounds of one row, ours and the peer in turn; who begins changes from round to round."""
    comparison = Comparison(row)
    rounds = arguments.rounds
    sides = [(comparison.ours, arguments.ours, True), (comparison.peer, arguments.peer, False)]
    number = 0
    try:
        while number < rounds:
            for runs, module, ours in sides if number % 2 == 0 else reversed(sides):
                runs.append(bench.run(row, module, ours))
            number += 1
            missed = comparison.reached() is False
            if number == rounds and arguments.demand and missed:
                rounds = min(rounds + 2, arguments.rounds * PATIENCE)
    except Failed as failed:
        comparison.failure = str(failed)
    return comparison


def _chosen(names: list[str], windows: bool) -> Iterator[Row]:
    unknown = set(names) - {row.name for row in ROWS}
    if unknown:
        raise SystemExit(f"no such workload: {', '.join(sorted(unknown))}")
    here = {"all", "nt" if windows else "posix"}
    for row in ROWS:
        if row.name in names or (not names and row.system in here):
            yield row


def _load_program(arguments: argparse.Namespace, rows: list[Row]) -> str | None:
    """The one named, or the one built now."""
    if arguments.load or not any(row.load for row in rows):
        return arguments.load
    return load_program(["tls"] if any("--tls" in row.load for row in rows) else [])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("workloads", nargs="*", help="those of the system, if none is named")
    default_peer = "iocpreactor" if os.name == "nt" else "epollreactor"
    parser.add_argument("--ours", default="tidewaiter.twisted", help="a module with install()")
    parser.add_argument("--peer", default=f"twisted.internet.{default_peer}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="measured under load")
    parser.add_argument("--port", help="force ours onto it: uring, poll, iocp")
    parser.add_argument("--load", help="the load program; built with cargo if not given")
    parser.add_argument("--python", default=sys.executable, help="may be 'wine …/python.exe'")
    parser.add_argument("--csv", type=Path, help="every single run, into this file")
    parser.add_argument("--assert", dest="demand", action="store_true", help="fail if an aim is missed")
    return parser.parse_args()


def main() -> int:
    """Measures, prints as it goes, and returns whether all aims are reached if that was asked."""
    arguments = _arguments()
    python = [arguments.python] if Path(arguments.python).exists() else shlex.split(arguments.python)
    windows = os.name == "nt" or Path(python[0]).name.startswith("wine")
    rows = list(_chosen(arguments.workloads, windows))
    raise_descriptor_limit()
    load = _load_program(arguments, rows)
    bench = Bench(python, load, arguments.seconds, arguments.port, windows)
    print(f"ours {arguments.ours}, peer {arguments.peer}, {arguments.rounds} rounds")
    comparisons = []
    for row in rows:
        comparisons.append(compare(bench, row, arguments))
        print(table(comparisons[-1:]).split("\n")[1], flush=True)
    print("\n" + table(comparisons))
    if arguments.csv:
        write_csv(arguments.csv, comparisons)
    missed = [one for one in comparisons if one.reached() is False]
    failed = any(one.failure for one in comparisons)
    return 1 if failed or (arguments.demand and missed) else 0


if __name__ == "__main__":
    sys.exit(main())
