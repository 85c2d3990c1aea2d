"""Makes many connections, children, timers and calls, and checks that they leave nothing behind."""

import gc
import itertools
import os
import weakref

from twisted.internet import defer, protocol, task

from scenarios.holdings import Holdings, descriptors
from scenarios.pairs import Side, SideFactory, connect, losing, python

AT_ONCE = 100


def _rounds(reactor, work):
    """Returns the holdings after a first round of `work(reactor, count)`, and their change after a second one."""

    async def main(_):
        await work(reactor, warm=True)
        await _settled(reactor)
        before = Holdings()
        await work(reactor, warm=False)
        await _settled(reactor)
        return Holdings().since(before)

    results = []
    reactor.callWhenRunning(
        lambda: (
            defer.ensureDeferred(main(reactor)).addCallbacks(results.append, _trace).addBoth(lambda _: reactor.stop())
        )
    )
    reactor.run()
    return results[0]


async def _settled(reactor):
    """Waits until the number of open descriptors no longer changes.

    The loop tells of a connection's end before it closes the handle, which takes it some turns.
    """
    before, now = None, descriptors()
    while now != before:
        await task.deferLater(reactor, 0.1, lambda: None)
        before, now = now, descriptors()


def _trace(failure):
    failure.printTraceback()


class _Short(protocol.Protocol):
    """A connection that sends one message, receives one, and then ends in one of several ways."""

    def connectionMade(self):
        self.itself = self  # A cycle that only the collector can undo.
        self.transport.write(b"hello")

    def dataReceived(self, data):
        if self.factory.ends:
            self.transport.abortConnection() if next(self.factory.count) % 2 else self.transport.loseConnection()

    def connectionLost(self, reason):
        self.factory.over()


class _Shorts(protocol.ClientFactory):
    protocol = _Short
    noisy = False

    def __init__(self, ends, over):
        self.ends = ends
        self.over = over
        self.count = itertools.count()

    def clientConnectionFailed(self, connector, reason):
        reason.printTraceback()


def connections(reactor, count):
    """Makes `count` connections with both ends in this process; closes some and aborts some."""

    async def work(reactor, warm):
        left = 2 * (30 * AT_ONCE if warm else count)
        to_start = left // 2
        done = defer.Deferred()
        # Use several addresses: each has only 28 000 ports, and a closed connection keeps its port for a while.
        addresses = itertools.cycle([f"127.0.0.{number}" for number in range(1, 17)])

        def start():
            nonlocal to_start
            if to_start:
                to_start -= 1
                reactor.connectTCP(next(addresses), port.getHost().port, client)

        def over():
            nonlocal left
            left -= 1
            if left % 2 == 0:
                start()
            if left == 0:
                done.callback(None)

        server, client = _Shorts(False, over), _Shorts(True, over)
        port = reactor.listenTCP(0, server)
        for _ in range(AT_ONCE):
            start()
        await done
        await port.stopListening()

    return _rounds(reactor, work)


class _Child(protocol.ProcessProtocol):
    def __init__(self, over):
        self.itself = self
        self.over = over

    def processEnded(self, reason):
        self.over()


def children(reactor, count):
    """Runs `count` children, several at a time."""
    command = ["true"] if os.name == "posix" else [os.environ["COMSPEC"], "/c", "exit"]

    async def work(reactor, warm):
        left = to_start = 50 if warm else count
        done = defer.Deferred()

        def start():
            nonlocal to_start
            if to_start:
                to_start -= 1
                reactor.spawnProcess(_Child(over), command[0], command, os.environ)

        def over():
            nonlocal left
            left -= 1
            start()
            if left == 0:
                done.callback(None)

        for _ in range(10):
            start()
        await done

    return _rounds(reactor, work)


def calls(reactor, count):
    """Timers that fire, are cancelled or are moved, and calls from threads."""

    async def work(reactor, warm):
        for _ in range(1 if warm else count // 1000):
            fired = [task.deferLater(reactor, 0, lambda: None) for _ in range(500)]
            for _ in range(250):
                reactor.callLater(1000, lambda: None).cancel()
                moved = reactor.callLater(1000, lambda: None)
                moved.reset(2000)
                moved.delay(1)
                moved.cancel()
                reactor.callFromThread(lambda: None)
            await defer.gatherResults(fired)

    return _rounds(reactor, work)


def cycles(reactor):
    """The garbage collector frees cycles through each kind of object of the reactor, once its work is over."""
    watched = {}

    def watch(kind, thing):
        thing.reactor = reactor
        watched.setdefault(kind, []).append(weakref.ref(thing))

    class Closing(Side):
        def connectionMade(self):
            watch("protocol", self)
            self.kept = self.transport
            self.transport.kept = self
            super().connectionMade()

    class Factory(SideFactory):
        def startedConnecting(self, connector):
            connector.kept = self
            watch("connector", connector)

    class Child(protocol.ProcessProtocol):
        def connectionMade(self):
            self.transport.kept = self
            watch("process protocol", self)

        def processEnded(self, reason):
            reactor.callLater(0.05, finish)

    def begin():
        server, client = SideFactory(Closing), Factory(Closing, connectionMade=losing)
        port = connect(reactor, server, client)
        port.kept = server
        server.kept = port
        watch("factory", server)
        watch("factory", client)
        watch("port", port)
        reactor.callLater(0.1, port.stopListening)
        callback = lambda: None
        callback.kept = reactor.callLater(1000, callback)
        watch("callback", callback)
        callback.kept.cancel()
        arguments = python("")
        reactor.spawnProcess(Child(), arguments[0], arguments, os.environ)

    def finish():
        # The loop may keep cancelled timers until they are many or due.
        for _ in range(200):
            reactor.callLater(500, lambda: None).cancel()
        reactor.callLater(0.3, look)

    def look():
        for _ in range(3):
            gc.collect()
        left.update({kind: sum(thing() is not None for thing in things) for kind, things in watched.items()})
        reactor.stop()

    left = {}
    reactor.callWhenRunning(begin)
    reactor.run()
    return left
