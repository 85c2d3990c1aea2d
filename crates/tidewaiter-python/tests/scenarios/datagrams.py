"""UDP, and the datagrams of UNIX sockets."""

import os
import socket

from scenario import LOG
from twisted.internet import error, protocol

from scenarios.pairs import ADDRESS, Raised, failures, until


class Peer(protocol.DatagramProtocol):
    """Notes what it receives."""

    noisy = False

    def __init__(self):
        self.received = []
        self.refused = 0
        self.stopped = 0

    def datagramReceived(self, data, addr=None):
        self.received.append((data, addr))

    def connectionRefused(self):
        self.refused += 1

    def stopProtocol(self):
        self.stopped += 1


class Echo(Peer):
    def datagramReceived(self, data, addr=None):
        super().datagramReceived(data, addr)
        self.transport.write(data, addr)


class ConnectedPeer(Peer, protocol.ConnectedDatagramProtocol):
    pass


def _listen(reactor, peer, interface=ADDRESS, **options):
    port = reactor.listenUDP(0, peer, interface=interface, **options)
    host = port.getHost()
    return port, (host.host, host.port)


def sizes(reactor, interface):
    """Datagrams of many sizes come back as they were sent, or are refused."""
    server, client = Echo(), Peer()
    _, address = _listen(reactor, server, interface, maxPacketSize=100_000)
    port, own = _listen(reactor, client, interface, maxPacketSize=100_000)
    sent = [bytes(size % 251 for _ in range(size)) for size in (0, 1, 8192, 8193, 40_000)]
    refused = []

    def begin():
        for data in sent:
            port.write(data, address)
        port.write(bytearray(b"other"), address)
        port.write(memoryview(b"types"), address)
        port.writeSequence([b"in", b"pieces"], address)
        for attempt in (
            lambda: port.write(b"x" * 70_000, address),
            lambda: port.write("text", address),
            lambda: port.write(b"x", None),
            lambda: port.write(b"x", (address[0], 70_000)),
            lambda: port.write(b"x", ("name", 1)),
            lambda: port.write(b"x", ("127.0.0.1" if ":" in interface else "::1", 1)),
        ):
            try:
                attempt()
                refused.append("done")
            except Exception as exception:
                refused.append(type(exception).__name__)

    reactor.callWhenRunning(begin)
    expected = [*sent, b"other", b"types", b"inpieces"]
    until(reactor, lambda: len(client.received) == len(expected))
    return {
        "same": [data for data, _ in client.received] == expected,
        "from": [addr for _, addr in client.received] == [address] * len(expected),
        "heard": {addr for _, addr in server.received} == {own},
        "refused": refused,
        "log": failures(),
    }


def cut(reactor):
    """A datagram that is larger than the application wants is cut."""
    server = Peer()
    port, address = _listen(reactor, server, maxPacketSize=3)
    reactor.callWhenRunning(port.write, b"abcdef", address)
    until(reactor, lambda: server.received)
    return server.received[0][0].decode()


def refusals(reactor, count, least):
    """A connected port is told of refusals, at least so many, and goes on; what arrives later is received."""
    closed = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    closed.bind((ADDRESS, 0))
    number = closed.getsockname()[1]
    closed.close()
    client, server = Peer(), Peer()
    port, _ = _listen(reactor, client)
    other, _ = _listen(reactor, server)
    again = []

    def begin():
        port.connect(ADDRESS, number)
        other.write(b"of no interest", (ADDRESS, number))
        send(count)

    def send(left):
        port.write(b"x")
        if left > 1:
            reactor.callLater(0, send, left - 1)

    def answered():
        if client.refused < least:
            return False
        if not again:
            again.append(reactor.listenUDP(number, Echo(), interface=ADDRESS))
        # An error that waits may cost a datagram.
        port.write(b"hello")
        return client.received

    reactor.callWhenRunning(begin)
    until(reactor, answered)
    return {"refused": client.refused >= least, "others": server.refused, "log": failures()}


def pauses(reactor):
    """Nothing is received during a pause, and everything after it."""
    server, client = Peer(), Peer()
    port, address = _listen(reactor, server)
    sender, _ = _listen(reactor, client)
    during = []

    def begin():
        port.stopReading()
        for number in range(10):
            sender.write(b"%d" % number, address)
        reactor.callLater(0.1, resume)

    def resume():
        during.append(len(server.received))
        port.startReading()

    reactor.callWhenRunning(begin)
    until(reactor, lambda: len(server.received) == 10)
    return {"during": during, "after": [data.decode() for data, _ in server.received]}


def stops(reactor, times):
    """A port that has stopped is free to be listened on again once the Deferred fires; data arrives meanwhile."""
    sender = Peer()
    port, _ = _listen(reactor, sender)
    peers = []

    def listen(number):
        peer = Peer()
        peers.append(peer)
        listening = reactor.listenUDP(number, peer, interface=ADDRESS)
        number = listening.getHost().port
        for _ in range(5):
            port.write(b"x", (ADDRESS, number))
        stopped = listening.stopListening()
        if len(peers) < times:
            stopped.addCallback(lambda _: listen(number))
        else:
            stopped.addCallback(lambda _: done.append(True))

    done = []
    reactor.callWhenRunning(listen, 0)
    until(reactor, lambda: done)
    return {"stopped": [peer.stopped for peer in peers] == [1] * times, "log": failures()}


def raises(reactor):
    """An exception of the protocol is logged, and the port goes on."""
    server, client = Peer(), Peer()
    port, address = _listen(reactor, server)
    sender, _ = _listen(reactor, client)
    note = server.datagramReceived

    def fail(data, addr):
        note(data, addr)
        raise Raised(data)

    server.datagramReceived = fail
    reactor.callWhenRunning(lambda: [sender.write(b"x", address) for _ in range(3)])
    listening = []
    until(reactor, lambda: len(server.received) == 3, lambda: listening.append(bool(port.connected)))
    return {"raised": LOG.count("Raised"), "listening": listening, "system": port.logstr}


def lost_right(reactor):
    """Datagrams go to a broadcast address until that is forbidden: the first error is logged, the next one raised."""
    client, server = Peer(), Peer()
    everybody = "127.255.255.255"
    _, (_, number) = _listen(reactor, server, "0.0.0.0")
    port, _ = _listen(reactor, client, "0.0.0.0")
    peer = (everybody, number)
    raised = []

    def begin():
        port.setBroadcastAllowed(True)
        for _ in range(3):
            port.write(b"allowed", peer)
        reactor.callLater(0, forbid)

    def forbid():
        if len(server.received) < 3:
            reactor.callLater(0.005, forbid)
            return
        port.setBroadcastAllowed(False)
        port.write(b"too late", peer)
        reactor.callLater(0, write_again)

    def write_again():
        if not logged():
            reactor.callLater(0.005, write_again)
            return
        try:
            port.write(b"x", peer)
        except OSError as exception:
            raised.append(type(exception).__name__)
        port.setBroadcastAllowed(True)
        port.write(b"allowed again", peer)

    def logged():
        return sum("Permission denied" in message for message in LOG.messages)

    reactor.callWhenRunning(begin)
    until(reactor, lambda: len(server.received) == 4)
    received = [data.decode() for data, _ in server.received]
    return {"received": received, "raised": raised, "logged": logged(), "log": failures()}


def unix(reactor, folder):
    """UNIX sockets exchange datagrams by path and by abstract name, with a connected peer and without."""
    server, free, bound, nobody = Echo(), Peer(), ConnectedPeer(), ConnectedPeer()
    path = os.path.join(folder, "server")
    reactor.listenUNIXDatagram(path, server, mode=0o600)
    port = reactor.listenUNIXDatagram(os.path.join(folder, "free"), free)
    # A socket without a name: the server cannot answer.
    silent = reactor.connectUNIXDatagram(path, nobody)
    connected = reactor.connectUNIXDatagram(path, bound, bindAddress=os.path.join(folder, "bound"))
    failed = []
    missing = ConnectedPeer()
    missing.connectionFailed = lambda failure: failed.append(failure.type.__name__)
    reactor.connectUNIXDatagram(os.path.join(folder, "missing"), missing)
    answer = server.datagramReceived

    def only_to_the_named(data, addr):
        if addr:
            answer(data, addr)
        else:
            server.received.append((data, addr))

    server.datagramReceived = only_to_the_named

    def begin():
        port.write(b"free", path)
        port.write(b"bytes", os.fsencode(path))
        connected.write(b"bound")
        silent.write(b"nobody")
        try:
            port.write(b"x", os.path.join(folder, "missing"))
        except OSError as exception:
            failed.append(type(exception).__name__)

    reactor.callWhenRunning(begin)
    until(reactor, lambda: len(free.received) == 2 and bound.received and len(server.received) == 4)
    return {
        "free": [[data.decode(), addr == path] for data, addr in free.received],
        "bound": [[data.decode(), addr] for data, addr in bound.received],
        "heard": sorted([data.decode(), os.path.basename(addr or "")] for data, addr in server.received),
        "mode": oct(os.stat(path).st_mode & 0o777),
        "failed": failed,
        "log": failures(),
    }


def deaf(reactor, folder):
    """A UNIX socket whose peer does not read drops what does not fit, and blocks nobody."""
    path = os.path.join(folder, "deaf")
    receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    receiver.bind(path)
    peer = ConnectedPeer()
    port = reactor.connectUNIXDatagram(path, peer)
    written = []

    def begin():
        for _ in range(5000):
            port.write(b"x" * 1000)
        written.append(True)
        reactor.callLater(0, port.stopListening)

    reactor.callWhenRunning(begin)
    until(reactor, lambda: peer.stopped)
    receiver.close()
    return {"written": written, "stopped": peer.stopped, "log": failures()}


def too_large(reactor):
    """A datagram that no system sends raises Twisted's exception."""
    port, address = _listen(reactor, Peer())
    try:
        port.write(b"x" * 100_000, address)
    except error.MessageLengthError:
        return True
    return False
