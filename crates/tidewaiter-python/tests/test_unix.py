"""UNIX sockets that carry streams."""

import os
import tempfile
import unittest

from support import ReactorTestCase, needs_fork, needs_posix, needs_proc, on, ours_only, ports


@needs_posix
class UnixSockets(ReactorTestCase):
    def each(self, function, arguments):
        """The outcomes of a scenario on each port, with the new folder that it got its arguments from."""
        for port in ports():
            with tempfile.TemporaryDirectory() as folder:
                yield folder, self.scenario("unix_sockets", function, *arguments(folder), environment=on(port))

    def test_bytes_go_both_ways(self):
        for folder, outcome in self.each("echo", lambda folder: [os.path.join(folder, "socket")]):
            path = os.path.join(folder, "socket")
            described = outcome.pop("described")
            self.assertEqual(
                [each[:2] for each in described], [[str(path.encode()), "None"], ["None", str(path.encode())]]
            )
            self.assertEqual(described[1][2], "Side,client")
            self.assertEqual(
                outcome,
                {
                    "same": True,
                    "mode": "0o600",
                    "left": False,
                    "lost": [["ConnectionLost"], ["ConnectionLost"]],
                    "log": [],
                },
            )

    @unittest.skipUnless(os.path.exists("/proc/net/unix"), "only Linux has abstract names")
    def test_names_may_be_abstract(self):
        for _, outcome in self.each("echo", lambda folder: ["\0" + folder]):
            self.assertEqual([outcome["same"], outcome["left"], outcome["log"]], [True, False, []])

    @needs_proc
    def test_descriptors_are_passed_in_order(self):
        for _, outcome in self.each("passed", lambda folder: [os.path.join(folder, "socket"), True]):
            received = outcome.pop("received")
            self.assertEqual(received.replace("[one]", "").replace("[two]", "").replace("[three]", ""), "abcdef")
            places = [received.index(part) for part in ("[one]", "[two]", "[three]")]
            self.assertEqual(places, sorted(places), received)
            ends = [["ConnectionDone"], ["ConnectionDone"]]
            self.assertEqual(outcome, {"told": 0, "left open": 0, "lost": ends, "log": []})

    @needs_proc
    def test_descriptors_that_the_protocol_does_not_take_are_closed(self):
        for _, outcome in self.each("passed", lambda folder: [os.path.join(folder, "socket"), False]):
            ends = [["ConnectionDone"], ["ConnectionDone"]]
            expected = {"received": "abcdef", "left open": 0, "lost": ends, "log": []}
            self.assertGreaterEqual(outcome.pop("told"), 1)
            self.assertEqual(outcome, expected)

    @needs_proc
    def test_a_peer_that_does_not_read_pauses_the_producer_of_descriptors(self):
        for _, outcome in self.each("many", lambda folder: [os.path.join(folder, "socket"), 1000]):
            expected = {"received": 1000, "bytes": 1000, "paused": True, "left open": 0, "log": []}
            self.assertEqual(outcome, expected)

    def test_a_lock_keeps_a_second_server_away(self):
        for _, outcome in self.each("locked", lambda folder: [folder]):
            expected = [
                ["first", "done"],
                ["second", "CannotListenError"],
                ["locked", True],
                ["left", []],
                ["stale", "done"],
                ["failed", ["BadFileError"]],
            ]
            self.assertEqual(outcome, {"outcome": expected, "log": []})

    def test_what_cannot_be_connected_or_listened_on_is_refused(self):
        for _, outcome in self.each("refused", lambda folder: [folder]):
            failed = outcome.pop("failed")
            self.assertEqual(set(failed), {"missing", "file", "long"})
            self.assertEqual(failed["file"], "ConnectionRefusedError")
            raised = dict.fromkeys(["file", "long"], "CannotListenError")
            self.assertEqual(outcome, {"raised": raised, "log": []})

    @ours_only
    @needs_fork
    def test_a_copy_leaves_the_parents_sockets_and_files_alone(self):
        for _, outcome in self.each("forked", lambda folder: [folder]):
            expected = {"statuses": [3], "answered": "b", "received": "datagram", "log": []}
            self.assertEqual(outcome, expected)


if __name__ == "__main__":
    unittest.main()
