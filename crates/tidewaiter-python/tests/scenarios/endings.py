"""Interpreters that end while there is still something alive on the reactor."""

import atexit
import os
import sys
import threading

from twisted.internet import protocol

from scenarios.pairs import Side, SideFactory, connect, python

KEPT = []


class _Quiet(protocol.ProcessProtocol):
    def connectionMade(self):
        KEPT.append(self)


def _everything(reactor, ready):
    """A listener, both ends of a connection with a timer each, a timer, a thread, and a child that waits."""
    server = SideFactory(connectionMade=lambda side: KEPT.append(side))
    client = SideFactory(connectionMade=lambda side: side.transport.write(b"x"))
    server.on["dataReceived"] = lambda side: ready()
    KEPT.append(connect(reactor, server, client))
    KEPT.append(reactor.callLater(1000, print, "never"))
    reactor.callInThread(lambda: None)
    arguments = python("import sys; sys.stdin.read()")
    reactor.spawnProcess(_Quiet(), arguments[0], arguments, os.environ)


def stopped(reactor):
    """The loop was stopped, and its connections were not closed before."""
    reactor.callWhenRunning(_everything, reactor, reactor.stop)
    reactor.run()
    return [side.factory.lost for side in KEPT if isinstance(side, Side)]


def crashed(reactor):
    """The loop was left without anything being shut down."""
    reactor.callWhenRunning(_everything, reactor, reactor.crash)
    reactor.run()
    reactor.threadpool.stop()
    return "ended"


def never_ran(reactor):
    """The loop was never entered."""
    _everything(reactor, lambda: None)
    return "ended"


def iterated(reactor):
    """Some turns were made by hand."""
    seen = []
    _everything(reactor, lambda: seen.append(1))
    while not seen:
        reactor.iterate(0.01)
    return "ended"


def exited(reactor):
    """The program ends with a code of its own, right after the loop."""
    reactor.callWhenRunning(_everything, reactor, reactor.crash)
    reactor.run()
    reactor.threadpool.stop()
    sys.exit(7)


def at_exit(reactor):
    """Handlers that run as the interpreter ends still use the reactor."""
    atexit.register(lambda: reactor.callLater(1, print, "never"))
    atexit.register(lambda: [side.transport.loseConnection() for side in KEPT if isinstance(side, Side)])
    atexit.register(reactor.callFromThread, print, "never")
    return crashed(reactor)


def in_daemon_thread(reactor):
    """The loop runs in a daemon thread when the main thread ends."""
    running = threading.Event()
    reactor.callWhenRunning(_everything, reactor, running.set)
    thread = threading.Thread(target=reactor.run, kwargs={"installSignalHandlers": False}, daemon=True)
    thread.start()
    running.wait(20)
    # Threads of the pool are waited for by the interpreter: they are not daemons.
    reactor.callFromThread(reactor.threadpool.stop)
    return running.is_set()


def outlived(reactor, path):
    """A child that has lost its input because the reactor stopped goes on, and does its last work."""
    code = f"import sys; sys.stdin.read(); open({path!r}, 'w').write('done')"
    arguments = python(code)
    quiet = _Quiet()
    reactor.callWhenRunning(reactor.spawnProcess, quiet, arguments[0], arguments, os.environ)
    reactor.callLater(0, reactor.stop)
    reactor.run()
    return quiet.transport.pid


def disconnected(reactor):
    """stop() tells every connection that it is over."""
    server, client = SideFactory(), SideFactory(connectionMade=lambda side: reactor.callLater(0.05, reactor.stop))
    connect(reactor, server, client)
    reactor.run()
    return {"server": server.lost, "client": client.lost}
