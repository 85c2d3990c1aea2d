"""UDP ports, and UNIX sockets for datagrams."""

import socket
import sys
import tempfile
import unittest

import support
from support import ReactorTestCase, needs_posix, on, ours_only, ports


def _interfaces():
    yield "127.0.0.1"
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return
    yield "::1"


class Datagrams(ReactorTestCase):
    def assertOnEach(self, expected, function, *arguments):
        for port in ports():
            with self.subTest(port):
                outcome = self.scenario("datagrams", function, *arguments, environment=on(port))
                self.assertEqual(outcome, expected)

    def test_datagrams_of_all_sizes_come_back_and_others_are_refused(self):
        refused = [
            "MessageLengthError",
            "TypeError",
            "AssertionError",
            "OverflowError",
            "InvalidAddressError",
            "InvalidAddressError",
        ]
        expected = {"same": True, "from": True, "heard": True, "refused": refused, "log": []}
        for interface in _interfaces():
            with self.subTest(interface):
                self.assertOnEach(expected, "sizes", interface)

    @unittest.skipIf(support.WINDOWS and not support.OURS, "Windows drops it")
    def test_what_is_larger_than_the_application_wants_is_cut(self):
        self.assertOnEach("abc", "cut")

    @ours_only
    @unittest.skipIf(support.WINDOWS, "under Wine, a connected socket receives nothing after a refusal")
    def test_refusals_are_told_and_end_nothing(self):
        # Only Linux tells each one: on other systems, one may hide another.
        least = 200 if sys.platform == "linux" else 1
        self.assertOnEach({"refused": True, "others": 0, "log": []}, "refusals", 200, least)

    @ours_only
    @unittest.skipUnless(sys.platform == "linux", "others have no broadcast on the loopback")
    def test_an_error_after_others_succeeded_is_logged_and_the_next_raised(self):
        received = ["allowed"] * 3 + ["allowed again"]
        expected = {"received": received, "raised": ["PermissionError"], "logged": 1, "log": []}
        self.assertOnEach(expected, "lost_right")

    def test_a_paused_port_receives_nothing(self):
        self.assertOnEach({"during": [0], "after": [str(number) for number in range(10)]}, "pauses")

    def test_a_port_is_free_once_it_has_stopped(self):
        self.assertOnEach({"stopped": True, "log": []}, "stops", 50)

    def test_exceptions_are_logged_and_end_nothing(self):
        self.assertOnEach({"raised": 3, "listening": [True], "system": "Peer (UDP)"}, "raises")

    def test_a_datagram_that_no_system_sends_raises(self):
        self.assertOnEach(True, "too_large")

    @needs_posix
    def test_unix_sockets_exchange_datagrams(self):
        expected = {
            "free": [["free", True], ["bytes", True]],
            "bound": [["bound", None]],
            "heard": [["bound", "bound"], ["bytes", "free"], ["free", "free"], ["nobody", ""]],
            "mode": "0o600",
            "failed": ["FileNotFoundError", "FileNotFoundError"],
            "log": [],
        }
        for port in ports():
            with self.subTest(port), tempfile.TemporaryDirectory() as folder:
                self.assertEqual(self.scenario("datagrams", "unix", folder, environment=on(port)), expected)

    @needs_posix
    def test_a_peer_that_does_not_read_blocks_nobody(self):
        for port in ports():
            with self.subTest(port), tempfile.TemporaryDirectory() as folder:
                outcome = self.scenario("datagrams", "deaf", folder, environment=on(port))
                self.assertEqual(outcome, {"written": [True], "stopped": 1, "log": []})


if __name__ == "__main__":
    unittest.main()
