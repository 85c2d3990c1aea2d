"""Until a transport is lost, its methods act on its own socket, even if new sockets are opened meanwhile."""

import itertools
import unittest

from support import ReactorTestCase, on, ports


class Views(ReactorTestCase):
    def test_a_transport_that_ends_speaks_of_its_own_socket(self):
        for port in ports():
            with self.subTest(port):
                outcome = self.scenario("views", "endings", environment=on(port))
                self.assertEqual(outcome, {"wrong": {}, "asked": 20, "log": []})

    def test_a_transport_that_has_failed_speaks_of_its_own_socket(self):
        for port, seen in itertools.product(ports(), (True, False)):
            with self.subTest(port, seen=seen):
                outcome = self.scenario("views", "failing", seen, environment=on(port))
                self.assertEqual(outcome, {"wrong": {}, "touched": 0, "log": []})


if __name__ == "__main__":
    unittest.main()
