"""Runs the tests of others on one reactor or loop: `python tests/conformance SUITE SUBJECT`.

Twisted's own tests, on a reactor: `builder` runs the suites that Twisted writes once for every reactor. `global` runs
all of Twisted's tests, with the reactor installed. `layout` checks the class for attributes that both need, but whose
absence neither reports clearly.

The other suites (`asyncio_suites.py`) run on a loop, which is asyncio's default one meanwhile, in children of the tests
as well: `tidewaiter`, `asyncio`, or `module:factory`. CPython's own are `mixins` and `modules`.

A test that does not pass runs once more in a fresh process, and counts as flaky if it passes then. With `--peer`, the
tests that still do not pass run on that reactor or loop too, on the same machine. A test that does not pass there
either is blamed on the machine. The others get a last try, one at a time, because the peer had the better moment if
the machine is busy; then they are failures. `exceptions.txt` has the few that do not run, with reasons.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import asyncio_suites
from judgement import Judgement, exceptions
from supervisor import Suite

REACTORS = {
    "tidewaiter": "tidewaiter.twisted.Reactor",
    "epoll": "twisted.internet.epollreactor.EPollReactor",
    "iocp": "twisted.internet.iocpreactor.reactor.IOCPReactor",
    "asyncio": "twisted.internet.asyncioreactor.AsyncioSelectorReactor",
}

# Twisted's own limit for a test. After twice as long, the supervisor ends the process.
TEST_SECONDS = 20.0


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


def twisted_suite(options: argparse.Namespace, reactor: str) -> tuple[Suite, Suite | None, list[str]]:
    """One of Twisted's suites on a reactor, the same on the peer, and its modules."""

    def on(reactor: str, environment: dict[str, str]) -> Suite:
        settings = {"suite": options.suite, "reactor": reactor, "seconds": TEST_SECONDS}
        limit = 2 * TEST_SECONDS
        return Suite(options.suite, reactor, "trial_worker.py", settings, environment, limit, **run_options(options))

    peer = REACTORS.get(options.peer, options.peer)
    suite = on(reactor, asyncio_suites.environment(options.loop))
    return suite, None if peer is None else on(peer, {}), modules_of(options.suite)


def asyncio_suite(options: argparse.Namespace, folder: Path) -> tuple[Suite, Suite | None, list[str]]:
    """One of the suites for asyncio on a loop, the same on the peer, and its modules."""
    found = asyncio_suites.SUITES[options.suite]
    found.unpack(options.sources, folder)

    def on(loop: str) -> Suite:
        settings = {
            "folder": str(folder),
            "options": found.arguments(),
            "without": list(exceptions(options.suite)),
        }
        environment = asyncio_suites.environment(loop)
        return Suite(
            options.suite,
            loop,
            "pytest_worker.py",
            settings,
            environment,
            modules_per_worker=1,
            **run_options(options),
        )

    return on(options.subject), on(options.peer) if options.peer else None, found.modules(folder)


def run_options(options: argparse.Namespace) -> dict[str, Any]:
    return {"pattern": options.tests, "jobs": options.jobs, "verbose": options.verbose}


def wanted(modules: list[str], parts: str) -> list[str]:
    """The modules of these names, which may leave out the beginning, or all."""
    ends = tuple(f"{start}{part}" for part in parts.split(",") for start in ("test_", "::"))
    return [name for name in modules if not parts or name.removesuffix(".py").endswith(ends)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", choices=["builder", "global", "layout", *asyncio_suites.SUITES])
    parser.add_argument("subject", help=f"a reactor: a class, or one of {', '.join(REACTORS)}; or a loop, see above")
    parser.add_argument("--peer", help="the reactor or the loop to compare with")
    parser.add_argument("--loop", default="asyncio", help="asyncio's default loop, for a reactor that runs on one")
    parser.add_argument("--sources", type=Path, help="the folder of the source packages that have the tests")
    parser.add_argument("--modules", default="", help="only modules whose names end so")
    parser.add_argument("--tests", default="", help="only tests whose names match this expression")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes at once")
    parser.add_argument("--at-least", type=int, default=1, help="how many tests must pass")
    parser.add_argument("--verbose", action="store_true", help="name every test")
    options = parser.parse_args()
    reactor = REACTORS.get(options.subject, options.subject)
    if options.suite == "layout":
        # The suites for asyncio need no Twisted.
        import layout

        return 0 if layout.check(reactor) else 1
    with tempfile.TemporaryDirectory(prefix="conformance-", ignore_cleanup_errors=True) as folder:
        if options.suite in asyncio_suites.SUITES:
            suite, peer, modules = asyncio_suite(options, Path(folder))
        else:
            suite, peer, modules = twisted_suite(options, reactor)
        judgement = Judgement(suite, wanted(modules, options.modules), peer)
        return 0 if judgement.report(options.at_least) else 1


if __name__ == "__main__":
    sys.exit(main())
