"""A protocol that writes a gibibyte."""

import socket
import threading

from scenarios.holdings import reset_peak, resident_peak
from scenarios.pairs import ADDRESS, SideFactory

PIECE = 1 << 16
PATTERN = bytes(range(256)) * (PIECE // 256)


class _Reader(threading.Thread):
    """Reads to the end in a thread, and checks every byte."""

    def __init__(self, number):
        super().__init__()
        self.number = number
        self.count = 0
        self.right = True

    def run(self):
        buffer = bytearray(PIECE)
        with socket.create_connection((ADDRESS, self.number)) as connection:
            while got := connection.recv_into(buffer):
                start = self.count % 256
                self.right = (
                    self.right
                    and buffer[:got] == PATTERN[start : start + got] + (PATTERN[: max(0, start + got - PIECE)])
                )
                self.count += got


class _Producer:
    """Writes one piece after another while it is not paused."""

    def __init__(self, transport, pieces):
        self.transport = transport
        self.pieces = pieces
        self.writing = True

    def resumeProducing(self):
        self.writing = True
        while self.writing and self.pieces:
            self.pieces -= 1
            self.transport.write(PATTERN)
        if not self.pieces:
            self.transport.unregisterProducer()
            self.transport.loseConnection()

    def pauseProducing(self):
        self.writing = False

    def stopProducing(self):
        self.pieces = 0


def written(reactor, size, way):
    """Writes `size` bytes in the given way; returns the outcome and the growth of memory."""

    def at_once(side):
        side.transport.write(whole)
        side.transport.loseConnection()

    def in_pieces(side):
        for _ in range(size // PIECE):
            side.transport.write(PATTERN)
        side.transport.loseConnection()

    def produced(side):
        producer = _Producer(side.transport, size // PIECE)
        side.transport.registerProducer(producer, True)
        producer.resumeProducing()

    ways = {"at once": at_once, "in pieces": in_pieces, "produced": produced}
    whole = PATTERN * (size // PIECE) if way == "at once" else None
    server = SideFactory(connectionMade=ways[way], connectionLost=lambda side: reactor.stop())
    reader = _Reader(reactor.listenTCP(0, server, interface=ADDRESS).getHost().port)
    reset_peak()
    before = resident_peak()
    reactor.callWhenRunning(reader.start)
    reactor.run()
    reader.join()
    return {"count": reader.count, "right": reader.right, "grown": resident_peak() - before, "lost": server.lost}
