"""Runs test modules in this process by pytest, as a worker of `supervisor.py`."""

from __future__ import annotations

import faulthandler
import json
import os
import re
import sys
from pathlib import Path
from typing import Any, TextIO

import pytest

# The outcomes in ascending order. A test that reports several gets the last one in this order.
RANKS = ("pass", "todo", "skip", "fail", "error")
# Reports of resources that a test left belong to no test; the others would change what the tests log.
WITHOUT = ("cacheprovider", "randomly", "unraisableexception", "threadexception", "faulthandler")
LOOPS = Path(__file__).resolve().parent / "loops"


class Recorder:
    """A plugin that selects the tests of a plan, and tells what comes of them."""

    def __init__(self, plan: dict[str, Any], records: TextIO) -> None:
        self.records = records
        [self.module] = plan["modules"]
        self.finished = set(plan["finished"])
        self.only = None if plan["only"] is None else set(plan["only"])
        self.pattern = re.compile(plan["pattern"])
        self.without = [re.compile(expression) for expression in plan["without"]]
        self.status, self.detail = "", ""

    def tell(self, **record: str) -> None:
        self.records.write(json.dumps(record) + "\n")

    def note(self, status: str, detail: str = "") -> None:
        if not self.status or RANKS.index(status) > RANKS.index(self.status):
            self.status, self.detail = status, detail[-3000:]

    def wanted(self, name: str) -> bool:
        return (
            name not in self.finished
            and (self.only is None or name in self.only)
            and self.pattern.search(name) is not None
            and not any(pattern.search(name) for pattern in self.without)
        )

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if self.wanted(item.nodeid)]

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        loading = f"{report.nodeid or self.module} (loading)"
        if report.failed and self.wanted(loading):
            self.tell(begin=loading, module=self.module)
            self.tell(end=loading, status="error", detail=report.longreprtext[-3000:])

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.status, self.detail = "", ""
        self.tell(begin=nodeid, module=self.module)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if hasattr(report, "wasxfail") and not report.failed:
            self.note("todo")
        elif report.skipped:
            # The reason stands after the place.
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            self.note("skip", reason.removeprefix("Skipped: "))
        elif report.failed:
            self.note("fail" if report.when == "call" else "error", report.longreprtext)
        elif report.when == "call":
            self.note("pass")

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        if not self.status:
            self.note("error", "the test reported nothing")
        self.tell(end=nodeid, status=self.status, detail=self.detail)


def main() -> None:
    # Tests write to standard output, so send the records to a descriptor that no child inherits.
    records = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)
    faulthandler.enable()
    plan = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    os.chdir(plan["folder"])
    # A Python that ignores `PYTHONPATH` has not imported it yet.
    sys.path.insert(0, str(LOOPS))
    import sitecustomize  # noqa: F401

    # Test modules may adapt themselves by modules of this folder.
    sys.path.insert(1, str(Path(__file__).resolve().parent))
    recorder = Recorder(plan, records)
    plugins = [word for name in WITHOUT for word in ("-p", f"no:{name}")]
    # Tests of standard output need the real one. pytest's own tracebacks parse the source, which may fail.
    options = ["--quiet", "--capture=no", "--tb=native", *plugins, *plan["options"]]
    code = pytest.main([*options, *plan["modules"]], plugins=[recorder])
    if code in (pytest.ExitCode.USAGE_ERROR, pytest.ExitCode.INTERNAL_ERROR):
        records.flush()
        os._exit(int(code))
    recorder.tell(done="yes")
    # Exit at once, so that threads and objects that tests left cannot affect the process's end.
    records.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
