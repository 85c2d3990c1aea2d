"""Closing waits until queued data is sent, as with Twisted's own transports."""

import itertools
import re
import unittest

import support
from support import ReactorTestCase, on, ours_only, ports

DONE = ["ConnectionDone"]
PIECES = "piece, piece, piece, end"


class Closing(ReactorTestCase):
    def test_what_is_written_right_after_is_sent(self):
        for method in ("loseConnection", "loseWriteConnection"):
            for queued in (False, True):
                with self.subTest(method, queued=queued):
                    outcome = self.scenario("closing", "written_after", method, queued)
                    expected = "early, late" if queued else "late"
                    self.assertEqual(outcome, {"received": expected, "server": DONE, "client": DONE, "log": []})

    def test_what_is_written_while_something_is_being_sent_is_sent(self):
        size = 30_000_000
        outcome = self.scenario("closing", "written_while_sending", size)
        self.assertEqual(outcome, {"size": size + 4, "last": "xlate", "server": DONE})

    def test_what_is_written_to_a_child_right_after_is_sent(self):
        self.assertEqual(self.scenario("closing", "written_to_child"), "late")

    @ours_only
    def test_a_peer_that_still_sends_gets_all_that_was_written(self):
        for port, when in itertools.product(ports(), ("connectionMade", "dataReceived")):
            with self.subTest(port, when=when):
                outcome = self.scenario("closing", "to_one_that_sends", when, 200_000, environment=on(port))
                self.assertEqual(outcome, {"received": 200_000, "ended": "in order", "server": DONE, "log": []})

    @ours_only
    def test_a_peer_that_still_sends_gets_all_of_it_though_the_reactor_stops(self):
        for port in ports():
            with self.subTest(port):
                process = support.start_scenario("closing", "stopped_after", 200_000, environment=on(port))
                found = process.wait_for(lambda process=process: re.search(r"listening on (\d+)\s", process.output()))
                peer = support.FloodingPeer(int(found[1]))
                peer.start()
                peer.join()
                self.assertEqual((peer.received, peer.ended), (200_000, "in order"))
                self.assertEndedWell(process.finish())

    def test_aborting_ends_it_at_once(self):
        for method in ("loseConnection", "loseWriteConnection"):
            for queued in (0, 10_000_000):
                with self.subTest(method, queued=queued):
                    outcome = self.scenario("closing", "aborted_after", method, queued)
                    self.assertEqual(outcome["server"], ["ConnectionAborted"])
                    self.assertEqual(outcome["client"], ["ConnectionLost"])
                    self.assertEqual(outcome["log"], [])

    def test_closing_the_write_side_first_changes_nothing(self):
        outcome = self.scenario("closing", "both_ends")
        self.assertEqual(outcome, {"received": "all of it", "server": DONE, "client": DONE, "log": []})


class ClosingWithProducers(ReactorTestCase):
    def test_a_pull_producer_is_waited_for(self):
        for when in ("before", "after"):
            with self.subTest(when):
                outcome = self.scenario("closing", "pulled", when)
                self.assertEqual(outcome["received"], PIECES)
                self.assertEqual((outcome["asked"], outcome["stopped"]), (3, 0))
                self.assertEqual((outcome["server"], outcome["log"]), (DONE, []))

    def test_a_pull_producer_is_asked_once_for_each_time_that_all_is_sent(self):
        self.assertEqual(self.scenario("closing", "asked_once"), [1])

    def test_a_push_producer_with_room_is_stopped(self):
        outcome = self.scenario("closing", "pushed")
        self.assertEqual(outcome["received"], "late")
        self.assertEqual((outcome["asked"], outcome["stopped"]), (0, 1))
        self.assertEqual((outcome["server"], outcome["log"]), (DONE, []))


class ClosingPorts(ReactorTestCase):
    @ours_only
    def test_stopping_twice_is_as_good_as_once(self):
        for when in ("at once", "in one turn"):
            with self.subTest(when):
                outcome = self.scenario("closing", "stopped_again", when)
                self.assertEqual(outcome, {"fired": ["None", "None"], "stops": ["doStop"], "log": []})

    @ours_only
    def test_one_whose_socket_was_closed_by_hand_can_be_stopped(self):
        self.assertEqual(self.scenario("closing", "closed_by_hand"), {"fired": ["None"], "log": []})

    @ours_only
    def test_a_connection_in_the_making_whose_socket_was_closed_by_hand_times_out(self):
        outcome = self.scenario("closing", "connecting_closed_by_hand")
        self.assertEqual(outcome, {"failed": ["TimeoutError"], "made": 0, "log": []})


if __name__ == "__main__":
    unittest.main()
