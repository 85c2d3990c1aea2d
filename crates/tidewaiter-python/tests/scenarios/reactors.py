"""Subclasses of the reactor, several reactors, and reactors that never run."""

import gc
import threading
import weakref

from scenario import reactor_class

from scenarios.holdings import descriptors
from scenarios.pairs import ADDRESS, SideFactory, failures, losing


def _exchange(serving, connecting, over):
    """Connects a client on one reactor to a server on another. Calls `over` when the answered client is lost."""
    server = SideFactory(dataReceived=lambda side: side.transport.write(b"answer"))
    client = SideFactory(
        connectionMade=lambda side: side.transport.write(b"question"),
        dataReceived=losing,
        connectionLost=lambda side: over(),
    )
    port = serving.listenTCP(0, server, interface=ADDRESS)
    connecting.connectTCP(ADDRESS, port.getHost().port, client)
    return server, client


def subclass(_installed):
    """The reactor calls the methods that a subclass overrides."""
    called = []

    class Mine(reactor_class()):
        def callLater(self, delay, call, *arguments, **options):
            called.append("callLater")
            return super().callLater(delay, call, *arguments, **options)

        def listenTCP(self, *arguments, **options):
            called.append("listenTCP")
            return super().listenTCP(*arguments, **options)

        def seconds(self):
            called.append("seconds")
            return super().seconds()

        def stop(self):
            called.append("stop")
            super().stop()

    mine = Mine()
    mine.of_its_own = "kept"
    mine.callLater(0, called.append, "timer")
    server, client = _exchange(mine, mine, mine.stop)
    mine.run(installSignalHandlers=False)
    return {
        "called": sorted(set(called)),
        "own": mine.of_its_own,
        "received": [server.received.decode(), client.received.decode()],
        "log": failures(),
    }


def alternating(reactor):
    """Two reactors take turns in one thread."""
    other = reactor_class()()
    over = []
    exchanges = [_exchange(reactor, other, lambda: over.append(1)), _exchange(other, reactor, lambda: over.append(2))]
    fired = []
    reactor.callLater(0, fired.append, "ours")
    other.callLater(0, fired.append, "the other's")
    while len(over) < 2 or not all(server.lost for server, client in exchanges):
        reactor.iterate(0.001)
        other.iterate(0.001)
    received = [[server.received.decode(), client.received.decode()] for server, client in exchanges]
    return {"received": received, "fired": sorted(fired), "log": failures()}


def in_threads(reactor, count):
    """Reactors run in threads, each with both ends of a connection, while the main thread's reactor waits."""
    received = []

    def work():
        own = reactor_class()()
        server, client = _exchange(own, own, own.stop)
        own.run(installSignalHandlers=False)
        reactor.callFromThread(done, client.received.decode())

    def done(answer):
        received.append(answer)
        if len(received) == count:
            reactor.stop()

    threads = [threading.Thread(target=work) for _ in range(count)]
    reactor.callWhenRunning(lambda: [thread.start() for thread in threads])
    reactor.run()
    for thread in threads:
        thread.join()
    return {"received": received, "log": failures()}


def dropped(reactor, count):
    """Reactors get work but never run. Returns how many of them, and how many descriptors, are left."""

    def make():
        made = reactor_class()()
        port = made.listenTCP(0, SideFactory(), interface=ADDRESS)
        port.kept = made
        made.callLater(1000, made.stop)
        made.connectTCP(ADDRESS, port.getHost().port, SideFactory())
        made.addSystemEventTrigger("before", "shutdown", made.stop)
        return weakref.ref(made)

    def collect():
        for _ in range(3):
            gc.collect()

    make()
    collect()
    before = descriptors()
    made = [make() for _ in range(count)]
    collect()
    return {"left": sum(one() is not None for one in made), "descriptors": descriptors() - before}
