"""Programs on others' libraries for asyncio, unchanged, on our loop. `test_asyncio_servers.py` has servers."""

import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

import support
from support import needs_posix, on, ports

PROGRAMS = support.HERE / "scenarios" / "asyncio_programs.py"
# Wine takes many seconds to start a program with that many modules.
LIMIT_SECONDS = 90 if support.WINDOWS else 60


class ApplicationsTestCase(unittest.TestCase):
    maxDiff = None

    def assertOnEach(self, expected, name, *arguments):
        for port in ports():
            with self.subTest(port):
                self.assertEqual(self.result(port, name, *arguments), expected)

    def result(self, port, name, *arguments):
        command = [sys.executable, "-X", "faulthandler", PROGRAMS, name, *arguments]
        ended = support.run(command, LIMIT_SECONDS, on(port))
        self.assertEqual(ended.code, 0, ended)
        self.assertEqual(ended.left_over, [], ended)
        self.assertNotIn("Traceback", ended.errors, ended)
        return json.loads(ended.output.splitlines()[-1])


class Applications(ApplicationsTestCase):
    def test_aiohttp_serves_and_asks(self):
        expected = {"uploaded": 5_000_000, "echoed": "cba", "same": True, "many": True}
        self.assertOnEach(expected, "aiohttp")

    def test_tornado_serves_and_asks(self):
        self.assertOnEach({"size": 1_000_000, "echoed": "cba"}, "tornado")

    def test_uvicorn_serves_beside_a_client(self):
        self.assertOnEach({"size": 1_000_000}, "uvicorn")

    def test_zmq_answers(self):
        self.assertOnEach({"right": True}, "zmq")


@needs_posix
class ApplicationsOnPosix(ApplicationsTestCase):
    def test_websockets_serve_many_clients(self):
        self.assertOnEach({"right": True}, "websockets")

    def test_psycopg_talks_to_postgresql(self):
        expected = {"total": 49_995_000, "piped": True, "told": "text", "cancelled": True}
        for port in ports():
            with self.subTest(port), postgresql() as place:
                self.assertEqual(self.result(port, "psycopg", place), expected)


@contextlib.contextmanager
def postgresql():
    """A server of PostgreSQL without data, on a UNIX socket in the folder that this yields."""
    # Debian keeps the programs of each version to itself.
    folders = [os.environ["PATH"], *sorted(map(str, pathlib.Path("/usr/lib/postgresql").glob("*/bin")))]
    found = shutil.which("initdb", path=os.pathsep.join(folders))
    if found is None:
        raise unittest.SkipTest("needs PostgreSQL")
    programs = pathlib.Path(found).resolve().parent
    # It refuses to run as root.
    user = {"user": "postgres", "group": "postgres"} if os.getuid() == 0 else {}
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.STDOUT, **user}
    with tempfile.TemporaryDirectory() as place:
        if user:
            shutil.chown(place, "postgres")
        data = ["-D", f"{place}/data"]
        subprocess.run([programs / "initdb", *data, "-U", "postgres", "-A", "trust", "-N"], check=True, **quiet)
        control = [programs / "pg_ctl", *data, "-w"]
        settings = f"-k {place} -c listen_addresses= -c fsync=off"
        subprocess.run([*control, "-o", settings, "start"], check=True, **quiet)
        try:
            yield place
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], check=True, **quiet)


if __name__ == "__main__":
    unittest.main()
