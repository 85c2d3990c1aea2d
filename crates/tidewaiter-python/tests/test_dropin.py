"""An existing program changes to the reactor by one flag or one line."""

import pathlib
import re
import signal
import sys
import tempfile
import unittest
import urllib.request

import support
from support import ReactorTestCase, needs_posix, ours_only

CASES = """
from twisted.internet import defer, protocol, reactor, task, threads
from twisted.trial import unittest

class Cases(unittest.TestCase):
    def test_which(self):
        print("the reactor is", type(reactor).__module__, type(reactor).__name__)

    async def test_time(self):
        await task.deferLater(reactor, 0.01, lambda: None)

    async def test_threads(self):
        self.assertEqual(await threads.deferToThread(lambda: 5), 5)

    def test_connection(self):
        done = defer.Deferred()
        class Server(protocol.Protocol):
            def connectionMade(self):
                self.transport.write(b"hello")
                self.transport.loseConnection()
        class Client(protocol.Protocol):
            data = b""
            def dataReceived(self, data):
                self.data += data
            def connectionLost(self, reason):
                done.callback(self.data)
        port = reactor.listenTCP(0, protocol.Factory.forProtocol(Server), interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        protocol.ClientCreator(reactor, Client).connectTCP("127.0.0.1", port.getHost().port)
        return done.addCallback(self.assertEqual, b"hello")

class Dirty(unittest.TestCase):
    def test_left_behind(self):
        reactor.callLater(1000, lambda: None)
"""


def _tool(code, *arguments):
    return [sys.executable, "-c", f"import sys; sys.argv[0] = 'tool'; {code}", "--reactor", support.REACTOR, *arguments]


class Tools(unittest.TestCase):
    def test_trial(self):
        finished = self._trial("test_cases.Cases")
        self.assertEqual(finished.code, 0, finished)
        self.assertIn("PASSED (successes=4)", finished.output)
        if support.OURS:
            self.assertIn("the reactor is tidewaiter.twisted", finished.output)

    def test_trial_finds_the_timer_that_a_test_left_behind(self):
        finished = self._trial("test_cases.Dirty")
        self.assertEqual(finished.code, 1, finished)
        self.assertIn("Reactor was unclean", finished.output)

    def _trial(self, *cases):
        with tempfile.TemporaryDirectory() as folder:
            pathlib.Path(folder, "test_cases.py").write_text(CASES)
            code = "sys.path.insert(0, '.'); from twisted.scripts.trial import run; run()"
            return support.run(_tool(code, *cases), folder=folder)

    @needs_posix
    def test_twist(self):
        with tempfile.TemporaryDirectory() as folder:
            pathlib.Path(folder, "page.txt").write_text("a page")
            code = "from twisted.application.twist._twist import Twist; Twist.main()"
            listen = "tcp:port=0:interface=127.0.0.1"
            process = support.Process(_tool(code, "web", "--listen", listen, "--path", folder))
            self._serves_until_interrupted(process)

    @needs_posix
    def test_twistd_in_the_foreground(self):
        with tempfile.TemporaryDirectory() as folder:
            pathlib.Path(folder, "page.txt").write_text("a page")
            code = "from twisted.scripts.twistd import run; run()"
            listen = "tcp:port=0:interface=127.0.0.1"
            process = support.Process(
                _tool(code, "--nodaemon", "--pidfile=", "web", "--listen", listen, "--path", folder), folder=folder
            )
            self._serves_until_interrupted(process)

    def _serves_until_interrupted(self, process):
        found = process.wait_for(lambda: re.search(r"Site starting on (\d+)", process.output()))
        with urllib.request.urlopen(f"http://127.0.0.1:{found[1]}/page.txt", timeout=10) as page:
            self.assertEqual(page.read(), b"a page")
        process.signal(signal.SIGINT)
        finished = process.finish()
        # Both processes end as their signal alone would have ended them.
        self.assertEqual(finished.code, -signal.SIGINT, finished)
        self.assertIn("Main loop terminated", finished.output)
        self.assertNotIn("Traceback", finished.output + finished.errors)


def _without(*packages):
    """Code that makes imports of these packages fail."""
    return f"""
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {packages!r}:
            raise ImportError(f"{{name}} was asked for")
sys.meta_path.insert(0, Blocker())
"""


class Installing(ReactorTestCase):
    def test_no_event_loop_of_asyncio_is_involved(self):
        self.assertEqual(self.scenario("dropin", "without_asyncio"), "no running event loop")

    def test_what_is_imported_afterwards_is_what_was_installed(self):
        self.assertTrue(self.scenario("dropin", "imported"))

    def test_a_second_install_is_refused(self):
        self.assertEqual(self.scenario("dropin", "second_install"), "ReactorAlreadyInstalledError")

    def test_the_interfaces(self):
        provided = set(self.scenario("dropin", "interfaces_of"))
        everywhere = {
            "IReactorCore",
            "IReactorFromThreads",
            "IReactorInThreads",
            "IReactorMulticast",
            "IReactorPluggableNameResolver",
            "IReactorProcess",
            "IReactorSSL",
            "IReactorTCP",
            "IReactorThreads",
            "IReactorTime",
            "IReactorUDP",
        }
        self.assertEqual(everywhere - provided, set())
        if support.OURS:
            here = {"IReactorFDSet", "IReactorSocket"}
            posix = {"IReactorDaemonize", "IReactorUNIX", "IReactorUNIXDatagram"}
            here |= {"IReactorWin32Events"} if support.WINDOWS else posix
            self.assertEqual(here - provided, set())

    @ours_only
    def test_the_face_is_there_when_it_is_asked_for(self):
        code = """
import sys, tidewaiter
assert "twisted" not in sys.modules
tidewaiter.twisted.install()
from twisted.internet import reactor
print(type(reactor) is tidewaiter.twisted.Reactor, hasattr(tidewaiter, "other"))
"""
        finished = support.run([sys.executable, "-c", code])
        self.assertEqual((finished.code, finished.output, finished.errors), (0, "True False\n", ""), finished)

    @ours_only
    def test_the_reactor_needs_no_openssl(self):
        code = """
import tidewaiter.twisted
tidewaiter.twisted.install()
from twisted.internet import protocol, reactor
class Greeter(protocol.Protocol):
    def connectionMade(self):
        self.transport.write(b"hello")
        self.transport.loseConnection()
class Caller(protocol.Protocol):
    def dataReceived(self, data):
        print(data.decode())
        try:
            self.transport.startTLS(None)
        except NotImplementedError as error:
            print(error)
        reactor.stop()
port = reactor.listenTCP(0, protocol.Factory.forProtocol(Greeter), interface="127.0.0.1")
reactor.connectTCP("127.0.0.1", port.getHost().port, protocol.ClientFactory.forProtocol(Caller))
reactor.run()
"""
        finished = support.run([sys.executable, "-c", _without("OpenSSL") + code])
        self.assertEqual((finished.code, finished.errors), (0, ""), finished)
        self.assertEqual(finished.output.split("\n")[:2], ["hello", "TLS needs pyOpenSSL: install twisted[tls]"])

    def test_the_package_is_imported_without_twisted(self):
        code = """
import tidewaiter
print(tidewaiter.__version__)
try:
    import tidewaiter.twisted
except ImportError as error:
    print(error)
"""
        finished = support.run([sys.executable, "-c", _without("twisted", "zope") + code])
        self.assertEqual((finished.code, finished.errors), (0, ""), finished)
        self.assertRegex(finished.output, r"^\d+\.\d+\.\d+\S*\s+(twisted|zope).* was asked for\s*$")


if __name__ == "__main__":
    unittest.main()
