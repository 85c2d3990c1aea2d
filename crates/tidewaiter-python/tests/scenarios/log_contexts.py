"""The log contexts in which the reactor calls protocols."""

import threading

from twisted.internet import protocol
from twisted.internet.threads import deferToThread
from twisted.python import context, log

from scenarios.pairs import ADDRESS, failures, until


def _system():
    return context.get(log.ILogContext)["system"]


class Teller(protocol.Protocol):
    """Tells under which name it is called, and under which name a thread runs its call later."""

    def __init__(self, told, released):
        self.told = told
        self.released = released

    def dataReceived(self, data):
        self.told.append(["here", _system() == self.transport.logstr])
        context.call({"nested": True}, self._nested)
        self.told.append(["still here", _system() == self.transport.logstr])
        if data == b"thread":
            deferToThread(self._in_thread).addCallback(self.told.append)

    def _nested(self):
        self.told.append(["nested", context.get("nested") and _system() == self.transport.logstr])

    def _in_thread(self):
        # By now, the reactor has called others.
        self.released.wait(20)
        return ["thread", _system() == self.transport.logstr]


def names(reactor, connections):
    """Each connection is called under its own name, and so is what it hands on to a thread."""
    told, released, sides = [], threading.Event(), []
    factory = protocol.Factory()
    factory.buildProtocol = lambda addr: Teller(told, released)
    factory.noisy = False

    class Client(protocol.Protocol):
        def connectionMade(self):
            sides.append(self)
            if len(sides) == connections:
                for number, side in enumerate(sides):
                    side.transport.write(b"thread" if number == 0 else b"more")

    def begin():
        port = reactor.listenTCP(0, factory, interface=ADDRESS)
        clients = protocol.ClientFactory.forProtocol(Client)
        clients.noisy = False
        for _ in range(connections):
            reactor.connectTCP(ADDRESS, port.getHost().port, clients)

    def all_told():
        # Each connection tells three times.
        if len(told) >= 3 * connections:
            released.set()
        return len(told) == 3 * connections + 1

    reactor.callWhenRunning(begin)
    until(reactor, all_told)
    return {"wrong": [what for what, right in told if not right], "last": told[-1], "log": failures()}
