"""Runs Twisted's test modules in this process by trial, as a worker of `supervisor.py`."""

from __future__ import annotations

import faulthandler
import json
import os
import re
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

# Nothing here may import `twisted.internet.reactor`, because the plan names the reactor to install.
from twisted.internet import main as internet_main
from twisted.internet.test import reactormixins
from twisted.python import log
from twisted.python.reflect import namedAny
from twisted.trial import reporter, runner, unittest, util

# The outcomes in ascending order. A test that reports several gets the last one in this order.
RANKS = ("pass", "todo", "skip", "unexpected", "fail", "error")


# Twisted skips these for its own reactors on epoll and kqueue, which it knows by the names of their classes: the
# kernel forgets a descriptor that was closed behind its back, and no reactor on it can tell.
BEYOND_THE_KERNEL = {"test_lostFileDescriptor": "the kernel tells nobody of lost file descriptors"}


class Verdict(reporter.TestResult):
    """Records the worst outcome that a test reports."""

    def __init__(self) -> None:
        super().__init__()
        self.status = ""
        self.detail = ""

    def note(self, status: str, detail: str = "") -> None:
        if not self.status or RANKS.index(status) > RANKS.index(self.status):
            self.status, self.detail = status, detail

    def addSuccess(self, test: Any) -> None:
        self.note("pass")

    def addSkip(self, test: Any, reason: object) -> None:
        self.note("skip", str(reason))

    def addFailure(self, test: Any, fail: Any) -> None:
        self.note("fail", traceback_of(fail))

    def addError(self, test: Any, error: Any) -> None:
        self.note("error", traceback_of(error))

    def addExpectedFailure(self, test: Any, failure: Any, todo: Any = None) -> None:
        self.note("todo")

    def addUnexpectedSuccess(self, test: Any, todo: Any = None) -> None:
        self.note("unexpected", "passes, though Twisted expects it to fail")


def traceback_of(failure: Any) -> str:
    """The end of a traceback, which trial passes in one of two forms."""
    text = failure.getTraceback() if hasattr(failure, "getTraceback") else repr(failure[1])
    return str(text)[-3000:]


def refuse_silence() -> None:
    """Turns a failure to build a reactor into an error: Twisted would skip every test for it."""
    build_or_skip = reactormixins.ReactorBuilder.buildReactor

    def build(self: Any) -> Any:
        try:
            return build_or_skip(self)
        except unittest.SkipTest as reason:
            if "does not provide" in str(reason):
                raise
            raise AssertionError(f"the reactor could not be built: {reason}") from reason

    reactormixins.ReactorBuilder.buildReactor = build


def prepare(plan: dict[str, Any]) -> None:
    """Installs the reactor, before any test module is loaded."""
    reactor = namedAny(plan["reactor"])
    if plan["suite"] == "builder":
        reactormixins.ReactorBuilder._reactors = [plan["reactor"]]
        refuse_silence()
    else:
        reactormixins.ReactorBuilder._reactors = []
        internet_main.installReactor(reactor())
    util.DEFAULT_TIMEOUT_DURATION = plan["seconds"]
    reactormixins.DEFAULT_TIMEOUT_DURATION = plan["seconds"]
    log.startLoggingWithObserver(log.FileLogObserver(sys.stderr).emit, setStdout=False)


def leaves(suite: Any) -> Iterator[Any]:
    """The tests of a suite, including those of nested suites."""
    try:
        parts = iter(suite)
    except TypeError:
        yield suite
        return
    for part in parts:
        yield from leaves(part)


class Run:
    """The tests of one plan, one after another."""

    def __init__(self, plan: dict[str, Any], records: TextIO) -> None:
        self.plan = plan
        self.records = records
        self.finished = set(plan["finished"])
        self.only = None if plan["only"] is None else set(plan["only"])
        self.pattern = re.compile(plan["pattern"])
        self.name = plan["reactor"].rpartition(".")[2]

    def tell(self, **record: str) -> None:
        self.records.write(json.dumps(record) + "\n")

    def identify(self, test: Any) -> str:
        """A test's name without the reactor's name, so that it is the same for each reactor."""
        return str(test.id()).replace(f"_{self.name}Tests.", ".")

    def wanted(self, test: Any, name: str) -> bool:
        builder = isinstance(test, reactormixins.ReactorBuilder)
        generated = builder and type(test).__name__.endswith(f"_{self.name}Tests")
        return (
            (generated or self.plan["suite"] == "global")
            and name not in self.finished
            and (self.only is None or name in self.only)
            and self.pattern.search(name) is not None
        )

    def module(self, module: str) -> None:
        loading = f"{module} (loading)"
        if loading in self.finished:
            return
        self.tell(begin=loading, module=module)
        try:
            tests = list(leaves(runner.TestLoader().loadByName(module)))
        except BaseException as error:
            self.tell(end=loading, status="error", detail=repr(error))
            return
        self.tell(end=loading, status="loaded", detail="")
        for test in tests:
            name = self.identify(test)
            if self.wanted(test, name):
                self.test(module, name, test)

    def test(self, module: str, name: str, test: Any) -> None:
        folder = os.getcwd()
        self.tell(begin=name, module=module)
        verdict = Verdict()
        beyond = BEYOND_THE_KERNEL.get(name.rpartition(".")[2])
        if beyond is not None:
            test.skip = beyond
        try:
            test(verdict)
        except BaseException as error:
            verdict.note("error", f"{error!r} came out of the test")
        os.chdir(folder)
        if not verdict.status:
            verdict.note("error", "the test reported nothing")
        self.tell(end=name, status=verdict.status, detail=verdict.detail)


def main() -> None:
    # Tests write to standard output, so send the records to a descriptor that no child inherits.
    records = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)
    faulthandler.enable()
    plan = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    prepare(plan)
    warnings.simplefilter("ignore")
    run = Run(plan, records)
    for module in plan["modules"]:
        run.module(module)
    if plan["suite"] == "global":
        # Trial does this at the end of a run: it ends the thread pools, so that the process can end.
        from twisted.internet import reactor

        reactor.fireSystemEvent("shutdown")
    run.tell(done="yes")
    # Exit at once, so that threads and objects that tests left cannot affect the process's end.
    records.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
