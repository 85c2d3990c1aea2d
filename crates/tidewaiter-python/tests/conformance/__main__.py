"""Runs Twisted's own test suite on one reactor: `python tests/conformance SUITE REACTOR`.

`builder` runs the suites that Twisted writes once for every reactor. `global` runs all of Twisted's tests, with the
reactor installed. `layout` checks the class for attributes that both need, but whose absence neither reports clearly.

A test that does not pass runs once more in a fresh process, and counts as flaky if it passes then. With `--peer`, the
tests that still do not pass run on that reactor too, on the same machine. A test that does not pass there either is
blamed on the machine; the others are failures. We keep no list of known failures.
"""

from __future__ import annotations

import argparse
import collections
import importlib.util
import os
import sys
from pathlib import Path

import layout
from supervisor import Outcome, Suite

REACTORS = {
    "tidewaiter": "tidewaiter.twisted.Reactor",
    "epoll": "twisted.internet.epollreactor.EPollReactor",
    "iocp": "twisted.internet.iocpreactor.reactor.IOCPReactor",
}

# If more tests fail than this, they have one common cause in the reactor.
TOO_MANY = 50


def modules_of(kind: str) -> list[str]:
    """The names of Twisted's test modules: all, or only those with suites for every reactor."""
    spec = importlib.util.find_spec("twisted")
    assert spec is not None and spec.origin is not None, "Twisted is not installed"
    package = Path(spec.origin).parent
    names = []
    for file in sorted(package.rglob("test_*.py")):
        # This module tests the suites themselves, on reactors of its own.
        if file.stem == "test_reactormixins" and kind == "builder":
            continue
        if kind == "global" or "makeTestCaseClasses" in file.read_text(encoding="utf-8"):
            names.append(".".join(file.relative_to(package.parent).with_suffix("").parts))
    return names


def run_again(suite: Suite, outcomes: dict[str, Outcome], names: set[str]) -> dict[str, Outcome]:
    """Runs only these tests."""
    modules = sorted({outcomes[name].module for name in names})
    return suite.run(modules, names) if names else {}


def passes(outcome: Outcome) -> bool:
    return outcome.status in ("pass", "todo", "loaded")


class Judgement:
    """The results of a run on one reactor, compared with those of another."""

    def __init__(self, suite: Suite, modules: list[str], peer: str | None) -> None:
        self.outcomes = suite.run(modules)
        self.flaky: set[str] = set()
        failures = self.bad()
        self.failures = failures
        if len(failures) > TOO_MANY:
            print(f"{len(failures)} tests fail, too many to look at each: no test is run again")
            return
        again = run_again(suite, self.outcomes, failures)
        for name in failures & again.keys():
            if not again[name].bad:
                self.flaky.add(name)
                self.outcomes[name] = again[name]
        self.failures = self.bad()
        if peer is not None:
            self.failures = self.worse_than(Suite(suite.kind, peer, jobs=suite.jobs))

    def bad(self) -> set[str]:
        return {name for name, outcome in self.outcomes.items() if outcome.bad}

    def worse_than(self, peer: Suite) -> set[str]:
        """The tests that fail on this reactor only, and those that it skips but the other passes."""
        suspects = {name for name, outcome in self.outcomes.items() if not passes(outcome)}
        print(f"{len(suspects)} tests do not pass: the same on {peer.reactor}", flush=True)
        theirs = run_again(peer, self.outcomes, suspects)
        return {
            name
            for name in suspects
            if name not in theirs or passes(theirs[name]) or (self.outcomes[name].bad and not theirs[name].bad)
        }

    def report(self, least: int) -> bool:
        """Prints the comparison, and returns whether the reactor passes."""
        tests = {name: it for name, it in self.outcomes.items() if it.status != "loaded"}
        for name in sorted(self.failures):
            print(f"\nFAILED {name}: {tests[name].status}\n{tests[name].detail.strip()}")
        for name in sorted(self.bad() - self.failures):
            print(f"fails on the other reactor too: {name}")
        for name in sorted(self.flaky):
            print(f"flaky, passed when run again: {name}")
        reasons = collections.Counter(it.detail for it in tests.values() if it.status == "skip")
        for reason, count in reasons.most_common():
            print(f"skipped {count:4}: {reason}")
        passed = sum(passes(it) for it in tests.values())
        ignored = len(tests) - passed - len(self.failures)
        well = not self.failures and passed >= least
        if passed < least:
            print(f"FAILED: {passed} tests passed, expected are at least {least}")
        print(
            f"test result: {'ok' if well else 'FAILED'}. {passed} passed; "
            f"{len(self.failures)} failed; {ignored} ignored; {len(self.flaky)} flaky"
        )
        return well


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", choices=["builder", "global", "layout"])
    parser.add_argument("reactor", help=f"a class, or one of {', '.join(REACTORS)}")
    parser.add_argument("--peer", help="the reactor to compare with: a class or a name")
    parser.add_argument("--modules", default="", help="only modules whose names have this in them")
    parser.add_argument("--tests", default="", help="only tests whose names match this expression")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes at once")
    parser.add_argument("--at-least", type=int, default=1, help="how many tests must pass")
    parser.add_argument("--verbose", action="store_true", help="name every test")
    options = parser.parse_args()
    reactor = REACTORS.get(options.reactor, options.reactor)
    if options.suite == "layout":
        return 0 if layout.check(reactor) else 1
    wanted = options.modules.split(",")
    modules = [
        name
        for name in modules_of(options.suite)
        if not options.modules or any(name.endswith(f"test_{part}") for part in wanted)
    ]
    suite = Suite(options.suite, reactor, options.tests, options.jobs, options.verbose)
    peer = REACTORS.get(options.peer, options.peer)
    return 0 if Judgement(suite, modules, peer).report(options.at_least) else 1


if __name__ == "__main__":
    sys.exit(main())
