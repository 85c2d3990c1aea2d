"""Ctrl-C, at any moment."""

import os
import random
import signal
import sys
import threading
import time

from scenario import LOG
from twisted.internet import task

from scenarios.pairs import SideFactory, connect

WINDOWS = sys.platform == "win32"


def _busy(reactor):
    """Opens connections and timers, so that signals arrive in all parts of the loop."""
    answer = lambda side: side.transport.write(b"x" * 1000)
    for _ in range(4):
        server, client = SideFactory(dataReceived=answer), SideFactory(connectionMade=answer, dataReceived=answer)
        connect(reactor, server, client)
    task.LoopingCall(reactor.callLater, 0, lambda: None).start(0.001)


def _interrupt():
    """Simulates Ctrl-C."""
    if WINDOWS:
        signal.raise_signal(signal.SIGINT)
    else:
        os.kill(os.getpid(), signal.SIGINT)


def handled(reactor):
    """Runs until the test sends a signal. Twisted's handler is installed, so the loop stops."""
    _busy(reactor)
    reactor.callWhenRunning(reactor.callLater, 0, print, "running")
    reactor.run()
    print("stopped by", reactor._exitSignal)
    return "ended"


def unhandled(reactor, times, busy):
    """Python's own handler raises KeyboardInterrupt anywhere in the loop. `run` raises it or logs it; none is lost.

    After each one the loop goes on, by itself or by another call of `run`.
    """
    # In a callback, it loses the callback's connection, as any other exception does.
    chance = random.Random(5)
    raised = 0
    sent = 0
    over = threading.Event()

    def interrupt():
        nonlocal sent
        for _ in range(times):
            time.sleep(chance.random() * 0.01)
            sent += 1
            _interrupt()
            while raised + LOG.count("KeyboardInterrupt") < sent:
                time.sleep(0.0005)
        over.set()
        reactor.callFromThread(reactor.stop)

    if busy:
        _busy(reactor)
    thread = threading.Thread(target=interrupt)
    reactor.callWhenRunning(thread.start)
    while not over.is_set():
        try:
            reactor.run(installSignalHandlers=False)
        except KeyboardInterrupt:
            raised += 1
            reactor.crash()
    thread.join()
    return {"sent": sent, "raised": raised, "logged": LOG.count("KeyboardInterrupt")}
