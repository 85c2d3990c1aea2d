"""Serial ports, by Twisted's own transport for them."""

import contextlib
import os

from scenario import LOG
from twisted.internet import protocol

from scenarios.pairs import until


class Talker(protocol.Protocol):
    """Notes what it receives, and the end."""

    def __init__(self, first):
        self.first = first
        self.received = b""
        self.lost = []

    def connectionMade(self):
        for piece in self.first:
            self.transport.write(piece)

    def dataReceived(self, data):
        self.received += data

    def connectionLost(self, reason):
        self.lost.append(reason.type.__name__)


def _open(reactor, name, talker):
    from twisted.internet.serialport import SerialPort

    return SerialPort(talker, name, reactor, baudrate=115200)


def echoes(reactor, name):
    """What is written to a line that echoes comes back. The port then ends because it is told to."""
    pieces = [b"one ", b"two ", bytes(range(256)) * 8]
    talker = Talker(pieces)
    whole = b"".join(pieces)

    def all_came():
        if len(talker.received) < len(whole):
            return False
        if not talker.transport.disconnecting:
            talker.transport.loseConnection()
        return talker.lost

    reactor.callWhenRunning(_open, reactor, name, talker)
    until(reactor, all_came)
    return {"same": talker.received == whole, "lost": talker.lost, "log": LOG.failures}


def hang_up(reactor):
    """The port ends when the line does."""
    import pty
    import tty

    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    os.set_blocking(ours, False)
    talker = Talker([b"hello"])
    heard = []

    def lost():
        if not heard:
            with contextlib.suppress(BlockingIOError):
                heard.append(os.read(ours, 10))
                os.close(theirs)
                os.close(ours)
        return talker.lost

    reactor.callWhenRunning(_open, reactor, os.ttyname(theirs), talker)
    until(reactor, lost)
    return {"lost": talker.lost, "log": LOG.failures}


def unplugged(reactor, name):
    """A serial port whose event fails ends, and gives back its events."""
    talker = Talker([b"x"])
    broken = []

    def fail():
        broken.append(True)
        raise OSError("unplugged")

    def begin():
        port = _open(reactor, name, talker)
        port.serialReadEvent = fail

    reactor.callWhenRunning(begin)
    until(reactor, lambda: talker.lost)
    return {"lost": talker.lost, "broken": len(broken), "events": len(reactor._events), "log": LOG.failures}
