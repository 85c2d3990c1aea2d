"""Runs each scenario that needs a reactor in its own process, so that a hang or a crash costs one test.

`TEST_REACTOR` names the reactor: `tidewaiter` unless set. With `epoll`, `select` or `iocp` the same tests show
what Twisted's own reactors do: this is how we verified each test.
"""

import json
import os
import pathlib
import select
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
import unittest

REACTOR = os.environ.get("TEST_REACTOR", "tidewaiter")
OURS = REACTOR == "tidewaiter"
WINDOWS = sys.platform == "win32"
HERE = pathlib.Path(__file__).resolve().parent
# How long a process may take for what a test expects of it: under Wine, some take 20 s to start on a loaded machine.
LIMIT_SECONDS = 90.0
EXAMPLES = HERE.parents[2] / "examples" / "python"

ours_only = unittest.skipUnless(OURS, "a promise of tidewaiter that Twisted's own reactors do not make")
needs_fork = unittest.skipUnless(hasattr(os, "fork"), "this system has no fork")
needs_proc = unittest.skipUnless(os.path.isdir("/proc/self/fd"), "needs /proc to count what a process holds")
needs_posix = unittest.skipIf(WINDOWS, "what is tested here exists on POSIX only")


def ports():
    """The kinds of completion port that this machine has. A scenario's environment may select one."""
    if not OURS:
        return [None]
    from tidewaiter._tidewaiter import Core

    kinds = []
    for kind in ("uring", "poll", "iocp"):
        try:
            Core(kind)
            kinds.append(kind)
        except OSError:
            pass
    return kinds


def on(port):
    """The environment that selects this port."""
    return {} if port is None else {"TIDEWAITER_PORT": port}


# The environment of a scenario that brings its own reactor or loop.
NO_REACTOR = {"TEST_REACTOR": "none"}


def embedding_program(folder):
    """Builds the program that embeds this Python, in `folder`. Skips the test if there is no compiler."""
    variable = sysconfig.get_config_var
    library = pathlib.Path(str(variable("LIBDIR")), str(variable("LDLIBRARY")))
    compiler = shutil.which(str(variable("CC")).split()[0])
    if compiler is None or library.suffix != ".so" or not library.exists():
        raise unittest.SkipTest("needs a C compiler, and Python as a shared library")
    program = pathlib.Path(folder, "embedding")
    subprocess.run([compiler, "-o", program, HERE / "embedding.c", library, f"-Wl,-rpath,{library.parent}"], check=True)
    return program


class Finished:
    """The result of a process: its output, its end, and processes that it left running."""

    def __init__(self, code, output, errors, result, left_over):
        self.code = code
        self.output = output
        self.errors = errors
        self.result = result
        self.left_over = left_over

    def __str__(self):
        return f"exit code {self.code}\noutput:\n{self.output}\nerrors:\n{self.errors}"


class Process:
    """A started process, in its own session. Every wait for it has a limit."""

    def __init__(self, arguments, environment=None, folder=None):
        variables = {**os.environ, "PYTHONUNBUFFERED": "1", "TEST_REACTOR": REACTOR, **(environment or {})}
        self.arguments = [str(argument) for argument in arguments]
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self._output = pathlib.Path(self._folder.name, "output")
        self._errors = pathlib.Path(self._folder.name, "errors")
        with self._output.open("wb") as output, self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                self.arguments,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                env=variables,
                cwd=folder,
                start_new_session=True,
            )
        self.pid = self._process.pid
        self._finished = None

    def output(self):
        """The output so far."""
        return self._output.read_text("utf-8", "replace")

    def errors(self):
        """The standard error so far."""
        return self._errors.read_text("utf-8", "replace")

    def signal(self, number):
        self._process.send_signal(number)

    def wait_for(self, what, seconds=LIMIT_SECONDS):
        """Waits until `what()` is true, and returns its value. Fails if the process ends first, or at the limit."""
        limit = time.monotonic() + seconds
        while True:
            ended = self._process.poll() is not None
            found = what()
            if found:
                return found
            if ended or time.monotonic() > limit:
                why = "ended" if ended else f"did nothing for {seconds} s"
                raise AssertionError(f"{self.arguments} {why}, before what was expected of it:\n{self.finish(0.1)}")
            time.sleep(0.01)

    def finish(self, seconds=LIMIT_SECONDS):
        """Waits for the end, at most `seconds`. Kills the process and its remaining children. May be called again."""
        if self._finished is not None:
            return self._finished
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            code = f"none: killed after {seconds} s"
        left_over = _kill_session(self.pid)
        self._finished = Finished(code, self.output(), self.errors(), None, left_over)
        self._folder.cleanup()
        return self._finished


def run(arguments, seconds=LIMIT_SECONDS, environment=None, folder=None):
    """Runs a program to its end, at most `seconds`."""
    return Process(arguments, environment, folder).finish(seconds)


def scenario(module, function, *arguments, seconds=LIMIT_SECONDS, environment=None):
    """Runs `scenarios.module.function(reactor, *arguments)` in a fresh interpreter with the reactor installed."""
    with tempfile.TemporaryDirectory() as folder:
        result_path = pathlib.Path(folder, "result.json")
        process = start_scenario(
            module, function, *arguments, path=result_path, seconds=seconds, environment=environment
        )
        finished = process.finish(seconds + 5.0)
        if result_path.exists():
            finished.result = json.loads(result_path.read_text("utf-8"))
    return finished


def start_scenario(module, function, *arguments, path="", seconds=LIMIT_SECONDS, environment=None):
    """As `scenario`, but does not wait, so that the test can act on the running process."""
    command = [sys.executable, "-X", "faulthandler", HERE / "scenario.py", module, function, json.dumps(arguments)]
    return Process([*command, path, seconds], environment)


class ReactorTestCase(unittest.TestCase):
    """Tests that run scenarios."""

    maxDiff = None

    def scenario(self, module, function, *arguments, **options):
        """The result of a scenario that must succeed and leave no process running."""
        finished = scenario(module, function, *arguments, **options)
        self.assertEqual(finished.code, 0, finished)
        self.assertEqual(finished.left_over, [], f"processes left behind\n{finished}")
        self.assertIsNotNone(finished.result, f"no result\n{finished}")
        return finished.result

    def assertEndedWell(self, finished):
        """Checks that a process wrote nothing to its standard error, logged no failure and left no process running."""
        self.assertEqual(finished.code, 0, finished)
        self.assertEqual(finished.left_over, [], finished)
        self.assertNotIn("Traceback", finished.errors + finished.output, finished)


class FloodingPeer(threading.Thread):
    """A peer that sends all of its data before it reads, and then reads to the end."""

    def __init__(self, number):
        super().__init__()
        self.number = number
        self.received = 0
        self.ended = None

    def run(self):
        with socket.create_connection(("127.0.0.1", self.number), 20) as connection:
            try:
                for _ in range(100):
                    connection.sendall(b"y" * 100_000)
                connection.shutdown(socket.SHUT_WR)
                while piece := connection.recv(1 << 16):
                    self.received += len(piece)
                self.ended = "in order"
            except OSError as error:
                self.ended = type(error).__name__


def end_process(pid, number):
    """Sends a signal to a process that need not be our child. Ignores that it has ended."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


# How long the other processes of a session have to end after the first, such as Python's tracker of resources.
LEFT_OVER_SECONDS = 2.0


def _kill_session(session):
    """Kills the remaining processes of a session, and returns their descriptions. Does nothing without /proc."""
    limit = time.monotonic() + LEFT_OVER_SECONDS
    left_over = []
    for entry in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            after_name = entry.joinpath("stat").read_text("utf-8", "replace").rpartition(")")[2].split()
            state, its_session = after_name[0], int(after_name[3])
            if its_session != session or state == "Z":
                continue
            description = entry.joinpath("cmdline").read_text("utf-8", "replace").replace("\0", " ")
            if not _ends_before(int(entry.name), limit):
                left_over.append(description)
                os.kill(int(entry.name), signal.SIGKILL)
        except (OSError, ValueError, IndexError):
            continue  # The process ended while we read its entry.
    return left_over


def _ends_before(pid, limit):
    """Waits for the end of a process that need not be our child."""
    process = os.pidfd_open(pid)
    try:
        return bool(select.select([process], [], [], max(limit - time.monotonic(), 0))[0])
    finally:
        os.close(process)
