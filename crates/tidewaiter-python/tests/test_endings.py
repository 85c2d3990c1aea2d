"""The interpreter ends cleanly, whatever is still open on the reactor."""

import os
import pathlib
import sys
import tempfile
import time
import unittest

import support
from support import ReactorTestCase, needs_fork, needs_posix

# States of a loop when the interpreter ends: see the scenarios.
STATES = ["idle", "chain", "computing", "sleeping", "blocked", "talking", "letting go"]
if hasattr(os, "fork"):
    STATES += ["forking", "forking and returning"]

# In these states, a thread would go on with the next interpreter's lock, even without a reactor.
IN_PYTHONS_HANDS = ["sleeping", "blocked", "forking", "forking and returning"]

# The code that the embedding program runs: it leaves a loop running in a thread.
LEAVING_A_LOOP = """
import sys
sys.path[:0] = {path!r}
sys.argv = ["embedded"]
import scenario
from scenarios import endings
assert endings.in_daemon_thread(scenario.install(), {state!r})
"""

# Long enough for the threads that were left to return from their waits.
ANOTHER_INTERPRETER = "import time; time.sleep(0.1)"


class Endings(ReactorTestCase):
    def assertQuiet(self, function, *arguments, code=0):
        """Checks the exit code, and that nothing was written to standard error."""
        finished = support.scenario("endings", function, *arguments)
        self.assertEqual(finished.code, code, finished)
        self.assertEqual(finished.errors, "", finished)
        self.assertEqual(finished.output, "", finished)
        return finished.result

    def test_after_stop(self):
        self.assertEqual(self.assertQuiet("stopped"), [["ConnectionLost"]])

    def test_after_crash(self):
        self.assertQuiet("crashed")

    def test_without_having_run(self):
        self.assertQuiet("never_ran")

    def test_after_iterating(self):
        self.assertQuiet("iterated")

    def test_with_a_code_of_its_own(self):
        self.assertQuiet("exited", code=7)

    def test_with_exit_handlers_that_use_the_reactor(self):
        self.assertQuiet("at_exit")

    def test_whatever_the_loop_does_in_a_daemon_thread(self):
        for state in STATES:
            with self.subTest(state):
                self.assertTrue(self.assertQuiet("in_daemon_thread", state))

    def test_with_a_code_of_its_own_whatever_the_loop_does_in_a_daemon_thread(self):
        for state in ("idle", "chain", "computing"):
            with self.subTest(state):
                self.assertQuiet("in_daemon_thread", state, "exit", code=7)

    def test_while_a_daemon_thread_makes_turns_by_hand(self):
        for state in ("idle", "chain", "computing", "blocked"):
            with self.subTest(state):
                self.assertTrue(self.assertQuiet("in_daemon_thread", state, "iterate"))

    @needs_posix
    def test_in_a_program_that_embeds_python_and_lives_on(self):
        with tempfile.TemporaryDirectory() as folder:
            program = support.embedding_program(folder)
            for state in STATES:
                with self.subTest(state):
                    code = LEAVING_A_LOOP.format(path=[str(support.HERE), *sys.path], state=state)
                    others = [] if state in IN_PYTHONS_HANDS else [ANOTHER_INTERPRETER]
                    finished = support.run([program, code, *others], environment={"PYTHONHOME": sys.base_prefix})
                    self.assertEqual((finished.code, finished.output, finished.errors), (5, "", ""), finished)

    def test_a_loop_in_another_thread_is_waited_for(self):
        self.assertTrue(self.assertQuiet("in_thread"))

    @needs_fork
    def test_of_a_child_forked_beside_the_loop_as_the_child_says(self):
        for state in ("idle", "chain", "sleeping", "talking"):
            with self.subTest(state):
                self.assertEqual(self.assertQuiet("forked_and_ended", state), [True, 9])

    def test_stop_tells_every_connection(self):
        outcome = self.scenario("endings", "disconnected")
        self.assertEqual(outcome, {"server": ["ConnectionLost"], "client": ["ConnectionLost"]})

    def test_a_child_outlives_the_reactor_that_started_it(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "written by the child")
            process = support.start_scenario("endings", "outlived", str(path))
            limit = time.monotonic() + 20
            while not path.exists() and time.monotonic() < limit:
                time.sleep(0.01)
            written = path.exists()
            finished = process.finish()
            self.assertTrue(written, finished)
            self.assertEqual(finished.code, 0, finished)


if __name__ == "__main__":
    unittest.main()
