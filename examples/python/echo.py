"""An echo server. Run: python examples/python/echo.py 7000, then from elsewhere: nc 127.0.0.1 7000"""

import sys

import tidewaiter.twisted

tidewaiter.twisted.install()  # Makes Twisted use tidewaiter. Call this before importing the reactor.

from twisted.internet import protocol, reactor


class Echo(protocol.Protocol):
    def connectionMade(self):
        # Read only as fast as the peer reads: a peer that never reads could fill our memory otherwise.
        self.transport.registerProducer(self.transport, True)

    def dataReceived(self, data):
        self.transport.write(data)


if len(sys.argv) != 2 or not sys.argv[1].isdecimal():
    sys.exit("usage: python echo.py PORT")

port = reactor.listenTCP(int(sys.argv[1]), protocol.Factory.forProtocol(Echo), interface="127.0.0.1")
print(f"listening on {port.getHost().host}:{port.getHost().port}", flush=True)
reactor.run()
