"""Twisted's transport for serial ports, which needs pyserial."""

import importlib.util
import os
import unittest

from support import WINDOWS, ReactorTestCase, needs_posix, on, ours_only, ports

# On Windows, a line that echoes; the lanes name one under Wine.
LINE = os.environ.get("TEST_SERIAL_LINE")

needs_line = unittest.skipUnless(LINE, "TEST_SERIAL_LINE names no serial port that echoes")


@ours_only
@unittest.skipUnless(importlib.util.find_spec("serial"), "needs pyserial")
class SerialPorts(ReactorTestCase):
    @needs_posix
    def test_what_is_written_comes_back(self):
        from serial_line import echoing

        for port in ports():
            with self.subTest(port), echoing() as name:
                outcome = self.scenario("serial_ports", "echoes", name, environment=on(port))
                self.assertEqual(outcome, {"same": True, "lost": ["ConnectionDone"], "log": []})

    @needs_posix
    def test_a_line_that_hangs_up_ends_the_port(self):
        for port in ports():
            with self.subTest(port):
                outcome = self.scenario("serial_ports", "hang_up", environment=on(port))
                self.assertEqual(outcome, {"lost": ["ConnectionDone"], "log": []})

    @unittest.skipUnless(WINDOWS, "POSIX has its own test")
    @needs_line
    def test_what_is_written_comes_back_on_windows(self):
        outcome = self.scenario("serial_ports", "echoes", LINE, seconds=90)
        self.assertEqual(outcome, {"same": True, "lost": ["ConnectionDone"], "log": []})

    @unittest.skipUnless(WINDOWS, "POSIX has no events")
    @needs_line
    def test_a_failed_event_ends_the_port_on_windows(self):
        outcome = self.scenario("serial_ports", "unplugged", LINE, seconds=90)
        expected = {"lost": ["OSError"], "broken": 1, "events": 0, "log": ["OSError: unplugged"]}
        self.assertEqual(outcome, expected)


if __name__ == "__main__":
    unittest.main()
