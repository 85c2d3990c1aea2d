"""UNIX sockets: connections, descriptors passed over them, and the files that they leave."""

import os
import socket
import stat

from scenario import LOG
from twisted.internet import interfaces, protocol, tcp
from twisted.python import lockfile
from zope.interface import implementer

from scenarios.pairs import Side, SideFactory, failures, until


@implementer(interfaces.IFileDescriptorReceiver)
class Taker(Side):
    """Reads what the descriptors that it is passed are open on."""

    def fileDescriptorReceived(self, descriptor):
        with os.fdopen(descriptor) as file:
            self.factory.received += b"[" + file.read().encode() + b"]"


class Refuser(Side):
    """Is passed descriptors, and cannot take them."""


def _holding(text):
    """A pipe's end from which `text` can be read."""
    reading, writing = os.pipe()
    os.write(writing, text.encode())
    os.close(writing)
    return reading


def echo(reactor, path):
    """Bytes go both ways, in pieces of many sizes; both ends are named as Twisted names them."""
    data = bytes(number % 251 for number in range(300_000))
    server, client = SideFactory(), SideFactory()
    server.on["dataReceived"] = lambda side: (side.transport.write(server.received), setattr(server, "received", b""))
    client.on["connectionMade"] = lambda side: (names.append(side), side.transport.write(data))
    names = []
    port = reactor.listenUNIX(path, server, mode=0o600)
    mode = stat.S_IMODE(os.stat(path).st_mode) if not path.startswith("\0") else 0o600
    reactor.connectUNIX(path, client)

    def seen(end):
        transport = end.transport
        return [str(transport.getHost().name), str(transport.getPeer().name), transport.logstr]

    described = []
    until(
        reactor,
        lambda: len(client.received) == len(data),
        lambda: (described.extend([seen(server.sides[0]), seen(client.sides[0])]), port.stopListening()),
    )
    return {
        "same": client.received == data,
        "mode": oct(mode),
        "described": described,
        "left": os.path.lexists(path) if not path.startswith("\0") else False,
        "lost": [client.lost, server.lost],
        "log": failures(),
    }


def _between(reactor, path, server, client):
    """Runs a connection from its making to its end. Returns how many more descriptors are open then."""
    ports, counts = [], []

    def count():
        counts.append(len(os.listdir("/proc/self/fd")))

    def begin():
        count()
        ports.append(reactor.listenUNIX(path, server))
        reactor.connectUNIX(path, client)

    def ended():
        if not (server.lost and client.lost):
            return False
        if ports:
            ports.pop().stopListening().addCallback(lambda _: reactor.callLater(0.1, count))
        return len(counts) == 2

    # Twisted keeps one, once there is a listener.
    tcp._reservedFD.reserve()
    reactor.callWhenRunning(begin)
    until(reactor, ended)
    return counts[1] - counts[0]


def passed(reactor, path, taking):
    """Descriptors arrive in order, each before its byte, whatever the order of the calls; none is left open."""
    server, client = SideFactory(Taker if taking else Refuser), SideFactory()
    mine = []

    def give(transport, text):
        mine.append(_holding(text))
        transport.sendFileDescriptor(mine[-1])

    def begin(side):
        transport = side.transport
        # Bytes first, descriptors first, several in a row, and one that is closed at once.
        transport.write(b"ab")
        give(transport, "one")
        give(transport, "two")
        transport.write(b"cd")
        give(transport, "three")
        os.close(mine.pop())
        transport.writeSequence([b"e", b"f"])
        transport.loseConnection()

    client.on["connectionMade"] = begin
    left_open = _between(reactor, path, server, client)
    for descriptor in mine:
        os.close(descriptor)
    told = [message for message in LOG.messages if "does not provide IFileDescriptorReceiver" in message]
    return {
        "received": server.received.decode(),
        "told": len(told),
        "left open": left_open - len(mine),
        "lost": [server.lost, client.lost],
        "log": failures(),
    }


def many(reactor, path, count):
    """A peer that does not read pauses the producer of descriptors; none is lost, and none is left open."""
    server, client = SideFactory(Taker), SideFactory()
    sent, pauses = [], []

    @implementer(interfaces.IPushProducer)
    class Giver:
        paused = False

        def pauseProducing(self):
            pauses.append(len(sent))
            self.paused = True
            server.sides[0].transport.resumeProducing()

        def resumeProducing(self):
            self.paused = False
            while not self.paused and len(sent) < count:
                descriptor = _holding(".")
                transport = client.sides[0].transport
                sent.append(descriptor)
                transport.sendFileDescriptor(descriptor)
                transport.write(b"x")
                os.close(descriptor)
            if len(sent) == count:
                transport = client.sides[0].transport
                transport.unregisterProducer()
                transport.loseConnection()

        def stopProducing(self):
            pass

    def begin(side):
        giver = Giver()
        side.transport.registerProducer(giver, True)
        reactor.callLater(0.01, giver.resumeProducing)

    client.on["connectionMade"] = begin
    server.on["connectionMade"] = lambda side: side.transport.pauseProducing()
    left_open = _between(reactor, path, server, client)
    return {
        "received": server.received.count(b"[.]"),
        "bytes": server.received.count(b"x"),
        "paused": bool(pauses),
        "left open": left_open,
        "log": failures(),
    }


def locked(reactor, folder):
    """A second server with a lock on the path is refused; a stale lock and socket are replaced."""
    path = os.path.join(folder, "socket")
    outcome = []

    def attempt(what, call):
        try:
            outcome.append([what, "done"])
            return call()
        except Exception as exception:
            outcome[-1][1] = type(exception).__name__

    def listen():
        return reactor.listenUNIX(path, SideFactory(), wantPID=True)

    def begin():
        port = attempt("first", listen)
        attempt("second", listen)
        outcome.append(["locked", lockfile.isLocked(path + ".lock")])
        port.stopListening().addCallback(lambda _: stopped())

    def leave_stale():
        """Leaves what a server leaves that was killed."""
        stale = socket.socket(socket.AF_UNIX)
        stale.bind(path)
        stale.close()
        killed = os.fork()
        if killed == 0:
            os._exit(0)
        os.waitpid(killed, 0)
        os.symlink(str(killed), path + ".lock")

    def stopped():
        outcome.append(["left", sorted(os.listdir(folder))])
        leave_stale()
        attempt("stale", listen).stopListening().addCallback(lambda _: again())

    def again():
        leave_stale()
        client = SideFactory(clientConnectionFailed=lambda _: done.append(True))
        outcome.append(["failed", client.failed])
        reactor.connectUNIX(path, client, checkPID=True)

    done = []
    reactor.callWhenRunning(begin)
    until(reactor, lambda: done)
    return {"outcome": outcome, "log": failures()}


def refused(reactor, folder):
    """Connections to nothing, to a file, and to a path that is too long fail; listening there raises."""
    file = os.path.join(folder, "file")
    with open(file, "w"):
        pass
    factories = {}
    raised = {}
    for name, path in {"missing": os.path.join(folder, "none"), "file": file, "long": "x" * 200}.items():
        factories[name] = SideFactory()
        reactor.callWhenRunning(reactor.connectUNIX, path, factories[name])
        try:
            if name != "missing":
                reactor.listenUNIX(path, SideFactory())
        except Exception as exception:
            raised[name] = type(exception).__name__
    until(reactor, lambda: all(factory.failed for factory in factories.values()))
    failed = {name: factory.failed[0] for name, factory in factories.items()}
    return {"failed": failed, "raised": raised, "log": failures()}


def forked(reactor, folder):
    """A copy of the process that takes everything down leaves the parent's sockets and their files alone."""
    path = os.path.join(folder, "socket")
    server, client, peer = SideFactory(), SideFactory(), protocol.DatagramProtocol()
    received = []
    peer.datagramReceived = lambda data, addr: received.append(data)
    server.on["dataReceived"] = lambda side: side.transport.write(b"b")
    ports = [
        reactor.listenUNIX(path, server, wantPID=True),
        reactor.listenUNIXDatagram(path + ".dgram", peer),
        reactor.listenUDP(0, protocol.DatagramProtocol(), interface="127.0.0.1"),
    ]
    statuses = []

    def fork(side):
        pid = os.fork()
        if pid == 0:
            for port in ports:
                port.stopListening()
            reactor.removeAll()
            os._exit(3)
        statuses.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        reactor.callLater(0, go_on, side)

    def go_on(side):
        side.transport.write(b"a")
        reactor.connectUNIX(path, SideFactory(connectionMade=lambda side: side.transport.loseConnection()))
        ports[1].write(b"datagram", path + ".dgram")

    client.on["connectionMade"] = fork
    reactor.connectUNIX(path, client)
    until(reactor, lambda: client.received and len(server.sides) == 2 and received)
    return {
        "statuses": statuses,
        "answered": client.received.decode(),
        "received": received[0].decode(),
        "log": failures(),
    }
