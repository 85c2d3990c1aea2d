"""Children on terminals: the same protocols run on every system."""

import unittest

from support import WINDOWS, ReactorTestCase, on, ours_only, ports


@ours_only
class Terminals(ReactorTestCase):
    def test_what_is_typed_is_answered_and_the_end_is_told(self):
        for port in ports():
            with self.subTest(port):
                outcome = self.scenario("terminals", "conversation", environment=on(port), seconds=90)
                # Windows can change the size, but Wine cannot.
                [resized] = outcome.pop("resized")
                self.assertIn(resized, ["done", "resize: this system lacks ResizePseudoConsole"][: 1 + WINDOWS])
                calls = ["exited", "ended"]
                self.assertEqual(outcome, {"calls": calls, "end": ["ProcessTerminated", 3], "log": []})

    def test_a_child_is_hung_up_with_its_terminal_or_killed(self):
        for port in ports():
            for scenario in ("hung_up", "killed"):
                with self.subTest(port, scenario=scenario):
                    outcome = self.scenario("terminals", scenario, environment=on(port), seconds=90)
                    # Under Wine, a child that is hung up exits with 0.
                    ends = ["ProcessTerminated", "ProcessDone"][: 1 + (WINDOWS and scenario == "hung_up")]
                    self.assertIn(outcome.pop("name"), ends)
                    self.assertEqual(outcome, {"calls": ["exited", "ended"], "log": []})


if __name__ == "__main__":
    unittest.main()
