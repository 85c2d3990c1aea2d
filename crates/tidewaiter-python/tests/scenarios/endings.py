"""Interpreters that end while something is still open on the reactor."""

import atexit
import functools
import os
import sys
import threading
import time

from twisted.internet import protocol

from scenarios.pairs import Side, SideFactory, connect, python

KEPT = []


class _Quiet(protocol.ProcessProtocol):
    def connectionMade(self):
        KEPT.append(self)


def _everything(reactor, ready):
    """Opens a listener, both ends of a connection with a timer each, a timer, a thread, and a child that waits."""
    server = SideFactory(connectionMade=lambda side: KEPT.append(side))
    client = SideFactory(connectionMade=lambda side: side.transport.write(b"x"))
    server.on["dataReceived"] = lambda side: ready()
    KEPT.append(connect(reactor, server, client))
    KEPT.append(reactor.callLater(1000, print, "never"))
    reactor.callInThread(lambda: None)
    arguments = python("import sys; sys.stdin.read()")
    reactor.spawnProcess(_Quiet(), arguments[0], arguments, os.environ)


def stopped(reactor):
    """The loop was stopped, but its connections were not closed before."""
    reactor.callWhenRunning(_everything, reactor, reactor.stop)
    reactor.run()
    return [side.factory.lost for side in KEPT if isinstance(side, Side)]


def crashed(reactor):
    """The loop was left without a shutdown."""
    reactor.callWhenRunning(_everything, reactor, reactor.crash)
    reactor.run()
    reactor.threadpool.stop()
    return "ended"


def never_ran(reactor):
    """The loop never ran."""
    _everything(reactor, lambda: None)
    return "ended"


def iterated(reactor):
    """The program called `iterate` a few times."""
    seen = []
    _everything(reactor, lambda: seen.append(1))
    while not seen:
        reactor.iterate(0.01)
    return "ended"


def exited(reactor):
    """The program exits with its own code, right after the loop."""
    reactor.callWhenRunning(_everything, reactor, reactor.crash)
    reactor.run()
    reactor.threadpool.stop()
    sys.exit(7)


def at_exit(reactor):
    """Exit handlers still use the reactor."""
    atexit.register(lambda: reactor.callLater(1, print, "never"))
    atexit.register(lambda: [side.transport.loseConnection() for side in KEPT if isinstance(side, Side)])
    atexit.register(reactor.callFromThread, print, "never")
    return crashed(reactor)


def _chain(reactor, ready):
    """The loop always has another short callback to make, so it never waits."""
    ready()
    reactor.callLater(0, _chain, reactor, lambda: None)


def _compute(reactor, ready):
    """A callback does not return, but releases the interpreter lock on request."""
    ready()
    while True:
        pass


def _sleep(reactor, ready):
    """A callback does not return, and rarely holds the interpreter lock."""
    ready()
    while True:
        time.sleep(0.001)


def _block(reactor, ready):
    """A callback waits in a C function for an event that never comes."""
    lock = threading.Lock()
    lock.acquire()
    ready()
    lock.acquire()


def _talk(reactor, ready):
    """Connections exchange data without a pause."""

    def answer(side):
        ready()
        side.transport.write(b"x")

    KEPT.append(
        connect(reactor, SideFactory(dataReceived=answer), SideFactory(connectionMade=answer, dataReceived=answer))
    )


_NEVER = threading.Lock()
_NEVER.acquire()


class _Busy:
    """Its destructor takes some time, and releases the interpreter lock meanwhile."""

    def __del__(self, wait=_NEVER.acquire):
        for _ in range(5):
            wait(timeout=0.001)


def _let_go(reactor, ready):
    """The loop drops callbacks' arguments, whose destructors call Python."""
    ready()
    reactor.callLater(0, lambda busy, loop: loop.append(loop) or _let_go(reactor, lambda: None), _Busy(), [])


def _fork(reactor, ready, leave=os._exit):
    """Callbacks fork, and the children exit at once."""
    pid = os.fork()
    if pid == 0:
        leave(0)
        return
    os.waitpid(pid, 0)
    ready()
    reactor.callLater(0, _fork, reactor, lambda: None, leave)


def _fork_and_return(reactor, ready):
    """Callbacks fork, and the children return to a loop that belongs to the parent."""
    _fork(reactor, ready, leave=lambda code: None)


_STATES = {
    "idle": _everything,
    "chain": _chain,
    "computing": _compute,
    "sleeping": _sleep,
    "blocked": _block,
    "talking": _talk,
    "letting go": _let_go,
    "forking": _fork,
    "forking and returning": _fork_and_return,
}


def _in_thread(reactor, state, run, daemon):
    """Runs the loop in a thread, and returns once it is in this state."""
    reached = threading.Event()
    reactor.callLater(0, _STATES[state], reactor, reached.set)
    threading.Thread(target=run, daemon=daemon).start()
    return reached.wait(20)


def _stop_pool(reactor):
    """The interpreter waits for the pool's threads, which are not daemons."""
    if reactor.threadpool is not None:
        reactor.threadpool.stop()


def _run(reactor):
    reactor.run(installSignalHandlers=False)


def _iterate(reactor):
    reactor.startRunning(installSignalHandlers=False)
    while True:
        reactor.iterate(0.001)


def _until_forked(run, reactor):
    """In a process forked by a callback, the loop raises, and the callback's thread is the only one."""
    try:
        run(reactor)
    except RuntimeError as error:
        if "forked" not in str(error):
            raise


def in_daemon_thread(reactor, state, how="run"):
    """The loop runs in a daemon thread while the main thread ends slowly."""
    run = _iterate if how == "iterate" else _run
    reached = _in_thread(reactor, state, functools.partial(_until_forked, run, reactor), daemon=True)
    # Dropped when nearly everything else is gone. During its drop, the loop's thread makes turns.
    sys.modules["busy"] = [_Busy() for _ in range(20)]
    _stop_pool(reactor)
    if how == "exit":
        sys.exit(7)
    return reached


def in_thread(reactor):
    """The loop runs in a thread that is not a daemon: the interpreter waits until the loop is stopped."""
    reached = _in_thread(reactor, "idle", functools.partial(_run, reactor), daemon=False)
    reactor.callFromThread(reactor.callLater, 0.1, reactor.stop)
    return reached


def forked_and_ended(reactor, state):
    """The main thread forks while the loop runs in another. The child, with a copy of that state, exits normally."""
    reached = _in_thread(reactor, state, functools.partial(_run, reactor), daemon=True)
    pid = os.fork()
    if pid == 0:
        sys.exit(9)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    _stop_pool(reactor)
    return [reached, code]


def outlived(reactor, path):
    """A child whose input closed because the reactor stopped goes on, and finishes its work."""
    code = f"import sys; sys.stdin.read(); open({path!r}, 'w').write('done')"
    arguments = python(code)
    quiet = _Quiet()
    reactor.callWhenRunning(reactor.spawnProcess, quiet, arguments[0], arguments, os.environ)
    reactor.callLater(0, reactor.stop)
    reactor.run()
    return quiet.transport.pid


def disconnected(reactor):
    """stop() ends every connection with a call to connectionLost."""
    server, client = SideFactory(), SideFactory(connectionMade=lambda side: reactor.callLater(0.05, reactor.stop))
    connect(reactor, server, client)
    reactor.run()
    return {"server": server.lost, "client": client.lost}
