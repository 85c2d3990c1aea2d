"""Buildbot, unchanged: a master and a worker run on the reactor, and build with all kinds of commands."""

import json
import pathlib
import shutil
import signal
import sys
import tempfile
import unittest

import support

TWISTD = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()", "--reactor", support.REACTOR]
SUCCESS, FAILURE = 0, 2


@support.needs_posix
class Buildbot(unittest.TestCase):
    maxDiff = None

    def test_a_build_runs_its_commands_on_a_worker(self):
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            master = self._start_master(folder / "master")
            worker = None
            try:
                port = master.wait_for((folder / "master" / "port").exists) and (folder / "master" / "port").read_text()
                worker = self._start_worker(folder / "worker", port)
                result = folder / "master" / "result.json"
                master.wait_for(result.exists, 30)
            finally:
                ended = master.finish()
                if worker is not None:
                    worker.signal(signal.SIGTERM)
                    worker_ended = worker.finish()
            self.assertEqual(ended.code, 0, ended)
            self.assertEqual(worker_ended.code, -signal.SIGTERM, worker_ended)
            self.assertEqual(worker_ended.left_over, [], worker_ended)
            self._check(json.loads(result.read_text()), f"{ended}\n{worker_ended}")

    def _start_master(self, folder):
        create = "from buildbot.scripts.runner import run; run()"
        created = support.run([sys.executable, "-c", create, "create-master", "-q", "-n", folder], seconds=40)
        self.assertEqual(created.code, 0, created)
        shutil.copyfile(support.HERE / "scenarios" / "master_cfg.py", folder / "master.cfg")
        return support.Process(
            [*TWISTD, "--nodaemon", "--pidfile=", "--logfile=-", "-y", "buildbot.tac"], folder=folder
        )

    def _start_worker(self, folder, port):
        create = "from buildbot_worker.scripts.runner import run; run()"
        arguments = ["create-worker", "-q", "-n", folder, f"127.0.0.1:{port}", "worker", "secret"]
        created = support.run([sys.executable, "-c", create, *arguments])
        self.assertEqual(created.code, 0, created)
        return support.Process(
            [*TWISTD, "--nodaemon", "--pidfile=", "--logfile=-", "-y", "buildbot.tac"], folder=folder
        )

    def _check(self, result, said):
        steps = {step["name"]: step for step in result["steps"]}
        results = {step["name"]: step["results"] for step in result["steps"]}
        expected = dict.fromkeys(("hello", "lines", "input", "pty"), SUCCESS) | {"error": FAILURE, "hangs": FAILURE}
        expected["worker_preparation"] = results.pop("worker_preparation", SUCCESS)
        results["worker_preparation"] = expected["worker_preparation"]
        self.assertEqual(results, expected, said)
        output = {name: _lines(step["logs"].get("stdio", "")) for name, step in steps.items()}
        self.assertIn("ohello from a shell", output["hello"])
        lines = [line for line in output["lines"] if line.startswith("oline ")]
        self.assertEqual(lines, [f"oline {number}" for number in range(20_000)])
        self.assertIn("eto the error", output["error"])
        self.assertIn("owhat was given", output["input"])
        self.assertIn("obegun", output["hangs"])
        self.assertIn("oTrue", output["pty"])


def _lines(log):
    return [line.rstrip("\r") for line in log.splitlines()]


if __name__ == "__main__":
    unittest.main()
