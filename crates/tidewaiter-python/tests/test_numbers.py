"""While sockets are opened and closed, each descriptor's number refers to one socket at a time."""

import unittest

from support import ReactorTestCase, on, ports


class Numbers(ReactorTestCase):
    def test_what_is_opened_right_after_a_listener_was_stopped_is_left_alone(self):
        for port in ports():
            with self.subTest(port):
                outcome = self.scenario("listener_numbers", "listener_stopped", environment=on(port))
                expected = {"stopped": True, "again": True, "host": True, "unharmed": 8, "log": []}
                self.assertEqual(outcome, expected)


if __name__ == "__main__":
    unittest.main()
