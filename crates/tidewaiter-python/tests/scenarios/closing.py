"""Connections that are closed while data is still to be sent."""

import os

from support import FloodingPeer
from twisted.internet import protocol
from twisted.internet.defer import maybeDeferred

from scenarios.pairs import ADDRESS, Side, SideFactory, connect, failures, python, until


def _play(reactor, act):
    """A server calls `act` with its transport as soon as it has one. Returns the outcome."""
    server = SideFactory(connectionMade=lambda side: act(side.transport))
    client = SideFactory()
    connect(reactor, server, client)
    until(reactor, lambda: server.lost and client.lost)
    return {"received": client.received.decode(), "server": server.lost, "client": client.lost, "log": failures()}


def written_after(reactor, method, queued):
    """Data written in the same callback, after the end was requested, is sent."""

    def act(transport):
        if queued:
            transport.write(b"early, ")
        getattr(transport, method)()
        transport.write(b"late")

    return _play(reactor, act)


class _Counting(Side):
    """Counts received bytes. Starts to receive only when told to."""

    size = 0
    last = b""

    def connectionMade(self):
        self.transport.pauseProducing()
        super().connectionMade()

    def dataReceived(self, data):
        self.size += len(data)
        self.last = (self.last + data)[-5:]


def written_while_sending(reactor, size):
    """Data written later is sent, as long as earlier data is still queued."""

    def act(side):
        side.transport.write(b"x" * size)
        side.transport.loseConnection()
        reactor.callLater(0.05, side.transport.write, b"late")
        reactor.callLater(0.1, lambda: client.sides[0].transport.resumeProducing())

    server, client = SideFactory(connectionMade=act), SideFactory(_Counting)
    connect(reactor, server, client)
    until(reactor, lambda: server.lost and client.lost)
    side = client.sides[0]
    return {"size": side.size, "last": side.last.decode(), "server": server.lost}


def to_one_that_sends(reactor, when, size):
    """
    A server writes and closes, as soon as the connection is `made` or it has `received` data, while its peer sends
    more than the server reads. Returns the outcome on both sides.
    """

    def act(side):
        side.transport.write(b"x" * size)
        side.transport.loseConnection()

    server = SideFactory(**{when: act})
    peer = FloodingPeer(reactor.listenTCP(0, server, interface=ADDRESS).getHost().port)
    reactor.callWhenRunning(peer.start)
    until(reactor, lambda: peer.ended)
    peer.join()
    return {"received": peer.received, "ended": peer.ended, "server": server.lost, "log": failures()}


def stopped_after(reactor, size):
    """A server writes, closes, and stops the reactor when the connection is lost."""

    def act(side):
        side.transport.write(b"x" * size)
        side.transport.loseConnection()

    server = SideFactory(connectionMade=act, connectionLost=lambda side: reactor.stop())
    print("listening on", reactor.listenTCP(0, server, interface=ADDRESS).getHost().port)
    reactor.run()


def written_to_child(reactor):
    """Data written to a child's input right after closing it is sent, too."""

    class Echo(protocol.ProcessProtocol):
        received = b""
        ended = False

        def connectionMade(self):
            self.transport.closeStdin()
            self.transport.write(b"late")

        def outReceived(self, data):
            self.received += data

        def processEnded(self, reason):
            self.ended = True

    echo = Echo()
    arguments = python("import sys; sys.stdout.write(sys.stdin.read())")
    reactor.callWhenRunning(reactor.spawnProcess, echo, arguments[0], arguments, os.environ)
    until(reactor, lambda: echo.ended)
    return echo.received.decode()


def aborted_after(reactor, method, queued):
    """Aborting ends a connection at once, even if it is closing in order."""

    def act(transport):
        if queued:
            transport.write(b"x" * queued)
        getattr(transport, method)()
        transport.abortConnection()

    return _play(reactor, act)


def both_ends(reactor):
    """A connection that is closing its write side is then closed altogether. Data written before is sent first."""

    def act(transport):
        transport.write(b"all of it")
        transport.loseWriteConnection()
        transport.loseConnection()

    return _play(reactor, act)


class _Puller:
    """Writes a piece each time it is asked, and one more word after it has unregistered."""

    def __init__(self, transport, pieces):
        self.transport = transport
        self.pieces = pieces
        self.asked = 0
        self.stopped = 0

    def resumeProducing(self):
        self.asked += 1
        if self.asked <= self.pieces:
            self.transport.write(b"piece, ")
        if self.asked == self.pieces:
            self.transport.unregisterProducer()
            self.transport.write(b"end")

    def stopProducing(self):
        self.stopped += 1


def pulled(reactor, when):
    """A pull producer writes all its data, if the end is requested `before` or `after` it is registered."""
    producers = []

    def act(transport):
        producers.append(_Puller(transport, 3))
        if when == "before":
            transport.loseConnection()
        transport.registerProducer(producers[0], False)
        if when == "after":
            transport.loseConnection()

    outcome = _play(reactor, act)
    return {**outcome, "asked": producers[0].asked, "stopped": producers[0].stopped}


def asked_once(reactor):
    """A pull producer with nothing to write is asked once, when it is registered."""
    producers = []

    def register(transport):
        producers.append(_Puller(transport, 0))
        transport.registerProducer(producers[0], False)
        reactor.callLater(0.1, finish, transport, producers[0])

    def finish(transport, producer):
        counted.append(producer.asked)
        transport.unregisterProducer()
        transport.loseConnection()

    counted = []

    def act(transport):
        transport.write(b"sent before")
        reactor.callLater(0.1, register, transport)

    _play(reactor, act)
    return counted


class _Pusher(_Puller):
    def resumeProducing(self):
        self.asked += 1

    def pauseProducing(self):
        raise AssertionError("there is room")


def pushed(reactor):
    """A push producer that is not paused does not delay the end, and is told to stop."""
    producers = []

    def act(transport):
        producers.append(_Pusher(transport, 0))
        transport.loseConnection()
        transport.registerProducer(producers[0], True)
        transport.write(b"late")

    outcome = _play(reactor, act)
    return {**outcome, "asked": producers[0].asked, "stopped": producers[0].stopped}


def stopped_again(reactor, when):
    """
    A port is stopped twice: both Deferreds fire, and the factory is told once. The second call comes in the same turn
    as the first.
    """
    fired, stops = [], []
    port = reactor.listenTCP(0, SideFactory(), interface=ADDRESS)
    port.factory.doStop = lambda: stops.append("doStop")

    def stop(side=None):
        maybeDeferred(port.stopListening).addBoth(lambda result: fired.append(str(result)))

    def begin():
        if when == "at once":
            stop()
        else:
            client.sides[0].transport.getHandle().send(b"at once")
        stop()

    server = SideFactory(dataReceived=stop)
    client = SideFactory(connectionMade=lambda side: reactor.callLater(0.05, begin))
    connect(reactor, server, client)
    until(reactor, lambda: len(fired) == 2)
    return {"fired": fired, "stops": stops, "log": failures()}


def closed_by_hand(reactor):
    """The application closes a port's socket. Stopping the port then succeeds at once."""
    fired = []
    port = reactor.listenTCP(0, SideFactory(), interface=ADDRESS)
    port.socket.close()
    reactor.callLater(0.05, lambda: maybeDeferred(port.stopListening).addBoth(lambda r: fired.append(str(r))))
    until(reactor, lambda: fired)
    return {"fired": fired, "log": failures()}


def connecting_closed_by_hand(reactor):
    """The application closes the socket of a connecting client. The time limit then reports the failure."""
    server, client = SideFactory(), SideFactory()
    port = reactor.listenTCP(0, server, interface=ADDRESS)
    connector = reactor.connectTCP(ADDRESS, port.getHost().port, client, timeout=0.2)
    reactor.callLater(0, connector.transport.socket.close)
    until(reactor, lambda: client.failed)
    return {"failed": client.failed, "made": len(client.sides), "log": failures()}
