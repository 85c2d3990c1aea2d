"""The loop may run in any thread. Calls from other threads succeed, or raise an error that explains why not."""

import unittest

from support import OURS, ReactorTestCase


class Strangers(ReactorTestCase):
    def test_the_loop_runs_in_another_thread_than_it_was_set_up_in(self):
        outcome = self.scenario("strangers", "loop_elsewhere")
        # Twisted's own reactors notice a child's end only with their handler of SIGCHLD.
        expected = {"answer": "hello", "seen": [True, OURS, True], "heard": ["child"], "alive": False, "log": []}
        self.assertEqual(outcome, expected)

    def test_calls_from_foreign_threads_are_done_or_refused_and_the_loop_goes_on(self):
        outcome = self.scenario("strangers", "foreign_calls")
        self.assertEqual(outcome["results"].pop("talk"), "hello", outcome)
        self.assertEqual(outcome["log"], [])
        for name, result in outcome["results"].items():
            with self.subTest(name):
                self.assertNotIn("panic", result.lower())
                self.assertTrue(result == "done" or "thread" in result, result)

    def test_threads_that_hammer_the_reactor_do_not_break_it(self):
        outcome = self.scenario("strangers", "hammered", 1.0)
        self.assertEqual(outcome["answers"], ["hello"], outcome)
        self.assertEqual(outcome["lost"], 0, "calls from threads were lost")
        self.assertNotIn("PanicException", str(outcome))


if __name__ == "__main__":
    unittest.main()
