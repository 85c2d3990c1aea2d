"""Extreme numbers as arguments, and calls from threads that may not make them."""

import inspect
import math
import os
import socket
import sys
import threading
import time

from tidewaiter._tidewaiter import Child, Core, Datagrams, DelayedCall, Listener, Stream, TwistedLoop, Watch
from twisted.internet import protocol

from scenarios.outcomes import nothing, outcome
from scenarios.pairs import ADDRESS, SideFactory, connect, failures, python, until
from scenarios.strangers import talk

NUMBERS = [
    *(
        sign * number
        for number in (0, 1, 5e-324, 1e9, 1e308, math.inf, 2**31, 2**32, 2**63, 2**64, 2**200)
        for sign in (1, -1)
    ),
    math.nan,
    65536,
    sys.maxsize,
]

# The number of a closed socket.
_NO_SOCKET = -1 if sys.platform != "win32" else 2**64 - 1

# Methods that end the process or mark it as a forked child. Only the interpreter may call them.
_NOT_TO_BE_CALLED = {"_end", "_in_child", "__new__"}


class _Waiting(protocol.ProcessProtocol):
    ended = None
    when_ended = staticmethod(nothing)

    def processEnded(self, reason):
        self.ended = reason.type.__name__
        self.when_ended()


class _Fixture:
    """Opens one object of each kind, on a reactor that is about to run."""

    def __init__(self, reactor):
        self.reactor = reactor
        self.core = reactor._core
        self.loop = reactor._loop
        self.server = SideFactory()
        self.server.on["connectionMade"] = lambda side: setattr(side, "dataReceived", side.transport.write)
        self.client = SideFactory()
        self.port = connect(reactor, self.server, self.client)
        self.call = reactor.callLater(1e6, nothing)
        self.child = _Waiting()
        arguments = python("import sys; sys.stdin.read()")
        reactor.spawnProcess(self.child, arguments[0], arguments, os.environ)
        self.udp = reactor.listenUDP(0, protocol.DatagramProtocol(), interface=ADDRESS)
        self.ours, self.theirs = socket.socketpair()
        self.watch = self._watch()

    def _watch(self):
        """Starts a watch of the kind that this system has."""
        if sys.platform != "win32":
            return self.core.watch(self.ours.fileno(), Core.READABLE, nothing)
        from scenarios.windows import Event

        self.event = Event()
        return self.core.watch_handle(int(self.event), nothing)

    @property
    def transport(self):
        return self.client.sides[0].transport

    @property
    def ready(self):
        return bool(self.client.sides and self.server.sides)

    def program(self, **changed):
        arguments = python("")
        program = {"executable": arguments[0], "args": arguments, "env": None, "path": None}
        return {**program, "fds": [], "terminal": None, "user": None, **changed}

    def finish(self):
        """Called in the loop after the calls: checks that all objects still work, and closes them."""
        self.watch.stop()
        self.call.cancel()
        self.transport.abortConnection()
        self.child.transport.signalProcess("KILL")
        self.port.stopListening()
        self.udp.stopListening()


def _methods_with_numbers(it):
    """Calls with this number, one for each method that takes a number."""
    core, loop, reactor = it.core, it.loop, it.reactor
    transport, process = it.transport, it.child.transport

    def later(number):
        reactor.callLater(number, nothing).cancel()

    def reset(number):
        it.call.reset(number)

    def delay(number):
        it.call.delay(number)

    def slow(number):
        reactor.slow_callback = number
        reactor.slow_callback = None

    def on_slow(number):
        core.set_on_slow(number, None)
        core.set_on_slow(None, None)

    def listen(number):
        reactor.listenTCP(number, SideFactory(), interface=ADDRESS).stopListening()

    def listen_long(number):
        reactor.listenTCP(0, SideFactory(), number, ADDRESS).stopListening()

    def connect_to(number):
        reactor.connectTCP(ADDRESS, number, SideFactory()).stopConnecting()

    def connect_within(number):
        reactor.connectTCP(ADDRESS, it.port.getHost().port, SideFactory(), timeout=number).disconnect()

    def buffer(number):
        transport.bufferSize = number
        transport.bufferSize = 1 << 16

    def time(number):
        it.call.time = number

    def spawned(**program):
        Child()._spawn(loop, it.program(**program))

    calls = {
        "callLater": later,
        "reset": reset,
        "delay": delay,
        "time": time,
        "slow_callback": slow,
        "set_on_slow": on_slow,
        "listenTCP": listen,
        "listenTCP, backlog": listen_long,
        "connectTCP": connect_to,
        "connectTCP, timeout": connect_within,
        "bufferSize": buffer,
        "_connect": lambda number: Stream()._connect(loop, number, (ADDRESS, 1)),
        "_connect, port": lambda number: Stream()._connect(loop, -1, (ADDRESS, number)),
        "_connect, flow": lambda number: Stream()._connect(loop, -1, ("::1", 1, number, 0)),
        "_connect, scope": lambda number: Stream()._connect(loop, -1, ("::1", 1, 0, number)),
        "_take": lambda number: Stream()._take(loop, number, (ADDRESS, 1)),
        "_pass": lambda number: Stream()._pass(number),
        "_open": lambda number: Stream()._open(loop, number, False),
        "Datagrams._take": lambda number: Datagrams()._take(loop, number, False),
        "write, port": lambda number: it.udp.write(b"", (ADDRESS, number)),
        "maxPacketSize": lambda number: setattr(it.udp, "maxPacketSize", number),
        "listenUDP": lambda number: reactor.listenUDP(number, protocol.DatagramProtocol()).stopListening(),
        "wake_on": core.wake_on,
        "listen": lambda number: loop.listen(number, None),
        "set_interest": it.watch.set_interest,
        "watch, interest": lambda number: core.watch(it.theirs.fileno(), number, nothing).stop(),
        "_pipe": lambda number: process._pipe(number, Stream()),
        "writeToChild": lambda number: process.writeToChild(number, b""),
        "_resize": lambda number: process._resize(number, number),
        "signalProcess": lambda number: process.signalProcess(number if number <= 0 or number > 64 else 0),
        "_spawn, user": lambda number: spawned(user=(number, 0, [])),
        "_spawn, group": lambda number: spawned(user=(0, number, [])),
        "_spawn, groups": lambda number: spawned(user=(0, 0, [number])),
        "_spawn, descriptor": lambda number: spawned(fds=[(number, "w")]),
        "_spawn, target": lambda number: spawned(fds=[(0, number)]),
        "_spawn, terminal": lambda number: spawned(terminal=[number, number]),
    }
    return calls


# Methods that read or close the descriptor with the given number, which may be in use elsewhere in the process.
_OWNING = ("_connect", "_take", "Datagrams._take", "_open", "wake_on", "listen")
# Numbers that may be this process's descriptors, or its terminal's.
_OPEN = range(64)


def numbers(reactor):
    """Every method gets extreme numbers; afterwards everything still works."""
    it = _Fixture(reactor)
    outcomes = {}

    def act():
        for name, method in _methods_with_numbers(it).items():
            for number in NUMBERS:
                if name in _OWNING and number in _OPEN:
                    continue
                outcomes[f"{name}({number})"] = outcome(lambda method=method, number=number: method(number))
        it.finish()

    def ready():
        if not it.ready:
            reactor.callLater(0.001, ready)
        else:
            act()

    reactor.callLater(0, ready)
    # `iterate` may also be called outside of the loop, and waits there.
    for number in NUMBERS:
        reactor.callFromThread(nothing)
        outcomes[f"iterate({number})"] = outcome(lambda number=number: reactor.iterate(number))
    until(reactor, lambda: it.client.lost and it.server.lost and it.child.ended)
    return {"outcomes": outcomes, "ended": [it.client.lost, it.child.ended], "log": failures()}


def _arguments(it):
    """An object and the arguments for every method of the extension, by class."""
    loop, program = it.loop, it.program()
    transport, process = it.transport, it.child.transport
    nobody = protocol.Protocol()
    return {
        Core: {
            "turn": (0.0,),
            "wake": (),
            "close": (),
            "wake_on": (_NO_SOCKET,),
            "call_from_thread": (nothing,),
            "watch": (it.theirs.fileno(), Core.READABLE, nothing),
            "watch_handle": (-1 if sys.platform != "win32" else 0, nothing),
            "set_on_error": (None,),
            "set_on_slow": (None, None),
            "set_on_log": (None,),
            "metrics": (),
            "before_fork": (),
            "after_fork": (),
            "check_process": (),
            "_before_any_fork": (),
        },
        TwistedLoop: {
            "run": (it.reactor,),
            "interrupt": (),
            "live": (),
            "call_later": (1e6, nothing),
            "delayed_calls": (),
            "listen": (_NO_SOCKET, None),
            "set_debug": (None, None),
            "set_context": ([], "key", {}),
        },
        Watch: {"set_interest": (Core.READABLE,), "stop": ()},
        DelayedCall: {
            "getTime": (),
            "cancel": (),
            "reset": (1e6,),
            "delay": (1.0,),
            "active": (),
            "clock": (),
        },
        Stream: {
            "_adopt": (loop,),
            "_take": (loop, _NO_SOCKET, (ADDRESS, 1)),
            "_succeed": (transport,),
            "_connect": (loop, _NO_SOCKET, (ADDRESS, 1)),
            "_open": (loop, _NO_SOCKET, False),
            "_cancel": (),
            "_descriptor": (),
            "_lose": (False,),
            "_leave": (),
            "_abort": (),
            "_pass": (it.theirs.fileno(),),
            "_settle": (),
            "startReading": (),
            "stopReading": (),
            "pauseProducing": (),
            "resumeProducing": (),
            "startWriting": (),
            "stopWriting": (),
            "write": (b"x",),
            "writeSequence": ([b"x"],),
            "loseConnection": (),
            "loseWriteConnection": (),
            "_write": (b"x",),
            "_writeSequence": ([b"x"],),
            "_loseConnection": (),
            "registerProducer": (nobody, True),
            "unregisterProducer": (),
            "_registerProducer": (nobody, True),
            "_unregisterProducer": (),
        },
        Child: {
            "_spawn": (loop, program),
            "_pipe": (1, Stream()),
            "_kill": (),
            "_send_signal": (0,),
            "_resize": (24, 80),
        },
        Listener: {"pause": (), "resume": (), "stop": ()},
        Datagrams: {
            "_take": (loop, _NO_SOCKET, False),
            "_set_peer": ((ADDRESS, 1),),
            "_close": (),
            "_descriptor": (),
            "startReading": (),
            "stopReading": (),
            "startWriting": (),
            "stopWriting": (),
            "write": (b"", (ADDRESS, 1)),
        },
    }, {
        Core: it.core,
        TwistedLoop: loop,
        Watch: it.watch,
        DelayedCall: it.call,
        Stream: transport,
        Child: process,
        Listener: it.port._listener,
        Datagrams: it.udp,
    }


def _methods(kind):
    """The names of all callable attributes of a class of the extension."""
    return {name for name, value in vars(kind).items() if inspect.isroutine(value) and not name.endswith("__")}


def _calls_of_twisted(it):
    """The calls that applications make on the classes written in Python."""
    reactor, transport, process = it.reactor, it.transport, it.child.transport
    calls = {
        "abortConnection": transport.abortConnection,
        "stopListening": it.port.stopListening,
        "listenUDP": lambda: reactor.listenUDP(0, protocol.DatagramProtocol()),
        "signalProcess": lambda: process.signalProcess("KILL"),
        "closeStdin": process.closeStdin,
        "writeToChild": lambda: process.writeToChild(0, b"x"),
        "process.pauseProducing": process.pauseProducing,
        "stop": reactor.stop,
        "crash": reactor.crash,
        "removeAll": reactor.removeAll,
        "disconnectAll": reactor.disconnectAll,
        "getReaders": reactor.getReaders,
        "addReader": lambda: reactor.addReader(it.theirs),
    }
    if sys.platform != "win32":
        calls["listenUNIX"] = lambda: reactor.listenUNIX("\0tidewaiter extremes", SideFactory())
        calls["beforeDaemonize"] = reactor.beforeDaemonize
    return calls


def _wait_until_it_waits(loop):
    """Returns once the loop's thread waits at the port. It stays there as long as this thread does not wait itself."""
    sys.setswitchinterval(60)
    while outcome(loop.live) == "done":
        time.sleep(0.001)


def foreign(reactor):
    """Another thread calls every method while the loop waits; afterwards everything still works."""
    it = _Fixture(reactor)
    ready = threading.Event()
    outcomes, unknown, talked, stopped = {}, [], [], []

    def work():
        ready.wait(20)
        arguments, objects = _arguments(it)
        _wait_until_it_waits(it.loop)
        for kind in arguments:
            unknown.extend(sorted(_methods(kind) - set(arguments[kind]) - _NOT_TO_BE_CALLED))
            for name, given in arguments[kind].items():
                method = getattr(objects[kind], name)
                outcomes[f"{kind.__name__}.{name}"] = outcome(lambda method=method, given=given: method(*given))
        for name, call in _calls_of_twisted(it).items():
            outcomes[name] = outcome(call)
        talked.append(talk(it.port).decode())
        reactor.callFromThread(it.finish)

    def look():
        if it.ready:
            ready.set()
        else:
            reactor.callLater(0.001, look)

    def ended():
        if it.client.lost and it.server.lost and it.child.ended and not stopped:
            stopped.append(True)
            reactor.stop()

    reactor.callWhenRunning(look)
    # Only the loop's own events wake it: it waits whenever it has nothing to do.
    it.client.on["connectionLost"] = it.server.on["connectionLost"] = lambda side: ended()
    it.child.when_ended = ended
    threading.Thread(target=work).start()
    reactor.run()
    return {
        "outcomes": outcomes,
        "unknown": unknown,
        "talked": talked,
        "ended": [it.client.lost, it.child.ended],
        "log": failures(),
    }
