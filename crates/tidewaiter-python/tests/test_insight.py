"""The reactor reports metrics, slow callbacks and the origins of delayed calls."""

import os
import unittest
from collections import Counter

import support
from support import ReactorTestCase, needs_posix, needs_proc, ours_only

CONNECTING = "scenarios.pairs.SideFactory.buildProtocol or its protocol's connectionMade"


@ours_only
class Metrics(ReactorTestCase):
    def test_counts_and_what_lives(self):
        metrics = self.scenario("insight", "metrics")
        expected = {
            "accepted": 1,
            "connected": 1,
            "spawned": 0,
            "bytes_sent": 15,
            "bytes_received": 15,
            "late_completions": 0,
            "thread_calls_made": 1,
            "slow_callbacks": 0,
            "delayed_calls": 1,
            "transports": 0,
            "listeners": 1,
            "children": 0,
        }
        self.assertEqual({name: metrics[name] for name in expected}, expected)
        self.assertGreaterEqual(metrics["delayed_calls_made"], 2)
        times = metrics["turn_times"]
        self.assertLessEqual(times["count"], metrics["turns"])
        self.assertEqual(sum(count for _, count in times["classes"]), times["count"])
        order = [0.0, times["p50"], times["p90"], times["p99"], times["max"], times["total"]]
        self.assertEqual(order, sorted(order))
        self.assertGreater(times["p50"], 0.0)

    def test_the_port_and_why_that_one(self):
        metrics = self.scenario("insight", "metrics", environment={"TIDEWAITER_PORT": "poll"})
        self.assertEqual(metrics["port"], "poll")
        self.assertIn("TIDEWAITER_PORT", metrics["port_reason"])


@ours_only
class SlowCallbacks(ReactorTestCase):
    def assertSlow(self, way, *names):
        # On a busy machine, other callbacks may be slow, too.
        outcome = self.scenario("insight", "slow", way, 0.1)
        self.assertEqual(Counter(names) - Counter(outcome["names"]), Counter(), outcome)
        self.assertEqual(outcome["count"], len(outcome["names"]))

    def test_delayed_calls_are_named_by_what_they_call(self):
        linger = "scenarios.insight._linger"
        self.assertSlow("timers", linger, linger, "twisted.internet.task.LoopingCall.start")

    def test_calls_from_threads(self):
        self.assertSlow("threads", "scenarios.insight._linger")

    def test_protocols_by_their_class_and_method(self):
        side = "scenarios.pairs.Side."
        self.assertSlow(
            "connections",
            CONNECTING,
            side + "dataReceived",
            side + "readConnectionLost or connectionLost",
        )

    def test_failing_connections(self):
        outcome = self.scenario("insight", "slow", "refusals", 0.1)
        self.assertRegex(" ".join(outcome["names"]), r"\.clientConnectionFailed\b")

    @needs_posix
    def test_selectables_by_their_class(self):
        self.assertSlow("selectables", "scenarios.insight._Selectable")

    def test_children_by_their_protocol(self):
        outcome = self.scenario("insight", "slow", "children", 0.1)
        process = "scenarios.insight._Process."
        self.assertIn(process + "childDataReceived", outcome["names"])
        self.assertIn(process + "processEnded", outcome["names"])

    def test_nothing_is_said_unless_asked_for(self):
        self.assertEqual(self.scenario("insight", "slow", "timers", None), {"names": [], "count": 0})

    def test_nothing_is_said_of_what_is_fast_enough(self):
        self.assertEqual(self.scenario("insight", "slow", "timers", 20.0), {"names": [], "count": 0})

    def test_the_environment_sets_the_limit(self):
        environment = {"TIDEWAITER_SLOW_CALLBACK": "0.1"}
        outcome = self.scenario("insight", "slow", "threads", None, environment=environment)
        self.assertIn("scenarios.insight._linger", outcome["names"])

    def test_a_limit_that_is_no_number_of_seconds_is_refused(self):
        for text in ("soon", "-1", "nan"):
            with self.subTest(text):
                environment = {"TIDEWAITER_SLOW_CALLBACK": text}
                finished = support.scenario("insight", "slow", "threads", None, environment=environment)
                self.assertNotEqual(finished.code, 0, finished)
                self.assertIn(f"ValueError: TIDEWAITER_SLOW_CALLBACK is '{text}'", finished.errors)


class DebuggedCalls(ReactorTestCase):
    def test_a_delayed_call_remembers_where_it_comes_from(self):
        outcome = self.scenario("insight", "creators", True)
        line = "call = reactor.callLater(0, _fails)"
        self.assertIn(line, outcome["creator"])
        self.assertIn("_fails(", outcome["cancelled"])
        (logged,) = outcome["logged"]
        self.assertTrue(logged.startswith("while handling timed call \n C: from a DelayedCall created here:\n C:"))
        self.assertTrue(logged.rstrip().endswith(line), logged)

    def test_or_not(self):
        outcome = self.scenario("insight", "creators", False)
        self.assertIsNone(outcome["creator"])
        self.assertNotIn("_fails", outcome["cancelled"])
        self.assertEqual(outcome["logged"], ["while handling timed call"])


@ours_only
class LibraryLog(ReactorTestCase):
    @needs_posix
    def test_what_the_library_warns_of_is_in_the_log(self):
        messages = self.scenario("insight", "library_log")
        self.assertIn(os.strerror(24), messages[0])


@ours_only
class Dropped(ReactorTestCase):
    @needs_proc
    def test_reactors_in_cycles_are_collected_with_all_they_have(self):
        for turns in (0, 1, 3):
            with self.subTest(turns):
                outcome = self.scenario("insight", "dropped", turns)
                self.assertEqual(outcome, {"alive": 0, "descriptors": 0})


if __name__ == "__main__":
    unittest.main()
