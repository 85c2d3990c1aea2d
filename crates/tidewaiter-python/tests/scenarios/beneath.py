"""Which classes carry the transports of each of the reactor's interfaces."""

import os
import socket

from twisted.internet import protocol, tcp, udp

from scenarios.datagrams import ConnectedPeer, Echo, Peer
from scenarios.pairs import ADDRESS, SideFactory, until

# The methods that move bytes. None of them may be Twisted's.
_MOVING = (
    "write",
    "startReading",
    "stopReading",
    "writeSequence",
    "loseConnection",
    "pauseProducing",
    "resumeProducing",
    "registerProducer",
    "unregisterProducer",
)
_OF_DATAGRAMS = _MOVING[:3]
_OF_LISTENERS = ("startReading", "stopReading", "loseConnection", "stopListening")


def _home(kind, name):
    """The module of the class that defines a method."""
    return next((base.__module__ for base in kind.__mro__ if name in vars(base)), None)


def _foreign(transport, names):
    """Those of its class and methods that are not ours."""
    kind = type(transport)
    methods = [f"{kind.__qualname__}.{name}" for name in names if not _home(kind, name).startswith("tidewaiter.")]
    return methods + ([] if kind.__module__.startswith("tidewaiter.") else [f"{kind.__module__}.{kind.__qualname__}"])


class _Watch:
    """Notes which of Twisted's own transports are used, and what the reactor is asked to watch."""

    def __init__(self, reactor):
        self.used = []
        for kind, names in self._machinery():
            for name in names:
                self._replace(kind, name)
        for name in ("addReader", "addWriter"):
            self._follow(reactor, name)

    def _machinery(self):
        yield tcp.Connection, ("doRead", "writeSomeData")
        yield tcp.Port, ("doRead",)
        yield udp.Port, ("doRead", "write")
        if hasattr(socket, "AF_UNIX"):
            from twisted.internet import unix

            yield unix._SendmsgMixin, ("doRead", "writeSomeData")
            yield unix.DatagramPort, ("write",)
            yield unix.ConnectedDatagramPort, ("doRead", "write")

    def _replace(self, kind, name):
        def used(*_arguments):
            self.used.append(f"{kind.__module__}.{kind.__qualname__}.{name}")

        setattr(kind, name, used)

    def _follow(self, reactor, name):
        original = getattr(reactor, name)

        def follow(selectable):
            self.used.append(f"{name}({type(selectable).__qualname__})")
            original(selectable)

        setattr(reactor, name, follow)


def classes(reactor, folder):
    """Everything that the reactor opens, in use. Returns what of it is Twisted's."""
    opened, ends, peers, foreign, watches = [], [], [], [], []

    def pair(listen, connect):
        server = SideFactory(dataReceived=lambda side: side.transport.write(b"answer"))
        client = SideFactory(connectionMade=lambda side: side.transport.write(b"question"))
        opened.append((listen(server), _OF_LISTENERS))
        connect(opened[-1][0], client)
        ends.append((server, client))

    def datagrams(port):
        opened.append((port, _OF_DATAGRAMS))
        return port

    def tcp_to(port, client):
        reactor.connectTCP(ADDRESS, port.getHost().port, client)

    def adopted(kind, bound, adopt, *arguments):
        with socket.socket(bound, kind) as skt:
            skt.bind(arguments[0])
            if kind == socket.SOCK_STREAM:
                skt.listen()
            skt.setblocking(False)
            return adopt(skt.fileno(), bound, arguments[1])

    def tcp_pair():
        with socket.create_server((ADDRESS, 0)) as listener:
            ours = socket.create_connection(listener.getsockname())
            return ours, listener.accept()[0]

    def adopted_pair(family, sockets):
        server = SideFactory(dataReceived=lambda side: side.transport.write(b"answer"))
        client = SideFactory(connectionMade=lambda side: side.transport.write(b"question"))
        for skt, factory in zip(sockets, (server, client), strict=True):
            with skt:
                skt.setblocking(False)
                reactor.adoptStreamConnection(skt.fileno(), family, factory)
        ends.append((server, client))

    def talk(port):
        client = Peer()
        sender = datagrams(reactor.listenUDP(0, client, interface=ADDRESS))
        sender.write(b"question", (ADDRESS, port.getHost().port))
        peers.append(client)

    def begin():
        # From here on: the reactor watches for signals by then.
        watches.append(_Watch(reactor))
        pair(lambda server: reactor.listenTCP(0, server, interface=ADDRESS), tcp_to)
        local = (ADDRESS, 0)
        pair(lambda server: adopted(socket.SOCK_STREAM, socket.AF_INET, reactor.adoptStreamPort, local, server), tcp_to)
        talk(datagrams(reactor.listenUDP(0, Echo(), interface=ADDRESS)))
        talk(datagrams(reactor.listenMulticast(0, Echo(), interface=ADDRESS)))
        talk(datagrams(adopted(socket.SOCK_DGRAM, socket.AF_INET, reactor.adoptDatagramPort, local, Echo())))
        adopted_pair(socket.AF_INET, tcp_pair())
        if folder:
            begin_unix()

    def begin_unix():
        def unix_to(port, client):
            reactor.connectUNIX(port.getHost().name, client)

        paths = [os.path.join(folder, str(number)) for number in range(5)]
        pair(lambda server: reactor.listenUNIX(paths[0], server), unix_to)
        pair(
            lambda server: adopted(socket.SOCK_STREAM, socket.AF_UNIX, reactor.adoptStreamPort, paths[1], server),
            unix_to,
        )
        datagrams(reactor.listenUNIXDatagram(paths[2], Echo()))
        client = ConnectedPeer()
        datagrams(reactor.connectUNIXDatagram(paths[2], client, bindAddress=paths[3])).write(b"question")
        peers.append(client)
        adopted_pair(socket.AF_UNIX, socket.socketpair())

    def answered():
        return all(client.received for _, client in ends) and all(peer.received for peer in peers)

    def look():
        sides = [side.transport for pair in ends for factory in pair for side in factory.sides]
        for transport, names in [*opened, *((transport, _MOVING) for transport in sides)]:
            foreign.extend(_foreign(transport, names))
        counts.extend([len(opened), len(sides)])

    counts = []
    reactor.callWhenRunning(begin)
    until(reactor, answered, look)
    return {"foreign": foreign, "used": watches[0].used, "counts": counts}


def of_others(reactor):
    """A descriptor of the application's is watched, and read by its owner."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    heard = []

    class Reader(protocol.Protocol):
        def logPrefix(self):
            return "reader"

        def fileno(self):
            return ours.fileno()

        def doRead(self):
            heard.append(ours.recv(10).decode())

        def connectionLost(self, reason):
            heard.append("lost")

    reactor.addReader(Reader())
    reactor.callWhenRunning(theirs.send, b"hello")
    until(reactor, lambda: heard)
    return heard
