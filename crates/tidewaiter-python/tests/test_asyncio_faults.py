"""The asyncio loop under faults: interrupts, forks, threads, the interpreter's end, and loops that are dropped."""

import importlib.util
import json
import sys
import unittest

import support
from support import HERE, WINDOWS, needs_fork, needs_posix, needs_proc, on, ports


class Faults(unittest.TestCase):
    maxDiff = None

    def run_fault(self, name, *arguments, environment=None, errors="", seconds=60.0, on_ports=None):
        """The result of a function of `scenarios/asyncio_faults.py`, on each port. It may write no other errors."""
        for port in on_ports or ports():
            with self.subTest(port):
                command = [sys.executable, "-X", "faulthandler", HERE / "scenarios" / "asyncio_faults.py", name]
                encoded = [json.dumps(argument) for argument in arguments]
                finished = support.run([*command, *encoded], seconds, {**on(port), **(environment or {})})
                self.assertEqual(finished.code, 0, finished)
                if name != "processes":
                    # A helper of multiprocessing's ends by itself soon after the process.
                    self.assertEqual(finished.left_over, [], finished)
                self.assertRegex(finished.errors, f"^{errors}$", finished)
                yield json.loads(finished.output.splitlines()[-1])

    @needs_posix
    def test_interrupts_at_random_moments(self):
        for outcome in self.run_fault("interrupts"):
            self.assertEqual(outcome, {"interrupted": True, "done": True})

    @unittest.skipIf(sys.version_info < (3, 11), "Python 3.11 brought asyncio.Runner")
    def test_control_c_cancels_the_main_task(self):
        for outcome in self.run_fault("control_c"):
            self.assertEqual(outcome, ["cancelled", "interrupted"] * 4)

    def test_a_loop_is_closed_with_all_that_is_on_it(self):
        for outcome in self.run_fault("closing"):
            self.assertEqual(outcome, {"made": 2, "dropped": 4, "closed": True})

    @needs_posix
    @needs_proc
    def test_dropped_loops_are_collected(self):
        for outcome in self.run_fault("dropped"):
            self.assertEqual(outcome, {"left": 0, "warned": 20})

    @needs_fork
    def test_a_fork_in_a_callback(self):
        for outcome in self.run_fault("forking"):
            self.assertEqual(outcome, ["own", [True]])

    @needs_fork
    def test_a_forked_child_that_returns_into_the_loop(self):
        for outcome in self.run_fault("returning"):
            self.assertEqual(outcome.count("made;"), 1)
            self.assertIn("belongs to the parent", outcome)

    @unittest.skipUnless(sys.platform == "linux", "on other systems, every loop stays with the parent")
    def test_a_fork_between_two_runs(self):
        for outcome in self.run_fault("before_running"):
            self.assertEqual(outcome, 7)

    @unittest.skipIf(WINDOWS, "under Wine, pools of processes hang on asyncio's own loop, too")
    def test_processes_of_multiprocessing(self):
        for method in ("fork", "forkserver", "spawn"):
            with self.subTest(method):
                # Python warns of forks in processes with threads.
                environment = {"PYTHONWARNINGS": "ignore::DeprecationWarning"}
                for outcome in self.run_fault("processes", method, environment=environment):
                    self.assertEqual(outcome, [0, 2, 4, 6])

    def test_the_interpreter_ends_while_a_loop_runs_in_a_thread(self):
        for outcome in self.run_fault("daemon"):
            self.assertEqual(outcome, "over")

    def test_threads_call_in(self):
        for outcome in self.run_fault("threads"):
            self.assertTrue(outcome)

    @needs_posix
    @needs_proc
    def test_tasks_leave_nothing_behind(self):
        # A million on the first port, and fewer on the others, because so many take half a minute.
        first, *others = ports()
        for tasks, on_ports in ((1_000_000, [first]), (30_000, others)):
            for outcome in self.run_fault("leaks", tasks, seconds=240.0, on_ports=on_ports) if on_ports else ():
                self.assertLess(outcome["bytes_per_task"], 20)
                self.assertLess(outcome["objects"], 500)

    def test_callbacks_that_raise_cancel_and_stop(self):
        for outcome in self.run_fault("mischief"):
            self.assertEqual(outcome, ["ValueError"])

    @unittest.skipUnless(
        any(importlib.util.find_spec(name) for name in ("_interpreters", "_xxsubinterpreters")),
        "this Python has no sub-interpreters",
    )
    def test_sub_interpreters_are_refused(self):
        for outcome in self.run_fault("subinterpreter"):
            self.assertIsNone(outcome)

    def test_an_interpreter_without_its_lock_is_refused(self):
        # As free-threaded builds of Python answer under `PYTHON_GIL=0`.
        code = "import sys; sys._is_gil_enabled = lambda: False; import tidewaiter.asyncio"
        finished = support.run([sys.executable, "-c", code])
        self.assertEqual(finished.code, 1, finished)
        expected = "ImportError: tidewaiter needs the interpreter lock, which PYTHON_GIL=0 or -X gil=0 turned off"
        self.assertEqual(finished.errors.splitlines()[-1], expected)


if __name__ == "__main__":
    unittest.main()
