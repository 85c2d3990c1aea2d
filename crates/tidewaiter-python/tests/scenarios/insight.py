"""The reactor's metrics, warnings and reports."""

import functools
import gc
import os
import socket
import time
import weakref

from scenario import LOG, reactor_class
from twisted.internet import base, protocol, task

from scenarios.holdings import descriptors
from scenarios.pairs import ADDRESS, SideFactory, connect, losing, python, until


def metrics(reactor):
    """The metrics after one connection and one call from a thread, with a listener and a timer left."""
    server = SideFactory(dataReceived=lambda side: side.transport.write(b"answer"))
    client = SideFactory(dataReceived=losing, connectionMade=lambda side: side.transport.write(b"question!"))
    connect(reactor, server, client)
    reactor.callLater(1000, int)
    reactor.callInThread(reactor.callFromThread, int)
    told = []
    until(
        reactor,
        lambda: server.lost and client.lost and reactor.metrics()["thread_calls_made"] == 1,
        lambda: told.append(reactor.metrics()),
    )
    return told[0]


def _linger(*_):
    time.sleep(0.12)


class _Selectable:
    """The readable end of a pipe."""

    def __init__(self, reactor):
        self.reactor = reactor
        self.reader, self.writer = os.pipe()
        os.write(self.writer, b"x")

    def fileno(self):
        return self.reader

    def logPrefix(self):
        return "selectable"

    def doRead(self):
        _linger()
        self.reactor.removeReader(self)

    def connectionLost(self, reason):
        pass


class _Process(protocol.ProcessProtocol):
    def outReceived(self, data):
        _linger()

    def processEnded(self, reason):
        _linger()
        self.ended = True


def _timers(reactor):
    reactor.callLater(0, _linger)
    reactor.callLater(0, functools.partial(_linger, 1))
    reactor.callLater(0, task.LoopingCall(_linger).start, 1000)
    reactor.callLater(0.01, reactor.stop)
    reactor.run()


def _threads(reactor):
    def ask():
        reactor.callFromThread(_linger)
        reactor.callFromThread(reactor.stop)

    reactor.callInThread(ask)
    reactor.run()


def _connections(reactor):
    slow = dict.fromkeys(("connectionMade", "dataReceived", "connectionLost"), _linger)
    server = SideFactory(**slow)
    client = SideFactory(connectionMade=lambda side: (side.transport.write(b"x"), losing(side)))
    connect(reactor, server, client)
    until(reactor, lambda: server.lost)


def _refusals(reactor):
    with socket.socket() as unused:
        unused.bind((ADDRESS, 0))
        client = SideFactory(clientConnectionFailed=_linger)
        reactor.connectTCP(*unused.getsockname(), client)
        until(reactor, lambda: client.failed)


def _selectables(reactor):
    selectable = _Selectable(reactor)
    reactor.addReader(selectable)
    until(reactor, lambda: selectable not in reactor.getReaders())


def _children(reactor):
    process = _Process()
    arguments = python("print(1)")
    reactor.spawnProcess(process, arguments[0], arguments, os.environ)
    until(reactor, lambda: hasattr(process, "ended"))


WAYS = {
    "timers": _timers,
    "threads": _threads,
    "connections": _connections,
    "refusals": _refusals,
    "selectables": _selectables,
    "children": _children,
}


def slow(reactor, way, limit):
    """The warnings of slow callbacks, without their durations, and the count of slow callbacks."""
    if limit is not None:
        reactor.slow_callback = limit
    WAYS[way](reactor)
    said = " blocked the reactor for "
    names = [message.partition(said)[0] for message in LOG.messages if said in message]
    return {"names": names, "count": reactor.metrics()["slow_callbacks"]}


def _fails():
    raise ValueError("on purpose")


def creators(reactor, debug):
    """The recorded origins of delayed calls, and the log message of one that fails."""
    texts = []
    from twisted.logger import formatEvent, globalLogPublisher

    globalLogPublisher.addObserver(lambda event: texts.append(formatEvent(event)) if "log_failure" in event else None)
    base.DelayedCall.debug = debug
    call = reactor.callLater(0, _fails)
    cancelled = reactor.callLater(0, _fails)
    cancelled.cancel()
    reactor.callLater(0.01, reactor.stop)
    reactor.run()
    return {
        "creator": call.creator and call.creator[-1],
        "cancelled": repr(cancelled),
        "logged": texts,
    }


def library_log(reactor):
    """The log messages when connections cannot be accepted, because no descriptors are left."""
    import resource

    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    port = reactor.listenTCP(0, SideFactory(), interface=ADDRESS)

    def starve():
        client = socket.create_connection((ADDRESS, port.getHost().port))
        resource.setrlimit(resource.RLIMIT_NOFILE, (client.fileno() + 1, limits[1]))
        return client

    kept = []
    reactor.callWhenRunning(lambda: kept.append(starve()))
    until(
        reactor,
        lambda: any("accept" in message for message in LOG.messages),
        lambda: resource.setrlimit(resource.RLIMIT_NOFILE, limits),
    )
    return [message for message in LOG.messages if "accept" in message]


def dropped(reactor, turns):
    """Drops reactors that are parts of cycles, and returns those that remain."""

    def one():
        own = reactor_class()()
        factory = SideFactory()
        factory.reactor = own
        factory.port = connect(own, factory, factory)
        factory.call = own.callLater(1000, factory.buildProtocol, own)
        factory.call.itself = factory.call
        own.slow_callback = 10
        for _ in range(turns):
            own.iterate(0.05)
        return [weakref.ref(each) for each in (own, factory, factory.port, *factory.sides)]

    one()
    gc.collect()
    before = descriptors()
    references = one()
    gc.collect()
    return {
        "alive": sum(reference() is not None for reference in references),
        "descriptors": descriptors() - before,
    }
