"""No argument makes a class beneath asyncio's loop panic, or stops the loop."""

import json
import sys
import unittest

import support
from support import HERE, WINDOWS, on, ports

KINDS = {
    *("AsyncioLoop", "Handle", "TimerHandle", "SocketTransport", "StreamListener", "AsyncioStream"),
    *("AsyncioDatagrams", "AsyncioChild", "ChildPipe"),
}
KINDS_ELSEWHERE = {"AsyncioPipe", "Descriptors"}


class Extremes(unittest.TestCase):
    def test_no_argument_makes_a_method_panic(self):
        command = [sys.executable, "-X", "faulthandler", HERE / "scenarios" / "asyncio_extremes.py"]
        for port in ports():
            with self.subTest(port):
                finished = support.run(command, 60.0, on(port))
                self.assertEqual(finished.code, 0, finished)
                self.assertNotIn("panicked", finished.errors)
                told = json.loads(finished.output.splitlines()[-1])
                self.assertLessEqual(KINDS if WINDOWS else KINDS | KINDS_ELSEWHERE, set(told["kinds"]))
                self.assertEqual(told["done"], "done")
                for call, outcome in told["outcomes"].items():
                    if "NOT AN ORDINARY EXCEPTION" in outcome or "panic" in outcome.lower():
                        self.fail(f"{call}: {outcome}")


if __name__ == "__main__":
    unittest.main()
