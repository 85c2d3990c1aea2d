"""Delayed calls behave like Twisted's own objects."""

import unittest

from support import ReactorTestCase


class DelayedCalls(ReactorTestCase):
    def test_a_program_notes_down_on_them_what_it_wants(self):
        seen = self.scenario("timers", "attributes")
        self.assertEqual(seen, [False, None, "mine", ["somewhere"], True, False, None, False])

    def test_they_tell_where_they_come_from(self):
        self.assertEqual(self.scenario("timers", "origin"), [True, True])

    def test_they_show_when_they_are_due_by_the_wall_clock(self):
        self.assertEqual(self.scenario("timers", "times"), [[True] * 3, True, True, 5])


if __name__ == "__main__":
    unittest.main()
