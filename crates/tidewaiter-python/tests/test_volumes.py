"""A gibibyte arrives complete, and takes no more memory than expected, however it is written."""

import unittest

from support import OURS, ReactorTestCase, needs_proc

SIZE = 1 << 30
MEBIBYTE = 1 << 20


class Volumes(ReactorTestCase):
    def assertArrives(self, way, most):
        outcome = self.scenario("volumes", "written", SIZE, way, seconds=60.0)
        self.assertEqual((outcome["count"], outcome["right"]), (SIZE, True), outcome)
        self.assertEqual(outcome["lost"], ["ConnectionDone"])
        if most is not None:
            self.assertLess(outcome["grown"], most, "more memory than that was taken")

    @needs_proc
    def test_in_one_write(self):
        # Twisted's own transports copy written data; ours keeps the bytes object.
        self.assertArrives("at once", 32 * MEBIBYTE if OURS else None)

    @needs_proc
    def test_in_many_writes_of_the_same_bytes(self):
        self.assertArrives("in pieces", 32 * MEBIBYTE if OURS else None)

    @needs_proc
    def test_by_a_producer(self):
        self.assertArrives("produced", 32 * MEBIBYTE)


if __name__ == "__main__":
    unittest.main()
