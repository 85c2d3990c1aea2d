"""Judges the results of a suite by those of the same tests on a peer."""

from __future__ import annotations

import collections
import dataclasses
import os
from pathlib import Path

from supervisor import Outcome, Suite

EXCEPTIONS = Path(__file__).with_name("exceptions.txt")
# If more tests fail than this, they have one common cause.
TOO_MANY = 50
# If more tests fail here only, the machine's load is not the cause.
MANY = 10


def exceptions(suite: str) -> dict[str, str]:
    """The tests of a suite that do not run: the reasons by expressions, which match the ends of their names."""
    suites = (suite, f"{suite}-windows") if os.name == "nt" else (suite,)
    reasons = {}
    for line in EXCEPTIONS.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            test, _, reason = line.partition(": ")
            name, _, expression = test.partition(" ")
            if name in suites:
                reasons[f"(?:{expression})$"] = reason
    return reasons


def run_again(suite: Suite, outcomes: dict[str, Outcome], names: set[str]) -> dict[str, Outcome]:
    """Runs only these tests."""
    modules = sorted({outcomes[name].module for name in names})
    return suite.run(modules, names) if names else {}


def passes(outcome: Outcome) -> bool:
    return outcome.status in ("pass", "todo", "loaded")


class Judgement:
    """The results of a run, compared with those of the same tests on a peer."""

    def __init__(self, suite: Suite, modules: list[str], peer: Suite | None) -> None:
        self.exceptions = exceptions(suite.name)
        self.outcomes = suite.run(modules)
        self.flaky: set[str] = set()
        failures = self.bad()
        self.failures = failures
        if len(failures) > TOO_MANY:
            print(f"{len(failures)} tests fail, too many to look at each: no test is run again")
            return
        self.try_again(suite, failures)
        self.failures = self.bad()
        if peer is not None:
            self.failures = self.worse_than(peer)
            if 0 < len(self.failures) <= MANY:
                print(f"{len(self.failures)} tests fail here only: once more, one at a time", flush=True)
                self.try_again(dataclasses.replace(suite, jobs=1), self.failures)
                self.failures -= {name for name in self.flaky if passes(self.outcomes[name])}

    def try_again(self, suite: Suite, failures: set[str]) -> None:
        again = run_again(suite, self.outcomes, failures)
        for name in failures & again.keys():
            if self.outcomes[name].bad and not again[name].bad:
                self.flaky.add(name)
                self.outcomes[name] = again[name]

    def bad(self) -> set[str]:
        return {name for name, outcome in self.outcomes.items() if outcome.bad}

    def worse_than(self, peer: Suite) -> set[str]:
        """The tests that fail here only, and those that are skipped here but pass on the peer."""
        suspects = {name for name, outcome in self.outcomes.items() if not passes(outcome)}
        print(f"{len(suspects)} tests do not pass: the same on {peer.subject}", flush=True)
        theirs = run_again(peer, self.outcomes, suspects)
        return {
            name
            for name in suspects
            if name not in theirs or passes(theirs[name]) or (self.outcomes[name].bad and not theirs[name].bad)
        }

    def report(self, least: int) -> bool:
        """Prints the comparison, and returns whether the suite passes."""
        tests = {name: it for name, it in self.outcomes.items() if it.status != "loaded"}
        for name in sorted(self.failures):
            print(f"\nFAILED {name}: {self.outcomes[name].status}\n{self.outcomes[name].detail.strip()}")
        for expression, reason in self.exceptions.items():
            print(f"did not run: {expression}: {reason}")
        for name in sorted(self.bad() - self.failures):
            print(f"fails on the peer too: {name}")
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
