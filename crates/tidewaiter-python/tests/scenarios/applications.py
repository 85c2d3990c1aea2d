"""Parts of Twisted that rest on the reactor's transports."""

import os
import socket

from twisted.internet import defer, endpoints, protocol
from twisted.python.filepath import FilePath
from twisted.python.systemd import ListenFDs

from scenarios.pairs import ADDRESS, SideFactory, failures, until


def _result(reactor, work):
    """The result of a coroutine that runs on the reactor."""
    results = []
    reactor.callWhenRunning(lambda: defer.ensureDeferred(work()).addBoth(results.append))
    until(reactor, lambda: results)
    return results[0] if not hasattr(results[0], "getTraceback") else results[0].getTraceback()


def names(reactor, hosts):
    """A name server answers over UDP, and over TCP."""
    from twisted.names import client, dns, server
    from twisted.names.hosts import Resolver

    with open(hosts, "w") as file:
        file.write("192.0.2.7 host.example.org\n")

    async def ask():
        factory = server.DNSServerFactory(clients=[Resolver(file=hosts.encode())])
        udp = reactor.listenUDP(0, dns.DNSDatagramProtocol(factory), interface=ADDRESS)
        tcp = reactor.listenTCP(0, factory, interface=ADDRESS)
        by_udp, by_tcp = (client.Resolver(servers=[(ADDRESS, port.getHost().port)]) for port in (udp, tcp))
        first, *_ = await by_udp.lookupAddress("host.example.org")
        second = await by_tcp.queryTCP([dns.Query(b"host.example.org")])
        return [first[0].payload.dottedQuad(), second.answers[0].payload.dottedQuad()]

    return {"answers": _result(reactor, ask), "log": failures()}


def agent(reactor, path):
    """An SSH agent tells its keys over a UNIX socket."""
    from twisted.conch.ssh import agent, keys
    from twisted.conch.test import keydata

    key = keys.Key.fromString(keydata.privateRSA_openssh)

    class Factory(protocol.ServerFactory):
        protocol = agent.SSHAgentServer
        keys = {key.blob(): (key, b"a comment")}

    async def ask():
        reactor.listenUNIX(path, Factory(), mode=0o600)
        creator = protocol.ClientCreator(reactor, agent.SSHAgentClient)
        client = await creator.connectUNIX(path)
        [(blob, comment)] = await client.requestIdentities()
        signature = await client.signData(key.blob(), b"data")
        client.transport.loseConnection()
        return [blob == key.blob(), comment.decode(), key.verify(signature, b"data")]

    return {"answers": _result(reactor, ask), "log": failures()}


def notified(reactor, folder):
    """Changes of files are told."""
    from twisted.internet import inotify

    told = []
    notifier = inotify.INotify(reactor)
    notifier.startReading()
    notifier.watch(
        FilePath(folder), callbacks=[lambda _, path, mask: told.append([os.fsdecode(path.basename()), mask])]
    )

    def write():
        with open(os.path.join(folder, "file"), "w") as file:
            file.write("text")

    reactor.callWhenRunning(write)
    until(reactor, lambda: any(mask & inotify.IN_MODIFY for _, mask in told))
    return {"names": sorted({name for name, _ in told}), "log": failures()}


def activated(reactor, folder):
    """An endpoint takes the sockets over that the service manager has opened."""
    path = os.path.join(folder, "socket")
    sockets = [socket.socket(), socket.socket(socket.AF_UNIX)]
    sockets[0].bind((ADDRESS, 0))
    sockets[1].bind(path)
    number = sockets[0].getsockname()[1]
    for skt in sockets:
        skt.listen()
        skt.setblocking(False)
    parser = endpoints._SystemdParser()
    # As the manager leaves them, but at other numbers.
    parser._sddaemon = ListenFDs([skt.detach() for skt in sockets])
    server = SideFactory(dataReceived=lambda side: side.transport.write(b"answer"))
    clients = [SideFactory(connectionMade=lambda side: side.transport.write(b"question")) for _ in sockets]

    async def listen():
        for index, domain in enumerate(("INET", "UNIX")):
            await parser.parseStreamServer(reactor, domain=domain, index=str(index)).listen(server)
        reactor.connectTCP(ADDRESS, number, clients[0])
        reactor.connectUNIX(path, clients[1])

    reactor.callWhenRunning(lambda: defer.ensureDeferred(listen()))
    until(reactor, lambda: all(client.received for client in clients))
    return {"answers": [client.received.decode() for client in clients], "log": failures()}
