"""Twisted and asyncio on one port: neither needs a selector or a thread of its own."""

import unittest

import support
from support import NO_REACTOR, ReactorTestCase, on, ours_only, ports


@ours_only
class InTwisted(ReactorTestCase):
    """asyncio in programs of Twisted's."""

    def outcomes(self, function, *arguments):
        """The outcome of a scenario on each port."""
        for port in ports():
            yield self.scenario("two_faces", function, *arguments, environment=on(port))

    def test_deferreds_and_futures_become_one_another(self):
        for outcome in self.outcomes("both_ways"):
            awaited = ["deferred", "thread", "future", "cancelled", "lock"]
            self.assertEqual(outcome, [awaited, False, False, True, []])

    def test_a_face_that_a_callback_asks_for_runs_at_once(self):
        for outcome in self.outcomes("late_face"):
            self.assertEqual(outcome, [None, True, True, None])

    def test_runs_are_not_nested_and_the_loops_stop_stops_the_reactor(self):
        for outcome in self.outcomes("nested_runs"):
            self.assertEqual(outcome[-1], "shutdown")
            self.assertEqual(outcome[0], "This event loop is already running")
            self.assertEqual(outcome[1], "This event loop is already running")
            self.assertEqual(outcome[2], "Cannot close a running event loop")

    def test_servers_of_one_face_have_clients_of_the_other(self):
        for outcome in self.outcomes("streams_and_protocols", 20):
            self.assertEqual(outcome, [[True, True], True, []])

    @support.needs_posix
    def test_aiohttp_serves_and_asks(self):
        for outcome in self.outcomes("web", 20):
            self.assertEqual(outcome, [[f"page {number}" for number in [*range(20), "treq"]], []])

    def test_both_kinds_of_context_hold(self):
        for seen, log in self.outcomes("contexts"):
            expected = {name: [name, "-"] for name in ("one", "two", "main")}
            expected |= {f"{name}, soon": [name, "-"] for name in ("one", "two")}
            self.assertEqual(log, [])
            self.assertEqual(seen.pop("twisted")[1], "Noting")
            self.assertEqual(seen, expected)

    def test_both_faces_have_children_at_the_same_time(self):
        for outcome in self.outcomes("children"):
            self.assertEqual(outcome, [[[["asyncio", 4]] * 3, [["twisted", 5]] * 3], []])

    def test_each_face_reports_its_own_exceptions(self):
        for heard, log in self.outcomes("failing_faces"):
            self.assertEqual(heard, ["call_later", "call_soon", "threadsafe"])
            self.assertEqual(log, ["ValueError: callFromThread", "ValueError: callLater"])


@ours_only
class InAsyncio(ReactorTestCase):
    """Twisted in programs of asyncio's, and programs that ask for Twisted's reactor on asyncio."""

    def outcomes(self, function):
        """The outcome of a scenario on each port."""
        for port in ports():
            yield self.scenario("two_faces", function, environment={**on(port), **NO_REACTOR})

    def test_a_reactor_runs_in_an_asyncio_program(self):
        for outcome in self.outcomes("inside_asyncio"):
            happened = [True, "running", "hello", "later", "thread", "shutdown", False, "done"]
            self.assertEqual(outcome, [happened, True])

    @support.needs_posix
    def test_twisteds_own_reactor_for_asyncio_runs_on_our_loop(self):
        for outcome in self.outcomes("twisteds_own"):
            self.assertEqual(outcome, ["7", "Loop"])

    def test_a_reactor_of_ours_is_the_class_that_programs_ask_for(self):
        for outcome in self.outcomes("one_that_is_asked_for"):
            self.assertEqual(outcome, [True] * 6 + ["refused"])


if __name__ == "__main__":
    unittest.main()
