"""The examples do what their first lines promise."""

import re
import signal
import socket
import sys
import unittest

import support
from support import EXAMPLES, needs_posix, on, ours_only, ports

# More than the system's buffers of two sockets hold.
MUCH = 100 << 20


@ours_only
class Examples(unittest.TestCase):
    def test_every_example_says_in_its_first_line_how_to_run_it(self):
        examples = sorted(EXAMPLES.glob("*.py"))
        self.assertTrue(examples)
        for example in examples:
            with self.subTest(example.name):
                self.assertIn(f"Run: python examples/python/{example.name}", example.read_text("utf-8").splitlines()[0])

    def test_every_example_says_how_to_run_it_when_it_cannot(self):
        wrong = {
            # They take none.
            "children.py": [],
            "datagrams.py": [],
            "echo.py": [[], ["x"], ["-1"], ["1", "2"]],
            "spawn.py": [[]],
            "timers.py": [[], ["x"], ["1", "2"]],
        }
        self.assertEqual(sorted(wrong), sorted(example.name for example in EXAMPLES.glob("*.py")))
        for name, cases in wrong.items():
            for arguments in cases:
                with self.subTest(name, arguments=arguments):
                    finished = support.run([sys.executable, EXAMPLES / name, *arguments])
                    self.assertEqual((finished.code, finished.output), (1, ""), finished)
                    self.assertRegex(finished.errors, rf"^usage: python {name} \S.*\n$")

    @needs_posix
    def test_echo_to_one_that_does_not_read_takes_no_more_than_it_can_get_rid_of(self):
        process = support.Process([sys.executable, EXAMPLES / "echo.py", "0"])
        found = process.wait_for(lambda: re.search(r"listening on 127.0.0.1:(\d+)\s", process.output()))
        with socket.create_connection(("127.0.0.1", int(found[1])), 10) as connection:
            connection.settimeout(2)
            sent = 0
            try:
                while sent < MUCH:
                    sent += connection.send(b"x" * 65536)
            except TimeoutError:
                pass
            self.assertLess(sent, MUCH, "it took everything")
            connection.shutdown(socket.SHUT_WR)
        process.signal(signal.SIGINT)
        finished = process.finish()
        self.assertEqual((finished.code, finished.errors), (0, ""), finished)

    @needs_posix
    def test_echo(self):
        process = support.Process([sys.executable, EXAMPLES / "echo.py", "0"])
        found = process.wait_for(lambda: re.search(r"listening on 127.0.0.1:(\d+)\s", process.output()))
        with socket.create_connection(("127.0.0.1", int(found[1])), 10) as connection:
            connection.sendall(b"hello")
            self.assertEqual(connection.recv(100), b"hello")
        process.signal(signal.SIGINT)
        finished = process.finish()
        self.assertEqual((finished.code, finished.errors), (0, ""), finished)

    def test_spawn(self):
        code = "import sys; print('out'); sys.stdout.flush(); print('err', file=sys.stderr); raise SystemExit(3)"
        finished = support.run([sys.executable, EXAMPLES / "spawn.py", sys.executable, "-c", code])
        self.assertEqual((finished.code, finished.errors), (0, ""), finished)
        lines = finished.output.splitlines()
        self.assertEqual(sorted(lines[:-1]), ["error: err", "output: out"], finished)
        self.assertEqual(lines[-1], "ended with code 3")

    def test_children(self):
        for port in ports():
            with self.subTest(port):
                finished = support.run([sys.executable, EXAMPLES / "children.py"], environment=on(port))
                self.assertEqual((finished.code, finished.errors), (0, ""), finished)
                *of_terminal, answer, end = finished.output.splitlines()
                if not support.WINDOWS:
                    # Wine leaves Python's standard output on a terminal without one.
                    self.assertEqual(of_terminal, ["columns: 100"])
                self.assertEqual([answer, end], ["from descriptor 4: HELLO", "ended with code 0"])

    def test_datagrams(self):
        expected = ["echo of a datagram", *([] if support.WINDOWS else ["hello on a UNIX socket"])]
        for port in ports():
            with self.subTest(port):
                finished = support.run([sys.executable, EXAMPLES / "datagrams.py"], environment=on(port))
                self.assertEqual((finished.code, finished.errors), (0, ""), finished)
                self.assertEqual(finished.output.splitlines(), expected)

    def test_timers(self):
        finished = support.run([sys.executable, EXAMPLES / "timers.py", "3"])
        self.assertEqual((finished.code, finished.errors), (0, ""), finished)
        self.assertEqual(finished.output.splitlines()[:4], ["3", "2", "1", "0"])


if __name__ == "__main__":
    unittest.main()
