"""Children of asyncio programs: reaped before their end is told, on every port, with all that `Popen` offers."""

import os
import sys
import tempfile
import unittest

import support
from support import NO_REACTOR, ReactorTestCase, needs_posix, on, ours_only, ports

KEYWORDS = "asyncio_child_keywords"


@ours_only
class Children(ReactorTestCase):
    def on_each_port(self, function, *arguments, module="asyncio_children", **options):
        """The outcome of a scenario, which must be the same on every port."""
        outcomes = {
            port: self.scenario(module, function, *arguments, environment={**on(port), **NO_REACTOR}, **options)
            for port in ports()
        }
        outcome, *others = outcomes.values()
        for other in others:
            self.assertEqual(outcome, other, outcomes)
        return outcome

    def test_the_callbacks_come_in_order_and_the_transports_are_asyncios(self):
        for port in ports():
            with self.subTest(port):
                outcome = self.scenario("asyncio_children", "order", environment={**on(port), **NO_REACTOR})
                calls = outcome["calls"]
                self.assertEqual((calls[0], calls[-1]), (["made"], ["over", None]))
                data = [call for call in calls if call[0] == "data"]
                said = {fd: "".join(call[2] for call in data if call[1] == fd).split() for fd in (1, 2)}
                self.assertEqual(said, {1: ["out"], 2: ["err"]})
                lost = sorted(call[1:] for call in calls if call[0] == "lost")
                self.assertEqual(lost, [[fd, "NoneType"] for fd in (0, 1, 2)])
                self.assertEqual(calls.count(["exited"]), 1)
                self.assertEqual(outcome["before"], [None, False, True])
                self.assertEqual(outcome["after"], [7, True, True, "ProcessLookupError"])
                self.assertEqual(outcome["kinds"], [True] * 4)

    @needs_posix
    def test_children_are_reaped_before_their_end_is_told_without_threads_or_handlers(self):
        outcome = self.on_each_port("reaped", 40)
        self.assertEqual(outcome, {"seen": [False] * 40, "codes": [3] * 40, "threads": 0, "handler": True})

    def test_standard_streams_lead_where_they_are_told(self):
        with tempfile.TemporaryDirectory() as folder:
            outcome = self.on_each_port("streams", folder)
        self.assertEqual(outcome["file"], [0, None, None])
        self.assertEqual((outcome["number"], outcome["null"]), (0, ""))
        self.assertEqual(outcome["written"], [["out"], ["out", "err"]])
        self.assertEqual(outcome["stdout"], [["out", "err"], None])
        self.assertEqual(outcome["given"], ["out"])
        self.assertEqual(outcome["shell"], ["shell", 5])

    @needs_posix
    def test_pipes_are_pipes(self):
        outcome = self.on_each_port("real_pipes")
        self.assertEqual(outcome, ["by name", 0, ["wb", "rb"], [True, True], [True, True]])

    @needs_posix
    def test_what_cannot_be_started_raises_as_popen_does(self):
        with tempfile.TemporaryDirectory() as folder:
            outcome = self.on_each_port("errors", folder)
        expected = {
            "missing": ["FileNotFoundError", "ENOENT", "missing"],
            "not in PATH": ["FileNotFoundError", "ENOENT", "tidewaiter-is-not-there"],
            "not executable": ["PermissionError", "EACCES", "plain"],
            "no directory": ["FileNotFoundError", "ENOENT", "missing"],
            "NUL": ["ValueError", None, "None"],
            "variable": ["ValueError", None, "None"],
            "keyword": ["TypeError", None, "None"],
            "closed descriptor": ["OSError", "EBADF", os.path.basename(sys.executable)],
            "text": ["ValueError", None, "None"],
            "stdin to stdout": ["ValueError", None, "None"],
            "both ways": ["ValueError", None, "None"],
            "left": 0,
        }
        self.assertEqual(outcome, expected)

    def test_a_keyword_with_a_value_that_it_cannot_have_is_named(self):
        outcome = self.on_each_port("refused", module=KEYWORDS)
        expected = [
            ("TypeError", "terminal should be a bool or (rows, columns), not 'yes'"),
            ("TypeError", "terminal should be a bool or (rows, columns), not (30,)"),
            ("TypeError", "terminal should be a bool or (rows, columns), not (30, 65536)"),
            ("TypeError", "descriptors should map the child's descriptors to their targets, not be 7"),
            ("TypeError", "descriptors: 'x' is not the number of a descriptor"),
            ("TypeError", "descriptors: 3 should be 'r', 'w', 'rw', a number or a file, not 'pipe'"),
            ("TypeError", "descriptors: 3 should be 'r', 'w', 'rw', a number or a file, not None"),
            ("TypeError", "limits should map names to numbers, not be 5"),
            ("TypeError", "memory: "),
            ("OverflowError", "memory: "),
            ("TypeError", "nice: "),
            ("OverflowError", "nice: "),
            ("TypeError", "cpus: "),
        ]
        for (kind, text), (expected_kind, beginning) in zip(outcome, expected, strict=True):
            self.assertEqual(kind, expected_kind, text)
            self.assertTrue(text.startswith(beginning), text)

    @needs_posix
    def test_every_keyword_of_popen_has_its_effect(self):
        with tempfile.TemporaryDirectory() as folder:
            outcome = self.on_each_port("keywords", folder, module=KEYWORDS)
            expected = {
                "cwd": os.path.basename(folder),
                "env": "yes None",
                "umask": "0o27",
                "start_new_session": "True",
                "process_group": "True",
                "pass_fds": "",
                "executable": "yes",
                "preexec_fn": "3",
                "close_fds": "open",
                "restore_signals": "True",
                "user": "12345",
            }
        self.assertEqual(outcome.pop("passed"), "passed")
        for name, (code, output, errors) in outcome.items():
            with self.subTest(name):
                self.assertEqual((code, output.strip(), errors), (0, expected[name], ""))

    @needs_posix
    def test_a_replaced_popen_starts_the_children(self):
        self.assertEqual(self.on_each_port("replaced_popen", module=KEYWORDS), [["print(7)"], [0, "7\n", ""]])

    @support.needs_proc
    def test_cancelling_at_any_await_leaves_nothing(self):
        for port in ports():
            with self.subTest(port):
                outcome = self.scenario("asyncio_children", "cancelled", 6, environment={**on(port), **NO_REACTOR})
                self.assertEqual((outcome["left"]["descriptors"], outcome["zombies"]), (0, False), outcome)

    def test_closing_the_loop_kills_and_reaps_its_children(self):
        for port in ports():
            with self.subTest(port):
                outcome = self.scenario("asyncio_children", "closed_loop", environment={**on(port), **NO_REACTOR})
                self.assertEqual(set(outcome["closing"]), {True})
                self.assertEqual((outcome["there"], outcome["zombies"], outcome["left"]), ([], False, False))

    @needs_posix
    @support.needs_proc
    def test_two_thousand_children_leave_nothing(self):
        for port in ports():
            with self.subTest(port):
                outcome = self.scenario(
                    "asyncio_children", "many", 2000, 16, environment={**on(port), **NO_REACTOR}, seconds=120
                )
                left = outcome["left"]
                self.assertEqual((left["descriptors"], left["children"], outcome["zombies"]), (0, 0, False), left)
                self.assertLess(left["objects"], 100, left)
                self.assertLess(left["blocks"], 1000, left)

    def test_both_directions_have_flow_control(self):
        size = 300_000
        outcome = self.on_each_port("flow", size)
        expected = {
            "limits": [250, 1000],
            "queued": True,
            "early": ["pause"],
            "asked": ["pause", "resume"],
            "received": str(3 * size + 3),
            "read": size,
        }
        self.assertEqual(outcome, expected)

    def test_exceptions_of_callbacks_reach_the_exception_handler(self):
        outcome = self.on_each_port("raising")
        heard = sorted(["made", "data", "exited", "over", "lost", "lost", "lost"])
        self.assertEqual(outcome, {"heard": heard, "code": 0})

    def test_an_exit_in_a_callback_ends_the_run(self):
        self.assertEqual(self.on_each_port("exits_in_callback"), 9)

    def test_the_end_of_a_pipe_tells_what_asyncio_tells(self):
        outcome = self.on_each_port("broken_pipes", False)
        self.assertEqual(outcome["unsent"], [[0, "BrokenPipeError"], [1, "NoneType"], [2, "NoneType"]])
        self.assertEqual(outcome["drain"], "BrokenPipeError")
        own = self.scenario("asyncio_children", "broken_pipes", True, environment=NO_REACTOR)
        self.assertEqual(outcome, own)

    @needs_posix
    def test_a_child_has_a_terminal_by_keyword(self):
        for port in ports():
            with self.subTest(port):
                code, lines = self.scenario(KEYWORDS, "terminal", environment={**on(port), **NO_REACTOR})
                self.assertEqual((code, lines[-2]), (0, "heard typed 40 90"))
                # The terminal's echo of what is typed can come at any time.
                self.assertEqual(lines[0].removesuffix("typed"), "True 30 100")

    def test_further_descriptors_are_pipes_by_keyword(self):
        self.assertEqual(self.on_each_port("further_descriptors", module=KEYWORDS), ["THREE", "five five ", 0])

    def test_a_kill_reaches_the_tree_by_keyword(self):
        lines, code, rest = self.on_each_port("tree", module=KEYWORDS)
        self.assertEqual((lines, rest), (["ready", "there"], ""))
        self.assertNotEqual(code, 0)

    def test_the_wait_for_a_child_does_not_wait_for_others_with_its_pipes(self):
        self.assertEqual(self.on_each_port("wait_before_pipes"), [0, ""])

    @unittest.skipUnless(sys.platform == "linux", "Python does not fit into a small address space everywhere")
    def test_limits_are_set_by_keyword(self):
        self.assertEqual(self.on_each_port("limited", module=KEYWORDS), 1)

    def test_callbacks_run_in_the_context_of_the_start(self):
        for port in ports():
            with self.subTest(port):
                seen = self.scenario("asyncio_children", "in_context", environment={**on(port), **NO_REACTOR})
                self.assertEqual({value for _, value in seen}, {"starter"}, seen)


if __name__ == "__main__":
    unittest.main()
