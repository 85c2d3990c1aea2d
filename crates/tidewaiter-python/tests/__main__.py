"""Runs the package's own tests: `python tests [NAME]…`, for a module, a class or a test."""

from __future__ import annotations

import faulthandler
import sys
import unittest
from pathlib import Path

# The modules that pass on Windows, apart from tests that they skip there. `test_asyncio_applications` passes, too, but
# takes long to start its programs: run it by name.
ON_WINDOWS = [
    "test_asyncio_children",
    "test_asyncio_datagrams",
    "test_asyncio_debug",
    "test_asyncio_loop",
    "test_asyncio_pipes",
    "test_asyncio_sockets",
    "test_asyncio_streams",
    "test_beneath",
    "test_children",
    "test_datagrams",
    "test_endings",
    "test_examples",
    "test_exceptions",
    "test_extremes",
    "test_interrupts",
    "test_numbers",
    "test_reactors",
    "test_serial_ports",
    "test_stdio",
    "test_strangers",
    "test_terminals",
    "test_two_faces",
    "test_windows",
]

# A run that takes longer hangs; the stacks of its threads then show where.
LIMIT_SECONDS = 800


def main() -> int:
    faulthandler.dump_traceback_later(LIMIT_SECONDS, exit=True)
    loader = unittest.defaultTestLoader
    names = sys.argv[1:] or (ON_WINDOWS if sys.platform == "win32" else [])
    if names:
        suite = loader.loadTestsFromNames(names)
    else:
        suite = loader.discover(str(Path(__file__).parent))
    result = unittest.TextTestRunner(stream=sys.stdout, verbosity=2).run(suite)
    failed = len(result.failures) + len(result.errors) + len(result.unexpectedSuccesses)
    passed = result.testsRun - failed - len(result.skipped)
    print(
        f"test result: {'FAILED' if failed else 'ok'}. {passed} passed; {failed} failed; {len(result.skipped)} ignored"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
