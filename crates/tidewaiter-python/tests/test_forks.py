"""Forks do not disturb the parent or the child, whether the reactor was imported, created or running."""

import json
import pathlib
import signal
import socket
import sys
import tempfile
import time
import unittest

import support
from support import ReactorTestCase, needs_fork, on, ours_only


def _wait_until(what, seconds=20.0):
    limit = time.monotonic() + seconds
    while not what():
        if time.monotonic() > limit:
            return False
        time.sleep(0.01)
    return True


def _may_lock(size):
    """Whether this user may lock so many bytes of memory."""
    import resource

    most = resource.getrlimit(resource.RLIMIT_MEMLOCK)[1]
    return most == resource.RLIM_INFINITY or most >= size


needs_ring = unittest.skipUnless("uring" in support.ports(), "this machine has no io_uring")
takes_along = unittest.skipUnless(sys.platform == "linux", "a port on kqueue does not outlive a fork")


@needs_fork
class Forks(ReactorTestCase):
    def test_a_fork_in_a_callback_leaves_the_parent_undisturbed(self):
        self._parent_goes_on("leaving at once")

    @ours_only
    def test_a_fork_that_takes_down_what_it_inherited_leaves_the_parent_undisturbed(self):
        for way in ("ending as a program", "taking everything down"):
            with self.subTest(way):
                self._parent_goes_on(way)

    def _parent_goes_on(self, way):
        outcome = self.scenario("forks", "while_running", way)
        self.assertEqual(outcome, {"statuses": [3], "echoes": 100, "ended": [5]})

    def test_multiprocessing_leaves_the_parent_undisturbed(self):
        outcome = self.scenario("forks", "multiprocess")
        self.assertEqual(outcome, {"results": [True, 0] * 5, "echoes": 200})

    def test_a_child_may_have_a_reactor_of_its_own(self):
        self.assertEqual(self.scenario("forks", "fresh_in_child"), [10])

    @takes_along
    def test_what_was_set_up_before_a_fork_serves_in_the_child(self):
        for with_hooks in (True, False):
            with self.subTest(with_hooks=with_hooks):
                self._daemon_serves(with_hooks)

    def _daemon_serves(self, with_hooks):
        with tempfile.TemporaryDirectory() as folder:
            address, result = pathlib.Path(folder, "port"), pathlib.Path(folder, "result")
            process = support.start_scenario("forks", "into_background", str(address), with_hooks, path=result)
            self.assertTrue(_wait_until(address.exists), "no port")
            answer = _talk(int(address.read_text()), b"hello")
            self.assertTrue(_wait_until(lambda: result.exists() and result.read_text()), "the daemon did not end")
            told = json.loads(result.read_text())
            finished = process.finish()
        self.assertEqual(told, {"received": "hello", "failures": []})
        self.assertEqual(answer, b"hello", finished)
        self.assertEqual(finished.code, 0, finished)
        self.assertIn("a timer armed before the fork", finished.output)
        self.assertEqual(finished.errors, "")

    @ours_only
    def test_a_reactor_that_runs_is_refused_to_the_child(self):
        outcome = self.scenario("forks", "used_in_child")
        self.assertEqual(outcome["refused"], ["callFromThread", "callLater", "listenTCP", "iterate", "run"])
        self.assertIn("belongs to the parent", outcome["message"])

    @ours_only
    @takes_along
    def test_servers_may_fork_their_workers_before_they_run(self):
        self.assertEqual(self.scenario("forks", "workers"), {"statuses": [0, 0], "answers": ["hello", "hello"]})


@needs_ring
class ForksWithoutLockableMemory(ReactorTestCase):
    """The kernel counts a ring as locked memory. A fork between two turns lets both processes use the loop."""

    def _fork(self, seconds):
        outcome = self.scenario("forks", "without_lockable_memory", seconds, environment=on("uring"))
        fine = {"port": "uring", "echoes": 10, "child ended": False, "log": []}
        self.assertEqual(outcome["parent"], fine)
        self.assertIsInstance(outcome["copy"], dict, outcome)
        return outcome["copy"], fine

    def test_the_parent_keeps_its_ring_and_the_child_goes_on_without_one(self):
        copy, fine = self._fork(None)
        (message,) = copy["log"]
        self.assertRegex(message, "io_uring was refused, continuing with epoll: .*memory")
        self.assertEqual(copy, {**fine, "port": "poll", "log": [message]})

    def test_a_shortage_that_soon_ends_costs_the_child_no_ring(self):
        if not _may_lock(4 << 20):
            self.skipTest("two rings take more memory than this user may lock")
        copy, fine = self._fork(0.01)
        self.assertEqual(copy, fine)


SERVICE = """
from twisted.application import internet, service
from twisted.internet import endpoints, protocol, reactor
import os

class Echo(protocol.Protocol):
    def dataReceived(self, data):
        self.transport.write(data)

def listening(port):
    with open({path!r} + ".new", "w") as file:
        file.write(str(port.getHost().port))
    os.rename({path!r} + ".new", {path!r})

{listen}
"""

AS_A_SERVICE = """
class Server(service.Service):
    def startService(self):
        super().startService()
        listening(reactor.listenTCP(0, protocol.Factory.forProtocol(Echo), interface="127.0.0.1"))

application = service.Application("echo")
Server().setServiceParent(application)
"""

BEFORE_THE_FORK = """
listening(reactor.listenTCP(0, protocol.Factory.forProtocol(Echo), interface="127.0.0.1"))
application = service.Application("echo")
"""

TWISTD = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()", "--reactor", support.REACTOR]


@needs_fork
class Daemons(ReactorTestCase):
    def test_twistd_without_nodaemon(self):
        for listen in (AS_A_SERVICE, BEFORE_THE_FORK):
            with self.subTest(listen):
                self._twistd_serves(listen)

    def _twistd_serves(self, listen):
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            address, log, pid_file = folder / "port", folder / "log", folder / "pid"
            folder.joinpath("echo.tac").write_text(SERVICE.format(path=str(address), listen=listen))
            finished = support.run([*TWISTD, "--pidfile", pid_file, "--logfile", log, "-y", "echo.tac"], folder=folder)
            self.assertEqual(finished.code, 0, finished)
            self.assertTrue(_wait_until(pid_file.exists), "no pid file")
            pid = int(pid_file.read_text())
            try:
                self.assertTrue(_wait_until(address.exists), "no port")
                answer = _talk(int(address.read_text()), b"hello")
            finally:
                support.end_process(pid, signal.SIGTERM)
            self.assertTrue(_wait_until(lambda: not pid_file.exists()), "the pid file was not removed")
            written = log.read_text()
            self.assertEqual(answer, b"hello", written)
            self.assertIn("Server Shut Down", written)
            self.assertNotIn("Traceback", written)


def _talk(port, message):
    """Sends text to the server on this port, and returns the answer."""
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(message)
        return connection.recv(100)


if __name__ == "__main__":
    unittest.main()
