"""Ctrl-C ends the loop cleanly or raises KeyboardInterrupt, at any moment."""

import random
import signal
import time
import unittest

import support
from support import ReactorTestCase, needs_posix


class Interrupts(ReactorTestCase):
    @needs_posix
    def test_with_handlers_the_loop_stops_at_any_moment(self):
        chance = random.Random(3)
        for number in (signal.SIGINT, signal.SIGTERM) * 3:
            with self.subTest(number):
                process = support.start_scenario("interrupts", "handled")
                process.wait_for(lambda process=process: "running" in process.output())
                time.sleep(chance.random() * 0.1)
                process.signal(number)
                finished = process.finish()
                self.assertEndedWell(finished)
                self.assertIn(f"stopped by {int(number)}", finished.output)

    def test_without_handlers_every_interrupt_is_heard_and_the_loop_goes_on(self):
        for busy in (False, True):
            with self.subTest(busy=busy):
                outcome = self.scenario("interrupts", "unhandled", 100, busy)
                self.assertEqual(outcome["sent"], 100)
                self.assertEqual(outcome["raised"] + outcome["logged"], 100)


if __name__ == "__main__":
    unittest.main()
