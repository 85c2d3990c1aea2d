"""Tests for Windows alone: events, children, and signals, which do not interrupt a wait there."""

import os
import tempfile
import unittest

from support import WINDOWS, ReactorTestCase, ours_only


@unittest.skipUnless(WINDOWS, "what is tested here exists on Windows only")
class Windows(ReactorTestCase):
    def test_a_signal_is_heard_at_once_and_the_wakeup_descriptor_is_restored(self):
        outcome = self.scenario("windows", "stopped_by_signals", seconds=90)
        self.assertEqual(outcome, {"heard": True, "restored": True, "log": []})

    def test_twisteds_own_handlers_stop_the_reactor(self):
        for name in ("SIGINT", "SIGTERM", "SIGBREAK"):
            with self.subTest(name):
                self.assertEqual(self.scenario("windows", "stopped_by_twisteds_handler", name, seconds=90), name)

    def test_events_are_watched_in_any_number(self):
        outcome = self.scenario("windows", "many_events", 200, seconds=90)
        expected = {
            "counts": [3] + [2] * 199,
            "here": True,
            "lost": [[], ["ZeroDivisionError"]],
            "lost is removed": True,
            "log": ["ZeroDivisionError: broken on purpose"],
        }
        self.assertEqual(outcome, expected)

    def test_children_get_what_is_given_and_end_in_order(self):
        folder, arguments = os.getcwd(), ["a b", '"quoted"', "back\\slash\\", "", "ä"]
        outcome = self.scenario("windows", "children", folder, arguments, seconds=90)
        calls = [
            ["exited", "too late", ["ended", "ProcessDone", 0, None]],
            ["exited", "too late", ["ended", "ProcessTerminated", 3, None]],
            ["kill", "exited", "too late", ["ended", "ProcessTerminated", 1, None]],
        ]
        self.assertEqual(outcome, {"told": f"{arguments} yes True {folder}", "calls": calls, "log": []})

    @ours_only
    def test_batch_files_and_scripts_get_what_is_given_and_run_none_of_it(self):
        arguments = ["a b", '"&echo broken', "^&|<>", "back\\slash\\", "", "\u00e4"]
        with tempfile.TemporaryDirectory() as folder:
            outcome = self.scenario("windows", "other_files", folder, arguments, seconds=90)
        self.assertEqual(outcome["told"], dict.fromkeys(["batch.cmd", "script", "by name"], ascii(arguments)))
        self.assertEqual(outcome["refused"], {"batch.cmd": "OSError", "neither.exe": "OSError"})
        self.assertEqual(outcome["log"], [])

    @ours_only
    def test_a_child_has_descriptors_beside_the_standard_streams(self):
        with tempfile.TemporaryDirectory() as folder:
            outcome = self.scenario("windows", "further_descriptors", folder, seconds=90)
        received = {"1": "no other", "4": "UP\r\n\x1a"}
        self.assertEqual(outcome, {"received": received, "file": "to the file", "log": []})

    @ours_only
    def test_what_cannot_be_started_says_so_once(self):
        with tempfile.TemporaryDirectory() as folder:
            said = self.scenario("windows", "failed_starts", folder)
        causes = {
            "missing": "not found: the program does not exist",
            "directory": "cannot be executed: it is a directory",
            "text": "cannot be executed: ",
            "no directory": f"cannot enter its working directory {os.path.join(folder, 'missing.exe')}: ",
            "too long": "the command line, which holds all arguments, is too long",
        }
        self.assertEqual(set(said), set(causes))
        for name, cause in causes.items():
            self.assertEqual(said[name].count(cause), 1, said[name])
            self.assertEqual(said[name].count("(os error"), int("(os error" in said[name]), said[name])

    def test_texts_that_are_not_unicode_arrive(self):
        outcome = self.scenario("windows", "half_characters")
        told = ascii(["a\ud800b", "\udfff", "x\udc00\ud800"])
        self.assertEqual(outcome, {"told": told, "log": []})

    @ours_only
    def test_what_windows_or_we_do_not_have_is_refused(self):
        outcome = self.scenario("windows", "refusals")
        expected = {
            **dict.fromkeys(["uid", "gid", "usePTY", "both"], "ValueError"),
            "childFDs": "TypeError",
            "closed": "OSError",
            "no program": "FileNotFoundError",
            "UNIX": "NotImplementedError",
            "no socket": "OSError",
        }
        self.assertEqual(outcome, {"raised": expected, "claimed": ["IReactorUDP", "IReactorSocket", "IReactorFDSet"]})


if __name__ == "__main__":
    unittest.main()
