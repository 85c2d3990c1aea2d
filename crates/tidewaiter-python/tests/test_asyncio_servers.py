"""Servers of ASGI and aiohttp, unchanged, which are started on our asyncio loop as the manual says."""

import json
import re
import signal
import sys
import unittest
import urllib.request

import support
from support import needs_posix, on, ports

OURS = "tidewaiter.asyncio"
FACTORY = "tidewaiter.asyncio:new_event_loop"
SCENARIOS = support.HERE / "scenarios"
SERVE_HYPERCORN = """
import hypercorn.asyncio, hypercorn.config, signal, asyncio, tidewaiter.asyncio
from asgi_site import app
config = hypercorn.config.Config()
config.bind = ["127.0.0.1:0"]
config.use_reloader = False
tidewaiter.asyncio.run(hypercorn.asyncio.serve(app, config))
"""
SERVE_AIOHTTP = """
import aiohttp.web, tidewaiter.asyncio
from asyncio_workers import app
loop = tidewaiter.asyncio.new_event_loop()
aiohttp.web.run_app(app, host="127.0.0.1", port=0, loop=loop)
"""
# Daphne makes Twisted's own reactor on the loop that asyncio gives it, or takes the reactor that is installed.
INSTALL_FOR_DAPHNE = {
    "Loop": "import tidewaiter.asyncio as ours",
    "AsyncioReactor": "import tidewaiter.twisted.asyncioreactor as ours",
}
SERVE_DAPHNE = """
ours.install()
from daphne.cli import CommandLineInterface
from twisted.internet import reactor
print(type(reactor).__name__, flush=True)
CommandLineInterface.entrypoint()
"""


class ServersTestCase(unittest.TestCase):
    def serve(self, port, *arguments):
        """Starts a server, and returns it with its address."""
        process = support.Process([sys.executable, *arguments], on(port), SCENARIOS)
        said = re.compile(r"(?:https?://|TCP address )127\.0\.0\.1:([1-9]\d*)")
        found = process.wait_for(lambda: said.search(process.output() + process.errors()))
        return process, f"127.0.0.1:{found[1]}"

    def assertServes(self, address):
        """Requests to `asgi_site` are answered."""
        self.assertEqual(json.loads(fetch(address, "loop")), OURS)
        self.assertEqual(len(fetch(address, "large")), 10_000_000)
        self.assertEqual(json.loads(fetch(address, "upload", b"y" * 3_000_000)), 3_000_000)
        self.assertEqual(json.loads(fetch(address, "child")), [0, "THROUGH A CHILD"])

    def assertEchoes(self, address):
        from websockets.sync.client import connect

        with connect(f"ws://{address}/echo") as client:
            client.send("abc")
            self.assertEqual(client.recv(timeout=20), "cba")

    def assertEnds(self, process, number=signal.SIGTERM, codes=(0,)):
        process.signal(number)
        ended = process.finish()
        self.assertIn(ended.code, codes, ended)
        self.assertEqual(ended.left_over, [], ended)
        self.assertNotIn("Traceback", ended.errors + ended.output, ended)
        return ended


def fetch(address, path, body=None):
    with urllib.request.urlopen(f"http://{address}/{path}", body, timeout=20) as answer:
        return answer.read()


@needs_posix
class Servers(ServersTestCase):
    def test_uvicorn_serves(self):
        # It ends by the signal that asked it to.
        codes = (0, -signal.SIGTERM)
        for port in ports():
            for parser in ("h11", "httptools"):
                with self.subTest(port, parser=parser):
                    arguments = ["--loop", FACTORY, "--http", parser, "--port", "0", "asgi_site:app"]
                    process, address = self.serve(port, "-m", "uvicorn", *arguments)
                    self.assertServes(address)
                    self.assertEchoes(address)
                    ended = self.assertEnds(process, codes=codes)
                    self.assertEqual(ended.output.split("\n")[0], "begun")
                    self.assertIn("ended", ended.output)

    def test_uvicorn_serves_with_several_workers(self):
        arguments = ["--loop", FACTORY, "--workers", "2", "--port", "0", "asgi_site:app"]
        process, address = self.serve(None, "-m", "uvicorn", *arguments)
        process.wait_for(lambda: process.errors().count("Application startup complete") == 2)
        self.assertServes(address)
        self.assertEnds(process, codes=(0, -signal.SIGTERM))

    def test_hypercorn_serves(self):
        for port in ports():
            with self.subTest(port):
                process, address = self.serve(port, "-c", SERVE_HYPERCORN)
                self.assertServes(address)
                self.assertEchoes(address)
                self.assertEnds(process)

    def test_daphne_serves(self):
        for port in ports():
            for installed, line in INSTALL_FOR_DAPHNE.items():
                with self.subTest(port, installed=installed):
                    arguments = ["-c", line + SERVE_DAPHNE, "-p", "0", "asgi_site:app"]
                    process, address = self.serve(port, *arguments)
                    self.assertServes(address)
                    self.assertEchoes(address)
                    ended = self.assertEnds(process)
                    ours = ended.output.startswith("AsyncioReactor")
                    self.assertEqual(ours, installed == "AsyncioReactor", ended)

    def test_gunicorn_serves_by_workers_of_uvicorn(self):
        for port in ports():
            with self.subTest(port):
                arguments = ["-k", "asyncio_workers.Worker", "-w", "2", "-b", "127.0.0.1:0", "asgi_site:app"]
                process, address = self.serve(port, "-m", "gunicorn", *arguments)
                self.assertServes(address)
                self.assertEchoes(address)
                self.assertEnds(process)

    def test_gunicorn_serves_by_workers_of_aiohttp(self):
        arguments = ["-k", "asyncio_workers.WebWorker", "-b", "127.0.0.1:0", "asyncio_workers:app"]
        process, address = self.serve(None, "-m", "gunicorn", *arguments)
        self.assertEqual(json.loads(fetch(address, "loop")), OURS)
        self.assertEnds(process)

    def test_aiohttp_serves(self):
        for port in ports():
            with self.subTest(port):
                process, address = self.serve(port, "-c", SERVE_AIOHTTP)
                self.assertEqual(json.loads(fetch(address, "loop")), OURS)
                self.assertEnds(process)


if __name__ == "__main__":
    unittest.main()
