"""An exception in every callback."""

import os
import socket

from twisted.internet import defer, error, interfaces, protocol, threads
from zope.interface import implementer

from scenarios.pairs import ADDRESS, Raised, Side, SideFactory, connect, failures, losing, python, raising, until


def _outcome(server, client):
    return {"log": failures(), "server": server.lost, "client": client.lost, "failed": client.failed}


def _sending(side):
    side.transport.write(b"something")


def server_builds(reactor):
    """buildProtocol of a server raises for the first connection, and serves the second."""

    class Picky(SideFactory):
        refused = 0

        def buildProtocol(self, address):
            if not self.refused:
                self.refused = 1
                raise Raised("buildProtocol")
            return super().buildProtocol(address)

    server, client = Picky(connectionMade=_sending), SideFactory(dataReceived=losing)
    port = connect(reactor, server, client)
    reactor.callLater(0.1, reactor.connectTCP, ADDRESS, port.getHost().port, client)
    until(reactor, lambda: len(client.lost) == 2 and server.lost)
    return {**_outcome(server, client), "received": client.received.decode()}


def client_builds(reactor):
    """buildProtocol of a client raises."""
    server, client = SideFactory(), SideFactory()
    client.buildProtocol = raising("buildProtocol")
    connect(reactor, server, client)
    until(reactor, lambda: server.lost)
    return _outcome(server, client)


def in_server(reactor, callback):
    """A callback of a server's protocol raises. As in Twisted, connectionMade does not lose the connection."""
    server = SideFactory(**{callback: raising(callback)})
    client = SideFactory(connectionMade=losing if callback == "connectionLost" else _sending)
    if callback == "connectionMade":
        server.on["dataReceived"] = losing
    connect(reactor, server, client)
    until(reactor, lambda: server.lost and client.lost)
    return _outcome(server, client)


def in_client(reactor, callback):
    """A callback of a client's protocol raises."""
    server = SideFactory(connectionMade=losing if callback == "connectionLost" else _sending)
    client = SideFactory(**{callback: raising(callback)})
    connect(reactor, server, client)
    until(reactor, lambda: server.lost and client.lost)
    return _outcome(server, client)


def in_client_factory(reactor, callback):
    """A method of a client's factory raises."""
    server, client = SideFactory(connectionMade=losing), SideFactory(**{callback: raising(callback)})
    if callback == "clientConnectionFailed":
        with socket.socket() as unused:
            unused.bind((ADDRESS, 0))
            number = unused.getsockname()[1]
        reactor.connectTCP(ADDRESS, number, client)
    else:
        connect(reactor, server, client)
    until(reactor, lambda: client.lost or client.failed)
    return _outcome(server, client)


@implementer(interfaces.IHalfCloseableProtocol)
class _HalfCloseable(Side):
    def readConnectionLost(self):
        self.factory.happened(self, "readConnectionLost")

    def writeConnectionLost(self):
        self.factory.happened(self, "writeConnectionLost")


def half_closed(reactor, callback):
    """readConnectionLost or writeConnectionLost raises."""
    server = SideFactory(_HalfCloseable, **{callback: raising(callback)})
    close = lambda side: side.transport.loseWriteConnection()
    client = SideFactory(connectionMade=close if callback == "readConnectionLost" else lambda side: None)
    if callback == "writeConnectionLost":
        server.on["connectionMade"] = close
        client.on["connectionLost"] = lambda side: None
    connect(reactor, server, client)
    until(reactor, lambda: server.lost and client.lost)
    return _outcome(server, client)


class _Producer:
    def __init__(self, side, failing):
        self.side = side
        self.failing = failing
        self.turns = 0

    def resumeProducing(self):
        self.turns += 1
        if self.failing == "resumeProducing" and self.turns > 1:  # registerProducer makes the first call.
            raise Raised("resumeProducing")
        self.side.transport.write(b"x" * 100_000)

    def pauseProducing(self):
        if self.failing == "pauseProducing":
            raise Raised("pauseProducing")

    def stopProducing(self):
        if self.failing == "stopProducing":
            raise Raised("stopProducing")


def producing(reactor, method, streaming):
    """A method of a producer raises. `pauseProducing` is called by `write`, so `write` raises."""
    heard = []

    def produce(side):
        side.transport.registerProducer(_Producer(side, method), streaming)
        if streaming:
            try:
                side.transport.write(b"x" * 1_000_000)
            except Raised as raised:
                heard.append(str(raised))
                side.transport.abortConnection()

    server = SideFactory(connectionMade=produce)
    client = SideFactory()
    if method == "stopProducing":
        client.on["dataReceived"] = lambda side: side.transport.abortConnection()
    connect(reactor, server, client)
    until(reactor, lambda: client.lost and (server.lost or failures()))
    return {"log": failures(), "client": client.lost, "server": server.lost, "heard": heard}


class _IdleProducer:
    """Produces nothing, and raises when it is stopped."""

    def resumeProducing(self):
        pass

    def pauseProducing(self):
        pass

    stopProducing = raising("stopProducing")


def producing_for_child(reactor):
    """A producer for a child's input raises when it is stopped. The child's end is reported nevertheless."""
    ended = []

    class Quitting(protocol.ProcessProtocol):
        def connectionMade(self):
            self.transport.registerProducer(_IdleProducer(), True)

        def processEnded(self, reason):
            ended.append(reason.type.__name__)

    arguments = python("pass")
    reactor.callWhenRunning(reactor.spawnProcess, Quitting(), arguments[0], arguments, os.environ)
    until(reactor, lambda: ended)
    return {"log": failures(), "ended": ended}


def timers(reactor):
    """Timers that raise delay no other timers, neither in the same turn nor later; not even by SystemExit."""
    fired = []
    reactor.callLater(0, raising("timer"))
    reactor.callLater(0, lambda: (_ for _ in ()).throw(SystemExit(3)))
    reactor.callLater(0, fired.append, "same turn")
    reactor.callLater(0.02, fired.append, "later")
    until(reactor, lambda: len(fired) == 2)
    return {"log": failures(), "fired": fired}


def calls_from_thread(reactor):
    """Calls from threads that raise do not affect other calls."""
    made = []
    reactor.callFromThread(raising("callFromThread"))
    reactor.callFromThread(made.append, "second")
    reactor.callWhenRunning(reactor.callInThread, reactor.callFromThread, raising("from another thread"))
    reactor.callWhenRunning(reactor.callLater, 0.1, made.append, "third")
    until(reactor, lambda: len(made) == 2)
    return {"log": failures(), "made": made}


def when_running(reactor):
    """callWhenRunning before the start logs the exception; while the reactor runs, it raises it."""
    heard = []
    reactor.callWhenRunning(raising("callWhenRunning"))

    def again():
        try:
            reactor.callWhenRunning(raising("while running"))
        except Raised as raised:
            heard.append(str(raised))

    reactor.callLater(0, again)
    until(reactor, lambda: heard)
    return {"log": failures(), "heard": heard}


def triggers(reactor):
    """A trigger raises in every phase of every event, and every phase still runs."""
    made = []
    for event in ("startup", "shutdown"):
        for phase in ("before", "during", "after"):
            reactor.addSystemEventTrigger(phase, event, raising(f"{phase} {event}"))
            reactor.addSystemEventTrigger(phase, event, made.append, f"{phase} {event}")
    reactor.addSystemEventTrigger("before", "shutdown", lambda: defer.fail(Raised("a Deferred")))
    until(reactor, lambda: True)
    return {"log": [line for line in failures() if line.startswith("Raised")], "made": made}


def in_threads(reactor):
    """A call in a thread that raises is logged. deferToThread passes the failure to its Deferred."""
    heard = []
    reactor.callInThread(raising("callInThread"))
    reactor.callWhenRunning(
        lambda: threads.deferToThread(raising("deferToThread")).addErrback(lambda why: heard.append(str(why.value)))
    )
    until(reactor, lambda: heard and failures())
    return {"log": failures(), "heard": heard}


class _Descriptor:
    """A descriptor of the application, one of whose methods raises."""

    def __init__(self, handle, failing):
        self.handle = handle
        self.failing = failing
        self.lost = []

    def fileno(self):
        return self.handle.fileno()

    def logPrefix(self):
        return "descriptor"

    def doRead(self):
        if self.failing == "doRead":
            raise Raised("doRead")
        return error.ConnectionDone()

    def doWrite(self):
        if self.failing == "doWrite":
            raise Raised("doWrite")
        return error.ConnectionDone()

    def connectionLost(self, reason):
        self.lost.append(reason.type.__name__)
        if self.failing == "connectionLost":
            raise Raised("connectionLost")


@implementer(interfaces.IReadDescriptor)
class _Reader(_Descriptor):
    pass


@implementer(interfaces.IWriteDescriptor)
class _Writer(_Descriptor):
    pass


def descriptors(reactor, method):
    """A method of a descriptor raises. The failure is logged and passed to connectionLost, and the watch ends."""
    ours, theirs = socket.socketpair()
    theirs.send(b"something")
    descriptor = (_Writer if method == "doWrite" else _Reader)(ours, method)
    if method == "doWrite":
        reactor.addWriter(descriptor)
    else:
        reactor.addReader(descriptor)
    until(reactor, lambda: descriptor.lost)
    known = descriptor in reactor.getReaders() or descriptor in reactor.getWriters()
    ours.close()
    theirs.close()
    return {"log": failures(), "lost": descriptor.lost, "known": known}


class _Child(protocol.ProcessProtocol):
    def __init__(self, failing):
        self.failing = failing
        self.heard = []

    def _heard(self, what):
        self.heard.append(what)
        if what == self.failing:
            raise Raised(what)

    def connectionMade(self):
        self._heard("connectionMade")

    def outReceived(self, data):
        self._heard("outReceived")

    def errReceived(self, data):
        self._heard("errReceived")

    def inConnectionLost(self):
        self._heard("inConnectionLost")

    def outConnectionLost(self):
        self._heard("outConnectionLost")

    def errConnectionLost(self):
        self._heard("errConnectionLost")

    def processExited(self, reason):
        self._heard("processExited")

    def processEnded(self, reason):
        self._heard("processEnded")


def child(reactor, method):
    """A method of a ProcessProtocol raises. The child's end is reported nevertheless."""
    failing = _Child(method)
    code = "import sys; sys.stdout.write('o'); sys.stdout.flush(); sys.stderr.write('e')"
    arguments = python(code)
    reactor.callWhenRunning(reactor.spawnProcess, failing, arguments[0], arguments, os.environ)
    until(reactor, lambda: "processEnded" in failing.heard)
    return {"log": failures(), "heard": sorted(set(failing.heard)), "last": failing.heard[-1]}
