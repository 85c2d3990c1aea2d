"""Helpers for most scenarios: connections with both ends in this process, and children."""

import sys

from scenario import LOG
from twisted.internet import protocol

ADDRESS = "127.0.0.1"


class Raised(Exception):
    """The exception that callbacks of a test raise."""


class Side(protocol.Protocol):
    """One end of a connection. Records each callback, and calls the function that its factory has for it."""

    def connectionMade(self):
        self.factory.sides.append(self)
        self.factory.happened(self, "connectionMade")

    def dataReceived(self, data):
        self.factory.received += data
        self.factory.happened(self, "dataReceived")

    def connectionLost(self, reason):
        self.factory.lost.append(reason.type.__name__)
        self.factory.happened(self, "connectionLost")


class SideFactory(protocol.ClientFactory):
    """Makes sides. `on` maps the name of a callback to a function that the callback calls with the side."""

    noisy = False

    def __init__(self, protocol=Side, **on):
        self.protocol = protocol
        self.on = on
        self.sides = []
        self.received = b""
        self.lost = []
        self.failed = []

    def happened(self, side, what):
        """The sides call this in each of their callbacks."""
        action = self.on.get(what)
        if action is not None:
            action(side)

    def clientConnectionFailed(self, connector, reason):
        self.failed.append(reason.type.__name__)
        self.happened(connector, "clientConnectionFailed")

    def clientConnectionLost(self, connector, reason):
        self.happened(connector, "clientConnectionLost")


def connect(reactor, server, client):
    """Listens for `server`, connects `client` to it, and returns the port."""
    port = reactor.listenTCP(0, server, interface=ADDRESS)
    reactor.connectTCP(ADDRESS, port.getHost().port, client)
    return port


def raising(what):
    """A function that raises an exception with the callback's name."""

    def callback(*_arguments, **_options):
        raise Raised(what)

    return callback


def losing(side):
    """Closes the connection whose callback calls it."""
    side.transport.loseConnection()


def until(reactor, done, after=None):
    """Runs the reactor until `done()`, and then until a new timer has fired, which proves that the loop goes on."""

    def look():
        if not done():
            reactor.callLater(0.005, look)
            return
        if after is not None:
            after()
        reactor.callLater(0.05, reactor.stop)

    reactor.callWhenRunning(look)
    reactor.run()


def failures():
    """The logged failures, with the tests' own before others."""
    return sorted(LOG.failures)


def python(code):
    """The arguments of a child that runs this code, without the site packages, which are slow to load."""
    return [sys.executable, "-S", "-E", "-c", code]
