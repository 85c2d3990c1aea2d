"""Children are reaped before their end is reported, and never mistaken for other processes; every end is reported."""

import signal
import sys
import tempfile
import unittest

import support
from support import HERE, OURS, ReactorTestCase, needs_posix, on, ports


@needs_posix
class Ends(ReactorTestCase):
    def test_a_child_is_reaped_before_its_end_is_told(self):
        for port in ports():
            with self.subTest(port):
                outcome = self.scenario("children", "reaped", 70, environment=on(port))
                self.assertEqual(outcome["codes"], [3] * 70)
                self.assertEqual(sorted(outcome["seen"]), [["ended", False]] * 70 + [["exited", False]] * 70)
                self.assertEqual(outcome["log"], [])

    @support.needs_proc
    def test_all_descriptors_of_a_child_are_closed_when_its_end_is_told(self):
        for port in ports():
            with self.subTest(port):
                self.assertEqual(self.scenario("children", "closed", 20, environment=on(port)), [0] * 20)

    def test_a_protocol_that_stops_the_reactor_at_the_exit_is_told_of_the_end(self):
        for port in ports():
            with self.subTest(port):
                outcome = self.scenario("children", "stopped_at_exit", environment=on(port))
                self.assertEqual(outcome, {"ended": True, "log": []})

    @support.ours_only
    def test_a_signal_to_a_child_that_has_ended_goes_to_nobody(self):
        for port in ports():
            with self.subTest(port):
                outcome = self.scenario("children", "signalled_late", 5, environment=on(port))
                self.assertLessEqual(set(outcome["outcomes"]), {"done", "ProcessExitedAlready"})
                self.assertEqual((outcome["by number"], outcome["log"]), ([], []))

    @support.ours_only
    def test_without_signal_handlers_the_end_of_what_could_not_be_started_is_told(self):
        for port in ports():
            with self.subTest(port), tempfile.TemporaryDirectory() as folder:
                outcome = self.scenario("children", "not_started", folder, environment=on(port))
                outcomes = outcome["outcomes"]
                expected = {
                    "fine": [4, False],
                    "missing": "FileNotFoundError",
                    "not executable": "PermissionError",
                    "no such directory": [1, False],
                    "no pipes": [1, False],
                    "terminal": ["ended", False],
                }
                self.assertEqual(outcomes, expected)
                self.assertIn("FileNotFoundError", outcome["said"])
                self.assertEqual(outcome["log"], [])


class Starting(ReactorTestCase):
    @unittest.skipUnless(OURS or not support.WINDOWS, "Twisted's own reactor is laxer on Windows")
    def test_what_cannot_be_said_to_a_child_is_a_value_error(self):
        outcomes = self.scenario("children", "unspeakable")
        if not OURS:
            # The forked child reports this, because Twisted's own code starts it.
            del outcomes["path"]
        self.assertEqual(set(outcomes.values()), {"ValueError"}, outcomes)

    @support.ours_only
    def test_an_argument_of_the_wrong_type_is_named(self):
        expected = [
            "args should be a list of arguments, not 'sh'",
            "args should be a list of arguments, not b'sh'",
            'childFDs: 0 should be "r", "w" or an int, not None',
            '"z" should be "r", "w" or an int',
        ]
        self.assertEqual(self.scenario("children", "unsuited"), expected)


@needs_posix
class Interrupts(ReactorTestCase):
    def test_an_interrupt_that_was_ignored_to_begin_with_stays_ignored(self):
        scenario = [sys.executable, HERE / "scenario.py", "children", "deaf_to_interrupts", "[]", "", "20"]
        process = support.Process(["/bin/sh", "-c", 'trap "" INT; exec "$@"', "sh", *scenario])
        process.wait_for(lambda: "running" in process.output())
        process.signal(signal.SIGINT)
        process.signal(signal.SIGTERM)
        finished = process.finish()
        self.assertEndedWell(finished)
        self.assertIn(f"stopped by {int(signal.SIGTERM)}", finished.output)


if __name__ == "__main__":
    unittest.main()
