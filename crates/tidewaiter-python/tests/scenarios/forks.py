"""Forks of a process that has a reactor. Neither process may disturb the other."""

import ctypes
import gc
import multiprocessing
import os
import sys
import threading

from scenario import LOG
from twisted.internet import protocol

from scenarios.pairs import ADDRESS, SideFactory, connect, failures, python

KEPT = []


def _echoes(reactor, times, over, then=None):
    """Sends a byte back and forth `times` times, then calls `over`. After the first time, calls `then`."""

    def answer(side):
        side.transport.write(b"b")

    def again(side):
        count = len(client.received)
        if count == 1 and then is not None:
            then()
        if count == times:
            over()
        else:
            # A timer sends the next byte, to test timers as well.
            reactor.callLater(0.001, side.transport.write, b"a")

    server = SideFactory(dataReceived=answer)
    client = SideFactory(dataReceived=again, connectionMade=lambda side: side.transport.write(b"a"))
    KEPT.append(connect(reactor, server, client))
    return server, client


def _end_as_a_program(reactor):
    """In a forked child: leaves the loop, drops all inherited objects, and exits normally."""
    reactor.crash()


def _take_down(reactor):
    """In a forked child: closes all inherited objects."""
    for port in KEPT:
        port.stopListening()
    reactor.removeAll()
    os._exit(3)


def _leave(reactor):
    os._exit(3)


WAYS = {"leaving at once": _leave, "ending as a program": _end_as_a_program, "taking everything down": _take_down}


def while_running(reactor, way):
    """A callback forks. The child ends in some way; the parent's connection, timers and children go on."""
    statuses = []

    def fork():
        pid = os.fork()
        if pid == 0:
            return WAYS[way](reactor)
        statuses.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

    class Child(protocol.ProcessProtocol):
        def processEnded(self, reason):
            ended.append(reason.value.exitCode)
            reactor.stop()

    def spawn():
        arguments = python("raise SystemExit(5)")
        reactor.spawnProcess(Child(), arguments[0], arguments, os.environ)

    ended = []
    parent = os.getpid()
    server, client = _echoes(reactor, 100, spawn, fork)
    reactor.run()
    if os.getpid() != parent:
        del server, client
        KEPT.clear()
        gc.collect()
        sys.exit(3)
    return {"statuses": statuses, "echoes": len(client.received), "ended": ended}


def _in_child(pipe):
    pipe.send(os.getpid() != os.getppid())
    pipe.close()


def multiprocess(reactor):
    """A thread starts children by multiprocessing's fork while the loop is busy."""
    results = []

    def work():
        context = multiprocessing.get_context("fork")
        for _ in range(5):
            ours, theirs = context.Pipe()
            child = context.Process(target=_in_child, args=(theirs,))
            child.start()
            results.append(ours.recv())
            child.join()
            results.append(child.exitcode)

    server, client = _echoes(reactor, 200, reactor.stop, lambda: reactor.callInThread(work))
    reactor.run()
    return {"results": results, "echoes": len(client.received)}


def _daemonize(before=None, after=None):
    """Becomes a daemon as applications do: the child goes on, and the parent exits."""
    if before is not None:
        before()
    if os.fork():
        os._exit(0)
    os.setsid()
    if after is not None:
        after()


def into_background(reactor, path, with_hooks):
    """Listens, forks, and runs in the child. With `with_hooks`, calls the reactor's methods as twistd does."""
    server = SideFactory(dataReceived=lambda side: side.transport.write(side.factory.received))
    server.on["connectionLost"] = lambda side: reactor.stop()
    port = reactor.listenTCP(0, server, interface=ADDRESS)
    reactor.callLater(0, print, "a timer armed before the fork")
    with open(path + ".new", "w") as file:
        file.write(str(port.getHost().port))
    os.rename(path + ".new", path)
    before = getattr(reactor, "beforeDaemonize", None) if with_hooks else None
    after = getattr(reactor, "afterDaemonize", None) if with_hooks else None
    _daemonize(before, after)
    reactor.run()
    return {"received": server.received.decode(), "failures": failures()}


def fresh_in_child(reactor):
    """A forked child makes and uses its own reactor, while the parent waits in its loop."""
    from scenario import reactor_class

    statuses = []

    def fork():
        pid = os.fork()
        if pid == 0:
            try:
                own = reactor_class()()
                server, client = _echoes(own, 10, own.stop)
                own.run(installSignalHandlers=False)
                os._exit(len(client.received))
            finally:
                os._exit(99)
        reactor.callInThread(wait, pid)

    def wait(pid):
        statuses.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        reactor.callFromThread(reactor.stop)

    _echoes(reactor, 1_000_000, None, fork)
    reactor.run()
    return statuses


def used_in_child(reactor):
    """A callback forks. In the child, calls that use the reactor raise."""
    ours, theirs = multiprocessing.Pipe(duplex=False)

    def attempt():
        refused = []
        message = ""
        ways = {
            "callFromThread": lambda: reactor.callFromThread(int),
            "callLater": lambda: reactor.callLater(0, int),
            "listenTCP": lambda: reactor.listenTCP(0, SideFactory(), interface=ADDRESS),
            "iterate": lambda: reactor.iterate(0),
        }
        for name, way in ways.items():
            try:
                way()
            except RuntimeError as error:
                refused.append(name)
                message = str(error)
        return refused, message

    def fork():
        if os.fork() == 0:
            KEPT.append(attempt())

    parent = os.getpid()
    reactor.callWhenRunning(reactor.callLater, 0, fork)
    reactor.callLater(0.001, lambda: reactor.callLater(0, reactor.stop) if os.getpid() == parent else None)
    try:
        reactor.run()
    except RuntimeError:
        if os.getpid() != parent:
            refused, message = KEPT.pop()
            theirs.send({"refused": [*refused, "run"], "message": message})
            os._exit(0)
    return ours.recv() if ours.poll(10) else None


def workers(reactor):
    """Forks two workers, one after the other, which serve the parent's listener. The parent never runs the loop."""
    import socket

    server = SideFactory(dataReceived=lambda side: side.transport.write(side.factory.received))
    server.on["connectionLost"] = lambda side: reactor.stop()
    host = reactor.listenTCP(0, server, interface=ADDRESS).getHost()
    statuses, answers = [], []
    for _ in range(2):
        pid = os.fork()
        if pid == 0:
            reactor.run()
            os._exit(0)
        with socket.create_connection((host.host, host.port), 10) as connection:
            connection.sendall(b"hello")
            answers.append(connection.recv(100).decode())
        statuses.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    return {"statuses": statuses, "answers": answers}


_VERSION_3, _IPC_LOCK = 0x20080522, 14


def _capabilities(function, sets):
    """Calls `capget` or `capset` for this thread. The sets are two records: effective, permitted, inheritable."""
    header = (ctypes.c_uint32 * 2)(_VERSION_3, 0)
    if getattr(ctypes.CDLL(None, use_errno=True), function)(header, sets) != 0:
        raise OSError(ctypes.get_errno(), function)


def _let_lock(part):
    """Lets this process lock "all" the memory that its user may, or "none", even if this thread is privileged."""
    import resource

    sets = (ctypes.c_uint32 * 6)()
    _capabilities("capget", sets)
    sets[0] &= ~(1 << _IPC_LOCK)
    _capabilities("capset", sets)
    most = resource.getrlimit(resource.RLIMIT_MEMLOCK)[1]
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (most if part == "all" else 0, most))


class _Repeater(protocol.ProcessProtocol):
    """A child that repeats each line."""

    CODE = "import sys\nfor line in sys.stdin: print(line, end='', flush=True)"

    def __init__(self):
        self.received = b""
        self.ended = False

    def outReceived(self, data):
        self.received += data

    def processEnded(self, reason):
        self.ended = True


def without_lockable_memory(reactor, seconds):
    """
    Forks between two turns of the loop, while a child runs and the kernel has no memory for a ring.

    It has some again after `seconds`, if that is not `None`. The forked child goes on with the loop first, and then
    the parent. Returns what became of both.
    """

    def turns_until(done):
        while not done():
            reactor.iterate(0.01)

    def goes_on():
        over = []
        server, client = _echoes(reactor, 10, lambda: over.append(True))
        turns_until(lambda: over)
        log = [message for message in LOG.messages if "io_uring" in message]
        port = reactor.metrics()["port"]
        return {"port": port, "echoes": len(client.received), "child ended": child.ended, "log": log}

    reactor.startRunning()
    child = _Repeater()
    arguments = python(child.CODE)
    reactor.spawnProcess(child, arguments[0], arguments, os.environ)
    child.transport.write(b"before\n")
    turns_until(lambda: child.received == b"before\n")
    ours, theirs = multiprocessing.Pipe(duplex=False)
    _let_lock("none")
    pid = os.fork()
    if pid == 0:
        try:
            if seconds is not None:
                threading.Timer(seconds, _let_lock, ["all"]).start()
            theirs.send(goes_on())
        except BaseException as error:
            theirs.send(repr(error))
        finally:
            os._exit(0)
    copy = ours.recv()
    os.waitpid(pid, 0)
    child.transport.write(b"after\n")
    turns_until(lambda: child.received == b"before\nafter\n")
    parent = goes_on()
    child.transport.closeStdin()
    turns_until(lambda: child.ended)
    return {"copy": copy, "parent": parent}
