"""After many connections, children and calls, the process holds no more than before."""

import unittest

from support import ReactorTestCase, needs_proc

# The loop keeps some cancelled timers for a while, and allocators keep some freed memory.
OBJECT_SLACK = 500
BLOCK_SLACK = 3_000
MEMORY_SLACK = 4 << 20


class Leaks(ReactorTestCase):
    def assertNothingLeft(self, left):
        """Allows no new descriptors, and only as many objects and as much memory as the interpreter's caches need."""
        self.assertEqual(left["descriptors"], 0, left)
        self.assertLess(left["objects"], OBJECT_SLACK, left)
        self.assertLess(left["blocks"], BLOCK_SLACK, left)
        self.assertLess(left["resident"], MEMORY_SLACK, left)

    @needs_proc
    def test_100_000_connections_leave_nothing(self):
        self.assertNothingLeft(self.scenario("leaks", "connections", 100_000, seconds=240.0))

    @needs_proc
    def test_2000_children_leave_nothing(self):
        self.assertNothingLeft(self.scenario("leaks", "children", 2_000, seconds=120.0))

    @needs_proc
    def test_100_000_calls_leave_nothing(self):
        self.assertNothingLeft(self.scenario("leaks", "calls", 100_000, seconds=120.0))

    def test_cycles_through_what_the_reactor_gives_out_are_collected(self):
        left = self.scenario("leaks", "cycles")
        kinds = ["callback", "connector", "factory", "port", "process protocol", "protocol"]
        self.assertEqual(left, dict.fromkeys(kinds, 0))


if __name__ == "__main__":
    unittest.main()
