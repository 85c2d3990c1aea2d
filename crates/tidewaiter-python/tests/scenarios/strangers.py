"""Threads: a loop outside the main thread, and calls from threads that do not run the loop."""

import os
import socket
import threading
import time

from scenario import LOG
from twisted.internet import protocol

from scenarios.pairs import ADDRESS, SideFactory, failures, python

NO_SIGNALS = {"installSignalHandlers": False}


def _echo_server(reactor):
    server = SideFactory()
    server.on["connectionMade"] = lambda side: setattr(side, "dataReceived", side.transport.write)
    return server, reactor.listenTCP(0, server, interface=ADDRESS)


def talk(port, message=b"hello"):
    with socket.create_connection((ADDRESS, port.getHost().port), 20) as connection:
        connection.settimeout(20)
        connection.sendall(message)
        received = b""
        while len(received) < len(message):
            piece = connection.recv(len(message))
            if not piece:
                break
            received += piece
    return received


def loop_elsewhere(reactor):
    """The main thread sets up and tears down. The loop runs in another thread, with children and thread calls."""
    heard = []

    class Child(protocol.ProcessProtocol):
        def outReceived(self, data):
            heard.append(data.decode().strip())

        def processEnded(self, reason):
            ended.set()

    server, port = _echo_server(reactor)
    fired, ended, in_pool = threading.Event(), threading.Event(), threading.Event()
    reactor.callLater(0, fired.set)
    thread = threading.Thread(target=reactor.run, kwargs=NO_SIGNALS)
    thread.start()
    answer = talk(port)
    arguments = python("print('child')")
    reactor.callFromThread(reactor.spawnProcess, Child(), arguments[0], arguments, os.environ)
    reactor.callFromThread(reactor.callInThread, in_pool.set)
    seen = [event.wait(20) for event in (fired, ended, in_pool)]
    reactor.callFromThread(reactor.stop)
    thread.join(20)
    return {"answer": answer.decode(), "seen": seen, "heard": heard, "alive": thread.is_alive(), "log": failures()}


def _try(results, name, call):
    """Makes a call that may raise, but must not raise an unexpected error."""
    try:
        call()
        results[name] = "done"
    except BaseException as error:
        results[name] = f"{type(error).__name__}: {error}"


def foreign_calls(reactor):
    """Another thread makes every kind of call while the loop waits; afterwards the loop still works."""
    results = {}
    server, port = _echo_server(reactor)
    client = SideFactory()
    reactor.callWhenRunning(reactor.connectTCP, ADDRESS, port.getHost().port, client)
    timer = reactor.callLater(1000, lambda: None)
    arguments = python("")

    def work():
        while not (client.sides and server.sides):
            time.sleep(0.001)
        transport = client.sides[0].transport
        calls = {
            "callLater": lambda: reactor.callLater(0, lambda: None),
            "cancel": timer.cancel,
            "getDelayedCalls": reactor.getDelayedCalls,
            "getReaders": reactor.getReaders,
            "write": lambda: transport.write(b"x" * 100),
            "pauseProducing": transport.pauseProducing,
            "resumeProducing": transport.resumeProducing,
            "setTcpNoDelay": lambda: transport.setTcpNoDelay(True),
            "getPeer": transport.getPeer,
            "listenTCP": lambda: reactor.listenTCP(0, SideFactory()),
            "connectTCP": lambda: reactor.connectTCP(ADDRESS, port.getHost().port, SideFactory()),
            "spawnProcess": lambda: reactor.spawnProcess(
                protocol.ProcessProtocol(), arguments[0], arguments, os.environ
            ),
            "loseConnection": transport.loseConnection,
            "callWhenRunning": lambda: reactor.callWhenRunning(lambda: None),
            "suggestThreadPoolSize": lambda: reactor.suggestThreadPoolSize(5),
        }
        for name, call in calls.items():
            _try(results, name, call)
        results["talk"] = talk(port).decode()
        reactor.callFromThread(reactor.stop)

    threading.Thread(target=work).start()
    reactor.run()
    return {"results": results, "log": failures()}


def hammered(reactor, seconds):
    """Many threads make random calls for some time; afterwards the loop still works."""
    server, port = _echo_server(reactor)
    over = threading.Event()
    counted = []
    refused = set()

    def guarded(call, *arguments):
        try:
            return call(*arguments)
        except Exception as error:
            refused.add(type(error).__name__)

    def work():
        transport = server.sides[0].transport if server.sides else None
        sent = 0
        while not over.is_set():
            timer = guarded(reactor.callLater, 0.001, lambda: None)
            reactor.callFromThread(counted.append, 1)
            sent += 1
            guarded(reactor.getDelayedCalls)
            if transport is not None:
                guarded(transport.write, b"x")
            if timer is not None and sent % 2:
                guarded(timer.cancel)
        totals.append(sent)

    totals = []
    threads = [threading.Thread(target=work) for _ in range(4)]

    def begin():
        kept.append(socket.create_connection((ADDRESS, port.getHost().port)))
        reactor.callLater(0.1, lambda: [thread.start() for thread in threads])
        reactor.callLater(0.1 + seconds, reactor.callInThread, finish)

    def finish():
        over.set()
        for thread in threads:
            thread.join()
        reactor.callFromThread(reactor.callInThread, ask_once_more)

    def ask_once_more():
        answers.append(talk(port).decode())
        reactor.callFromThread(reactor.stop)

    kept, answers = [], []
    reactor.callWhenRunning(begin)
    reactor.run()
    kept[0].close()
    return {"answers": answers, "lost": sum(totals) - len(counted), "refused": sorted(refused), "log": LOG.failures[:5]}
