"""The interpreter ends well whatever is still alive on the reactor."""

import pathlib
import tempfile
import time
import unittest

import support
from support import ReactorTestCase


class Endings(ReactorTestCase):
    def assertQuiet(self, function, code=0):
        """The exit code is right, and nothing was said about it."""
        finished = support.scenario("endings", function)
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

    def test_while_the_loop_runs_in_a_daemon_thread(self):
        self.assertTrue(self.assertQuiet("in_daemon_thread"))

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
