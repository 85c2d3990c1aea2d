"""Asks servers on a UDP and a UNIX socket, all in one process. Run: python examples/python/datagrams.py"""

import os
import sys
import tempfile

import tidewaiter.twisted

tidewaiter.twisted.install()

from twisted.internet import defer, protocol, reactor, task


class Echo(protocol.DatagramProtocol):
    def datagramReceived(self, data, peer):
        self.transport.write(b"echo of " + data, peer)


class Question(protocol.DatagramProtocol):
    def __init__(self, port):
        self.port = port
        self.answer = defer.Deferred()

    def startProtocol(self):
        self.transport.connect("127.0.0.1", self.port)
        self.transport.write(b"a datagram")

    def datagramReceived(self, data, peer):
        self.answer.callback(data)


class Greeting(protocol.Protocol):
    def connectionMade(self):
        self.transport.write(b"hello on a UNIX socket")
        self.transport.loseConnection()


class Reading(protocol.Protocol):
    def __init__(self):
        self.data = b""
        self.ended = defer.Deferred()

    def dataReceived(self, data):
        self.data += data

    def connectionLost(self, reason):
        self.ended.callback(self.data)


async def main():
    server = reactor.listenUDP(0, Echo(), interface="127.0.0.1")
    question = Question(server.getHost().port)
    reactor.listenUDP(0, question)
    print((await question.answer).decode(), flush=True)
    if sys.platform == "win32":
        return
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "socket")
        port = reactor.listenUNIX(path, protocol.Factory.forProtocol(Greeting))
        reading = await protocol.ClientCreator(reactor, Reading).connectUNIX(path)
        print((await reading.ended).decode(), flush=True)
        await port.stopListening()


task.react(lambda _: defer.ensureDeferred(main()))
