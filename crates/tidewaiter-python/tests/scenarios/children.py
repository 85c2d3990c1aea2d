"""Child processes: their ends, their process IDs, and programs that cannot be started."""

import os

from twisted.internet import protocol

from scenarios.holdings import descriptors
from scenarios.pairs import failures, python, until

NO_SIGNALS = {"installSignalHandlers": False}


class _Noted(protocol.ProcessProtocol):
    """Records callbacks, and calls the given functions in them."""

    def __init__(self, happened=None):
        self.happened = happened or (lambda child, what: None)
        self.received = b""
        self.exit_code = None
        self.ended = False
        self.pid = None

    def connectionMade(self):
        self.pid = self.transport.pid

    def childDataReceived(self, childFD, data):
        self.received += data

    def processExited(self, reason):
        self.happened(self, "exited")

    def processEnded(self, reason):
        self.exit_code = reason.value.exitCode
        self.ended = True
        self.happened(self, "ended")


def _is_there(pid):
    """Whether a process has this ID, even if it is only a zombie."""
    try:
        os.kill(pid, 0)
        return True
    except ProcessLookupError:
        return False


def _end_together(reactor, children, code):
    """Starts children that run this code, and runs the reactor, which finds all of them ended, to their last end."""

    def begin():
        for child in children:
            arguments = python(code)
            reactor.spawnProcess(child, arguments[0], arguments, os.environ)
        for child in children:
            os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)

    reactor.callWhenRunning(begin)
    until(reactor, lambda: all(child.ended for child in children))


def reaped(reactor, count):
    """Returns whether the IDs of children that end together are still taken when their ends are reported."""
    seen = []

    def happened(child, what):
        seen.append([what, _is_there(child.pid)])

    children = [_Noted(happened) for _ in range(count)]
    _end_together(reactor, children, "raise SystemExit(3)")
    return {"seen": seen, "codes": [child.exit_code for child in children], "log": failures()}


def closed(reactor, count):
    """Runs children one after another. Returns how many descriptors each has left open when its end is reported."""
    left = []

    def happened(child, what):
        if what == "ended":
            left.append(descriptors() - before)
            if len(left) < count:
                start()

    def start():
        arguments = python("")
        reactor.spawnProcess(_Noted(happened), arguments[0], arguments, os.environ)

    def begin():
        nonlocal before
        before = descriptors()
        start()

    before = 0
    reactor.callWhenRunning(reactor.callLater, 0, begin)
    until(reactor, lambda: len(left) == count)
    return left


def stopped_at_exit(reactor):
    """A protocol stops the reactor when its child, which has no pipes, exits. Returns whether it is told of the end."""
    child = _Noted(lambda child, what: reactor.stop() if what == "exited" else None)
    arguments = python("")
    reactor.callWhenRunning(reactor.spawnProcess, child, arguments[0], arguments, os.environ, childFDs={})
    reactor.run()
    return {"ended": child.ended, "log": failures()}


def signalled_late(reactor, count):
    """Children end together. At each reported end, all of them are signalled. Returns the results."""
    outcomes = set()

    def happened(child, what):
        for other in children:
            try:
                other.transport.signalProcess("KILL")
                outcomes.add("done")
            except Exception as error:
                outcomes.add(type(error).__name__)

    def kill(pid, number):
        by_number.append(pid)

    children = [_Noted(happened) for _ in range(count)]
    by_number = []
    original, os.kill = os.kill, kill
    _end_together(reactor, children, "")
    os.kill = original
    return {"outcomes": sorted(outcomes), "by number": by_number, "log": failures()}


def not_started(reactor, folder):
    """Without a handler of SIGCHLD, children fail to execute their program. Returns how each ended."""
    script = os.path.join(folder, "script")
    with open(script, "w") as file:
        file.write("no program")
    cases = {
        "fine": ("/bin/sh", ["sh", "-c", "exit 4"], {}),
        "missing": (os.path.join(folder, "missing"), ["missing"], {}),
        "not executable": (script, ["script"], {}),
        "no such directory": ("/bin/sh", ["sh"], {"path": os.path.join(folder, "missing")}),
        "no pipes": (os.path.join(folder, "missing"), ["missing"], {"childFDs": {}, "path": folder}),
        "terminal": (os.path.join(folder, "missing"), ["missing"], {"usePTY": True}),
    }
    outcomes, children = {}, {}

    def begin():
        for name, (executable, arguments, options) in cases.items():
            child = _Noted()
            try:
                reactor.spawnProcess(child, executable, arguments, env=None, **options)
                children[name] = child
            except OSError as error:
                outcomes[name] = type(error).__name__

    def look():
        if not all(child.ended for child in children.values()):
            reactor.callLater(0.005, look)
        else:
            reactor.stop()

    reactor.callWhenRunning(begin)
    reactor.callWhenRunning(look)
    reactor.run(**NO_SIGNALS)
    for name, child in children.items():
        outcomes[name] = [child.exit_code, _is_there(child.pid)]
    # Closing its terminal before it has ended may kill it.
    outcomes["terminal"][0] = "ended"
    return {"outcomes": outcomes, "said": children["terminal"].received.decode(), "log": failures()}


def unspeakable(reactor):
    """Invalid arguments are refused before a child is started."""
    cases = {
        "executable": {"executable": "a\0b"},
        "argument": {"args": ["a", "b\0c"]},
        "bytes": {"args": [b"a", b"b\0c"]},
        "name": {"env": {"A\0B": "x"}},
        "value": {"env": {"A": "x\0y"}},
        "path": {"path": "/\0"},
        "name with =": {"env": {"A=B": "x"}},
        "no name": {"env": {"": "x"}},
    }
    outcomes = {}
    for name, changed in cases.items():
        arguments = {"executable": "/bin/sh", "args": ["sh"], "env": {}, "path": None, **changed}
        try:
            reactor.spawnProcess(_Noted(), **arguments)
            outcomes[name] = "started"
        except Exception as error:
            outcomes[name] = type(error).__name__
            import traceback

            traceback.print_exc()
    return outcomes


def unsuited(reactor):
    """What the exceptions say of arguments of the wrong type."""
    outcomes = []
    for arguments in (
        {"args": "sh"},
        {"args": b"sh"},
        {"args": ["sh"], "childFDs": {0: None}},
        {"args": ["sh"], "childFDs": {1: "z"}},
    ):
        try:
            reactor.spawnProcess(_Noted(), "/bin/sh", **arguments)
            outcomes.append("started")
        except TypeError as error:
            outcomes.append(str(error))
    return outcomes


def deaf_to_interrupts(reactor):
    """Runs until a signal ends it; returns the signal."""
    reactor.callWhenRunning(print, "running")
    reactor.run()
    print("stopped by", reactor._exitSignal)
    return "ended"
