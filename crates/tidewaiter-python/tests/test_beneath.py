"""Nothing of Twisted's own transports is left beneath the reactor."""

import tempfile
import unittest

import support
from support import ReactorTestCase, on, ours_only, ports


@ours_only
class Beneath(ReactorTestCase):
    def test_every_transport_is_ours(self):
        for port in ports():
            with self.subTest(port), tempfile.TemporaryDirectory() as folder:
                outcome = self.scenario("beneath", "classes", "" if support.WINDOWS else folder, environment=on(port))
                counts = [8, 6] if support.WINDOWS else [12, 12]
                self.assertEqual(outcome, {"foreign": [], "used": [], "counts": counts})

    def test_the_applications_own_descriptors_are_watched(self):
        for port in ports():
            with self.subTest(port):
                self.assertEqual(self.scenario("beneath", "of_others", environment=on(port)), ["hello", "lost"])


if __name__ == "__main__":
    unittest.main()
