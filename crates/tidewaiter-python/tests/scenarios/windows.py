"""Scenarios for Windows alone: events, and signals, which Python's handler records in another thread."""

import ctypes
import functools
import os
import signal
import socket
import sys
import threading

from scenario import LOG
from twisted.internet import error, interfaces, protocol
from twisted.internet.defer import Deferred, DeferredList

PATIENCE = 60


def _give_up(reactor):
    """Ends the loop after a limit, if the expected event does not."""
    return reactor.callLater(PATIENCE, reactor.crash)


def stopped_by_signals(reactor):
    """Python's handlers run at once, even if nothing else happens; then the previous wake-up socket is restored."""
    told, telling = socket.socketpair()
    telling.setblocking(False)
    signal.set_wakeup_fd(telling.fileno())
    heard = []

    def handler(number, _frame):
        heard.append(number)
        reactor.crash()

    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGBREAK] * 5
    for number in set(numbers):
        signal.signal(number, handler)
    for number in numbers:
        thread = threading.Thread(target=signal.raise_signal, args=[number])
        reactor.callWhenRunning(thread.start)
        limit = _give_up(reactor)
        reactor.run(installSignalHandlers=False)
        limit.cancel()
        thread.join()
    return {
        "heard": heard == numbers,
        "restored": signal.set_wakeup_fd(-1) == telling.fileno(),
        "log": LOG.failures,
    }


def stopped_by_twisteds_handler(reactor, name):
    """The handlers that `run` installs stop the reactor."""
    thread = threading.Thread(target=signal.raise_signal, args=[getattr(signal, name)])
    reactor.callWhenRunning(thread.start)
    _give_up(reactor)
    reactor.run()
    return signal.Signals(reactor._exitSignal).name


class Event:
    """An event of the system. Like pywin32's handles, it converts to its number."""

    _system = ctypes.WinDLL("kernel32", use_last_error=True) if sys.platform == "win32" else None

    def __init__(self):
        self._system.CreateEventW.restype = ctypes.c_void_p
        self._number = self._system.CreateEventW(None, False, False, None)

    def __int__(self):
        return self._number

    def set(self):
        self._system.SetEvent(ctypes.c_void_p(self._number))


class Watcher:
    """Counts an event's signals, and records the threads that handled them."""

    def __init__(self, called):
        self.called = called
        self.count = 0
        self.threads = set()
        self.lost = []

    def logPrefix(self):
        return "watcher"

    def occurred(self):
        self.count += 1
        self.threads.add(threading.get_ident())
        self.called()

    def broken(self):
        raise ZeroDivisionError("broken on purpose")

    def connectionLost(self, reason):
        self.lost.append(reason.type.__name__)
        self.called()


def many_events(reactor, number):
    """Watches more events than `WaitForMultipleObjects` takes. Each is handled as often as it is set, until removed."""
    missing = 0

    def called():
        nonlocal missing
        missing -= 1
        if not missing:
            reactor.crash()

    def go(these):
        nonlocal missing
        missing = len(these)
        reactor.callWhenRunning(lambda: [event.set() for event in these])
        limit = _give_up(reactor)
        reactor.run(installSignalHandlers=False)
        limit.cancel()

    events = [Event() for _ in range(number)]
    watchers = [Watcher(called) for _ in events]
    for event, watcher in zip(events, watchers, strict=True):
        reactor.addEvent(event, watcher, "occurred")
    go(events)
    go(events)
    for event in events[1:]:
        reactor.removeEvent(event)
    # Events may be handled in another order than they are set in. None of these may stay pending.
    for event in events[1:]:
        event.set()
    go(events[:1])
    reactor.addEvent(int(events[1]), watchers[1], "broken")
    go(events[1:2])
    try:
        reactor.removeEvent(events[1])
    except KeyError:
        lost_is_removed = True
    else:
        lost_is_removed = False
    return {
        "counts": [watcher.count for watcher in watchers],
        "here": {ident for watcher in watchers for ident in watcher.threads} == {threading.get_ident()},
        "lost": [watchers[0].lost, watchers[1].lost],
        "lost is removed": lost_is_removed,
        "log": LOG.failures,
    }


class Child(protocol.ProcessProtocol):
    """Records a child's output and its end."""

    def __init__(self, ended):
        self.output = b""
        self.calls = []
        self.ended = ended

    def outReceived(self, data):
        self.output += data
        if b"kill me" in self.output and "kill" not in self.calls:
            self.calls.append("kill")
            self.transport.signalProcess("KILL")

    def processExited(self, reason):
        self.calls.append("exited")
        try:
            self.transport.signalProcess("KILL")
        except error.ProcessExitedAlready:
            self.calls.append("too late")

    def processEnded(self, reason):
        self.calls.append(["ended", type(reason.value).__name__, reason.value.exitCode, reason.value.signal])
        self.ended.callback(None)


def children(reactor, folder, arguments):
    """A child receives the arguments, environment and input, and its end is reported in Twisted's order."""
    tell = "import os, sys; print(sys.argv[1:], os.environ['GIVEN'], 'SYSTEMROOT' in os.environ, os.getcwd())"
    wait = "import sys; print('kill me', flush=True); sys.stdin.read()"
    started = [
        ([sys.executable, "-c", tell, *arguments], {"GIVEN": "yes", "PYTHONUTF8": "1"}, folder),
        ([b"another name", b"-c", b"raise SystemExit(3)"], None, None),
        ([sys.executable, "-c", wait], {}, None),
    ]
    protocols = []

    def start():
        for args, env, path in started:
            child = Child(Deferred())
            reactor.spawnProcess(child, sys.executable, args, env, path, childFDs={0: "w", 1: "r", 2: "r"})
            protocols.append(child)
        DeferredList([child.ended for child in protocols]).addCallback(lambda _: reactor.stop())

    reactor.callWhenRunning(start)
    _give_up(reactor)
    reactor.run()
    return {
        "told": protocols[0].output.decode("utf-8", "replace").strip(),
        "calls": [child.calls for child in protocols],
        "log": LOG.failures,
    }


def other_files(reactor, folder, arguments):
    """Batch files and scripts get their arguments and run none of them. What the file cannot get is refused."""
    tell = "import sys; print(ascii(sys.argv[1:]))"
    files = {
        "batch.cmd": f'@"{sys.executable}" -c "{tell}" %*\n',
        "script": f"#!{sys.executable}\n{tell}\n",
        "neither.exe": "nothing that runs",
    }
    paths = {name: os.path.join(folder, name) for name in files}
    for name, text in files.items():
        with open(paths[name], "w") as file:
            file.write(text)
    protocols = {}

    def start():
        for name in ("batch.cmd", "script"):
            protocols[name] = Child(Deferred())
            reactor.spawnProcess(protocols[name], paths[name], [paths[name], *arguments], {"PYTHONUTF8": "1"})
        protocols["by name"] = Child(Deferred())
        reactor.spawnProcess(protocols["by name"], "batch", ["batch", *arguments], {"PATH": folder, "PYTHONUTF8": "1"})
        DeferredList([child.ended for child in protocols.values()]).addCallback(lambda _: reactor.stop())

    reactor.callWhenRunning(start)
    _give_up(reactor)
    reactor.run()
    refused = {}
    for name, args in (("batch.cmd", ["", "two\nlines"]), ("neither.exe", [])):
        try:
            reactor.spawnProcess(protocol.ProcessProtocol(), paths[name], args)
        except OSError as error:
            refused[name] = type(error).__name__
    told = {name: child.output.decode().strip() for name, child in protocols.items()}
    return {"told": told, "refused": refused, "log": LOG.failures}


class Relay(protocol.ProcessProtocol):
    """Sends to a child's descriptor 3, and records what comes from the others."""

    def __init__(self):
        self.received = {}
        self.ended = Deferred()

    def connectionMade(self):
        self.transport.writeToChild(3, b"up\r\n\x1a")
        self.transport.closeChildFD(3)

    def childDataReceived(self, childFD, data):
        self.received[childFD] = self.received.get(childFD, "") + data.decode()

    def processEnded(self, reason):
        self.ended.callback(None)


def further_descriptors(reactor, folder):
    """A child has pipes either way beside its standard streams, and a descriptor of ours."""
    child = Relay()
    script = """if True:
        import os
        data = b""
        while piece := os.read(3, 100):
            data += piece
        os.write(4, data.upper())
        os.write(7, b"to the file")
        try:
            os.fstat(5)
        except OSError:
            print("no other", end="")
    """
    path = os.path.join(folder, "file")

    def start():
        number = os.open(path, os.O_WRONLY | os.O_CREAT)
        childFDs = {1: "r", 3: "w", 4: "r", 7: number}
        reactor.spawnProcess(child, sys.executable, [sys.executable, "-c", script], childFDs=childFDs)
        os.close(number)
        child.ended.addCallback(lambda _: reactor.stop())

    reactor.callWhenRunning(start)
    _give_up(reactor)
    reactor.run()
    with open(path) as file:
        return {"received": child.received, "file": file.read(), "log": LOG.failures}


def refusals(reactor):
    """Arguments that Windows does not support raise, with a message."""
    spawn = reactor.spawnProcess
    attempts = {
        "uid": lambda: spawn(protocol.ProcessProtocol(), sys.executable, uid=1),
        "gid": lambda: spawn(protocol.ProcessProtocol(), sys.executable, gid=1),
        "usePTY": lambda: spawn(protocol.ProcessProtocol(), sys.executable, usePTY=(3, 4, "name")),
        "both": lambda: spawn(protocol.ProcessProtocol(), sys.executable, usePTY=True, childFDs={0: "w"}),
        "childFDs": lambda: spawn(protocol.ProcessProtocol(), sys.executable, childFDs={3: "x"}),
        "closed": lambda: spawn(protocol.ProcessProtocol(), sys.executable, childFDs={3: 1000}),
        "no program": lambda: spawn(protocol.ProcessProtocol(), os.path.join(os.getcwd(), "no such.exe")),
        "UNIX": lambda: reactor.listenUNIX("name", protocol.Factory()),
        "no socket": lambda: reactor.adoptStreamPort(1, socket.AF_INET, protocol.Factory()),
    }
    raised = {}
    for name, attempt in attempts.items():
        try:
            attempt()
        except Exception as exception:
            raised[name] = type(exception).__name__
    provided = [interfaces.IReactorUDP, interfaces.IReactorUNIX, interfaces.IReactorSocket, interfaces.IReactorFDSet]
    return {"raised": raised, "claimed": [each.__name__ for each in provided if each.providedBy(reactor)]}


def failed_starts(reactor, folder):
    """Programs that cannot be started raise. Returns what the exceptions say, without the folder's name."""
    missing = os.path.join(folder, "missing.exe")
    text = os.path.join(folder, "text.exe")
    with open(text, "w") as file:
        file.write("neither this nor that")
    attempts = {
        "missing": lambda spawn: spawn(missing, [missing]),
        "directory": lambda spawn: spawn(folder, [folder]),
        "text": lambda spawn: spawn(text, [text]),
        "no directory": lambda spawn: spawn(sys.executable, [sys.executable], path=missing),
        "too long": lambda spawn: spawn(sys.executable, [sys.executable, "x" * 40_000]),
    }
    said = {}
    for name, attempt in attempts.items():
        try:
            attempt(functools.partial(reactor.spawnProcess, protocol.ProcessProtocol()))
        except OSError as exception:
            said[name] = str(exception)
    return said


def half_characters(reactor):
    """Returns the arguments and the variable that a child got of those that are not Unicode."""
    code = "import os, sys; print(ascii([*sys.argv[1:], os.environ['ODD']]), end='')"
    child = Child(Deferred())
    child.ended.addCallback(lambda _: reactor.stop())
    environment = {**os.environ, "ODD": "x\udc00\ud800"}
    arguments = [sys.executable, "-c", code, "a\ud800b", "\udfff"]
    reactor.callWhenRunning(reactor.spawnProcess, child, sys.executable, arguments, environment)
    _give_up(reactor)
    reactor.run()
    return {"told": child.output.decode("ascii"), "log": LOG.failures}
