"""Subclasses of the reactor, several reactors in one process, and reactors that never run."""

import unittest

from support import ReactorTestCase, ours_only

EXCHANGE = ["question", "answer"]


class Reactors(ReactorTestCase):
    def test_a_subclass_is_called_where_it_overrides(self):
        outcome = self.scenario("reactors", "subclass")
        called = ["callLater", "listenTCP", "seconds", "stop", "timer"]
        self.assertEqual(outcome, {"called": called, "own": "kept", "received": EXCHANGE, "log": []})

    def test_two_take_turns_in_one_thread(self):
        outcome = self.scenario("reactors", "alternating")
        expected = {"received": [EXCHANGE] * 2, "fired": ["ours", "the other's"], "log": []}
        self.assertEqual(outcome, expected)

    def test_several_run_in_threads_of_their_own(self):
        outcome = self.scenario("reactors", "in_threads", 4)
        self.assertEqual(outcome, {"received": ["answer"] * 4, "log": []})

    @ours_only
    def test_those_dropped_without_having_run_leave_nothing(self):
        self.assertEqual(self.scenario("reactors", "dropped", 50), {"left": 0, "descriptors": 0})


if __name__ == "__main__":
    unittest.main()
