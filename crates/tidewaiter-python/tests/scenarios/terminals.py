"""Children on terminals, with the same protocols on every system."""

import os
import sys

from scenario import LOG
from twisted.internet import protocol

# Obeys what is typed, line by line. Opens its terminal by name.
OBEY = """
import os

names = ("CONIN$", "CONOUT$") if os.name == "nt" else ("/dev/tty", "/dev/tty")
reading, writing = open(names[0]), open(names[1], "w")

def say(text):
    writing.write(text + "\\n")
    writing.flush()

say("ready")
for line in reading:
    word = line.strip()
    if word == "exit":
        say("bye")
        os._exit(3)
    if word == "size":
        size = os.get_terminal_size(writing.fileno())
        word = f"{size.lines} by {size.columns}"
    say(f"heard <{word}>")
"""


class _Talk(protocol.ProcessProtocol):
    """Takes each step once the answer to the one before has come. A step returns what to type, and the next answer."""

    def __init__(self, reactor, steps):
        self.reactor = reactor
        self.steps = iter(steps)
        self.awaited = b"ready"
        self.received = b""
        self.calls = []
        self.end = None

    def outReceived(self, data):
        self.received += data
        while self.awaited and self.awaited in self.received:
            self.received = self.received.partition(self.awaited)[2]
            self.awaited = None
            self.go_on()

    def go_on(self):
        line, self.awaited = next(self.steps)(self.transport)
        self.transport.write(line)

    def processExited(self, reason):
        self.calls.append("exited")

    def processEnded(self, reason):
        self.calls.append("ended")
        self.end = [reason.type.__name__, reason.value.exitCode]
        self.reactor.stop()


def _typed(line, answer):
    return lambda transport: (line, answer)


def _talk(reactor, *steps):
    talk = _Talk(reactor, steps)
    arguments = [sys.executable, "-c", OBEY]
    reactor.callWhenRunning(reactor.spawnProcess, talk, sys.executable, arguments, os.environ, usePTY=True)
    reactor.callLater(40, reactor.stop)
    reactor.run()
    return talk


def conversation(reactor):
    """Types lines, and changes the size if the system can. Returns the calls and the end."""
    resized = []

    def resize(transport):
        try:
            transport.setWindowSize(40, 120)
        except OSError as error:
            # Wine cannot.
            resized.append(str(error))
            return b"size\r", b"heard <24 by 80>"
        resized.append("done")
        return b"size\r", b"heard <40 by 120>"

    talk = _talk(
        reactor,
        _typed(b"word\r", b"heard <word>"),
        _typed(b"size\r", b"heard <24 by 80>"),
        resize,
        _typed(b"exit\r", None),
    )
    talk.transport.setWindowSize(1, 1)
    return {"calls": talk.calls, "end": talk.end, "resized": resized, "log": LOG.failures}


def hung_up(reactor):
    """Closes the terminal of a child. Returns the calls."""
    talk = _talk(reactor, lambda transport: (transport.loseConnection() or b"", None))
    return {"calls": talk.calls, "name": talk.end[0], "log": LOG.failures}


def killed(reactor):
    """Kills a child on a terminal. Returns the calls."""
    talk = _talk(reactor, lambda transport: (transport.signalProcess("KILL") or b"", None))
    return {"calls": talk.calls, "name": talk.end[0], "log": LOG.failures}
