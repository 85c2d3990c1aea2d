"""Connections of the asyncio loop in forked children and other threads, and what many of them leave behind."""

import unittest

from support import ReactorTestCase, needs_fork, needs_proc, on, ours_only, ports

# On the first port, and on the others, because so many take a minute.
MANY_CONNECTIONS = 100_000
CONNECTIONS = 3_000


@ours_only
class Connections(ReactorTestCase):
    @needs_fork
    def test_a_forked_child_does_nothing_to_its_parents(self):
        for port in ports():
            with self.subTest(port):
                outcome = self.scenario("asyncio_streams", "in_forked_child", environment=on(port))
                self.assertEqual(outcome, [0, "from the parent"])

    def test_other_threads_are_refused_while_the_loop_waits(self):
        refused = self.scenario("asyncio_streams", "from_another_thread")
        self.assertEqual(
            refused,
            [
                "write",
                "writelines",
                "write_eof",
                "pause_reading",
                "resume_reading",
                "get_write_buffer_size",
                "set_write_buffer_limits",
                "get_extra_info",
                "close",
                "abort",
            ],
        )

    @needs_proc
    def test_many_connections_leave_nothing(self):
        for index, port in enumerate(ports()):
            with self.subTest(port):
                count = MANY_CONNECTIONS if index == 0 else CONNECTIONS
                left = self.scenario("asyncio_streams", "leaks", count, seconds=240.0, environment=on(port))
                self.assertEqual(left["descriptors"], 0, left)
                self.assertLess(left["objects"], 500, left)
                self.assertLess(left["blocks"], 3_000, left)

    def test_garbage_is_collected_while_connections_are_accepted(self):
        for port in ports():
            with self.subTest(port):
                outcome = self.scenario("asyncio_streams", "collections_while_accepting", 50, environment=on(port))
                self.assertEqual(outcome, 50)

    def test_closed_loops_with_live_connections_are_collected(self):
        for port in ports():
            with self.subTest(port):
                left = self.scenario("asyncio_streams", "loops_with_live_connections", 20, environment=on(port))
                self.assertEqual(left, 0)


if __name__ == "__main__":
    unittest.main()
