"""No number and no thread makes the extension panic, or breaks a reactor."""

import unittest

from support import ReactorTestCase, ours_only

# Calls that do not use the loop, or that are meant for other threads.
FOR_EVERY_THREAD = {
    "Core.wake",
    "Core.call_from_thread",
    "Core.check_process",
    "Core._before_any_fork",
    "DelayedCall.getTime",
    "DelayedCall.active",
    "DelayedCall.clock",
    "Stream.startWriting",
    "Stream.stopWriting",
    "Datagrams.startWriting",
    "Datagrams.stopWriting",
}


@ours_only
class Extremes(ReactorTestCase):
    def assertOrdinary(self, outcomes):
        for call, outcome in outcomes.items():
            with self.subTest(call):
                self.assertNotIn("NOT AN ORDINARY EXCEPTION", outcome)
                self.assertNotIn("panic", outcome.lower())

    def test_no_number_makes_a_method_panic(self):
        outcome = self.scenario("extremes", "numbers")
        self.assertOrdinary(outcome["outcomes"])
        self.assertEqual(outcome["ended"], [["ConnectionAborted"], "ProcessTerminated"])

    def test_every_method_called_by_a_foreign_thread_is_done_or_refused_without_effect(self):
        outcome = self.scenario("extremes", "foreign")
        self.assertEqual(outcome["unknown"], [], "methods that the scenario does not call")
        self.assertOrdinary(outcome["outcomes"])
        for call, result in outcome["outcomes"].items():
            with self.subTest(call):
                if call in FOR_EVERY_THREAD:
                    self.assertEqual(result, "done")
                else:
                    self.assertRegex(result, "^(RuntimeError: .* thread|ValueError: .* is not a socket)")
        self.assertEqual(outcome["talked"], ["hello"])
        self.assertEqual(outcome["ended"], [["ConnectionAborted"], "ProcessTerminated"])
        self.assertEqual(outcome["log"], [])


if __name__ == "__main__":
    unittest.main()
