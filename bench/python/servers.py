"""Servers on a reactor, which a load program drives. They run until they are killed."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.protocol import DatagramProtocol, Factory, Protocol

from harness.told import BACKLOG, PIECE, tell, unix_path


class Echo(Protocol):
    """Sends back everything that it receives."""

    def dataReceived(self, data: bytes) -> None:
        self.transport.write(data)


class EchoDatagrams(DatagramProtocol):
    """Sends back each datagram."""

    noisy = False

    def datagramReceived(self, datagram: bytes, addr: tuple) -> None:
        self.transport.write(datagram, addr)


class Sink(Protocol):
    """Receives data and drops it."""

    def dataReceived(self, data: bytes) -> None:
        pass


class Source(Protocol):
    """Sends without end, as fast as the transport asks for more."""

    def connectionMade(self) -> None:
        self.transport.registerProducer(self, False)

    def resumeProducing(self) -> None:
        self.transport.write(PIECE)

    def stopProducing(self) -> None:
        pass


def echo(reactor) -> None:
    _listen(reactor, Factory.forProtocol(Echo))


def sink(reactor) -> None:
    _listen(reactor, Factory.forProtocol(Sink))


def source(reactor) -> None:
    _listen(reactor, Factory.forProtocol(Source))


def unix_echo(reactor) -> None:
    factory = Factory.forProtocol(Echo)
    factory.noisy = False
    path = unix_path()
    reactor.listenUNIX(path, factory, backlog=BACKLOG)
    _serve(reactor, f"unix:{path}")


def udp_echo(reactor) -> None:
    port = reactor.listenUDP(0, EchoDatagrams(), interface="127.0.0.1")
    _serve(reactor, f"udp:127.0.0.1:{port.getHost().port}")


def tls_echo(reactor) -> None:
    from twisted.internet import ssl

    from harness.certificate import certificate

    options = ssl.PrivateCertificate.loadPEM(certificate()).options()
    port = reactor.listenSSL(0, Factory.forProtocol(Echo), options, backlog=BACKLOG)
    _serve(reactor, _of(port))


def web(reactor) -> None:
    from twisted.web.resource import Resource
    from twisted.web.server import Site

    class Page(Resource):
        isLeaf = True

        def render_GET(self, request) -> bytes:
            request.setHeader(b"Content-Type", b"text/plain")
            return b"hello, world\n" * 8

    _listen(reactor, Site(Page()))


def _listen(reactor, factory: Factory) -> None:
    factory.noisy = False
    _serve(reactor, _of(reactor.listenTCP(0, factory, backlog=BACKLOG)))


def _of(port) -> str:
    return f"127.0.0.1:{port.getHost().port}"


def _serve(reactor, address: str) -> None:
    reactor.callWhenRunning(tell, address=address)
    reactor.run()


SERVERS: dict[str, Callable] = {
    "echo": echo,
    "sink": sink,
    "source": source,
    "unix-echo": unix_echo,
    "udp-echo": udp_echo,
    "tls-echo": tls_echo,
    "web": web,
}
