"""Runs the package's own tests: `python tests [NAME]…`, for a module, a class or a test.

Without a name, all modules run, each in a process of its own, as many at once as there are cores.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import subprocess
import sys
import time
import unittest
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

# The modules that pass on Windows, apart from tests that they skip there.
ON_WINDOWS = [
    "test_asyncio_applications",
    "test_asyncio_child_streams",
    "test_asyncio_children",
    "test_asyncio_connecting",
    "test_asyncio_datagrams",
    "test_asyncio_debug",
    "test_asyncio_descriptors",
    "test_asyncio_faults",
    "test_asyncio_interface",
    "test_asyncio_loop",
    "test_asyncio_named_pipes",
    "test_asyncio_native_streams",
    "test_asyncio_pipes",
    "test_asyncio_sendfile",
    "test_asyncio_serving",
    "test_asyncio_sockets",
    "test_asyncio_streams",
    "test_asyncio_tls",
    "test_asyncio_tls_endings",
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

# A module that takes longer hangs; the stacks of its threads then show where.
LIMIT_SECONDS = 400

# The modules that take longest begin first, so that no core has nothing to do at the end.
LONGEST = [
    "test_leaks",
    "test_asyncio_connections",
    "test_asyncio_faults",
    "test_endings",
    "test_scrapy",
    "test_asyncio_applications",
    "test_two_faces",
    "test_exceptions",
]


def all_modules() -> list[str]:
    found = ON_WINDOWS if sys.platform == "win32" else [file.stem for file in Path(__file__).parent.glob("test_*.py")]
    return sorted(found, key=lambda name: (LONGEST.index(name) if name in LONGEST else len(LONGEST), name))


def run_all() -> int:
    """Runs all modules, and shows the output of each when it has ended; returns the exit code."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return max(pool.map(run_process, all_modules()))


def run_process(module: str) -> int:
    started = time.monotonic()
    command = [sys.executable, str(Path(__file__).parent), module]
    ended = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output = ended.stdout.decode(errors="replace")
    took = time.monotonic() - started
    crash = "" if ended.returncode in (0, 1) else f"FAILED {module}: exit code {ended.returncode}\n"
    sys.stdout.write(f"---- {module}, {took:.1f} s\n{output}{crash}")
    sys.stdout.flush()
    return 0 if ended.returncode == 0 else 1


def run_here(names: list[str]) -> int:
    """Runs the named tests in this process; returns the exit code."""
    faulthandler.dump_traceback_later(LIMIT_SECONDS, exit=True)
    suite = unittest.defaultTestLoader.loadTestsFromNames(names)
    result = unittest.TextTestRunner(stream=sys.stdout, verbosity=2).run(suite)
    failed = len(result.failures) + len(result.errors) + len(result.unexpectedSuccesses)
    passed = result.testsRun - failed - len(result.skipped)
    print(
        f"test result: {'FAILED' if failed else 'ok'}. {passed} passed; {failed} failed; {len(result.skipped)} ignored"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    # A shell lets its background jobs ignore the signal, and so would the programs that the tests interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    names = sys.argv[1:]
    sys.exit(run_here(names) if names else run_all())
