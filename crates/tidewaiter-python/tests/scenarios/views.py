"""A transport's answers about its socket while it ends, and new sockets are opened that might get its number."""

import itertools
import socket
import struct

from scenarios.pairs import ADDRESS, SideFactory, failures, until

_RESET = struct.pack("ii", 1, 0)


class _Strangers:
    """Sockets that an application opens, which get whatever numbers are free."""

    def __init__(self):
        self.sockets = [socket.socket() for _ in range(4)]
        for each in self.sockets:
            each.bind((ADDRESS, 0))

    def touched(self):
        """The number of them that had an option set, or were shut down or closed."""
        count = 0
        for each in self.sockets:
            try:
                options = [
                    each.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
                    each.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY),
                ]
                each.listen(1)
                each.getsockname()
                count += any(options)
            except OSError:
                count += 1
            each.close()
        return count


def _answer(call):
    try:
        return str(call())
    except Exception as error:
        return type(error).__name__


def _ask(transport):
    """All calls on a transport that read or change its socket."""
    return {
        "getHost": _answer(transport.getHost),
        "getPeer": _answer(transport.getPeer),
        "setTcpKeepAlive": _answer(lambda: transport.setTcpKeepAlive(1)),
        "getTcpKeepAlive": _answer(lambda: bool(transport.getTcpKeepAlive())),
        "setTcpNoDelay": _answer(lambda: transport.setTcpNoDelay(1)),
        "getTcpNoDelay": _answer(lambda: bool(transport.getTcpNoDelay())),
        "fileno": _answer(lambda: transport.fileno() >= 0),
        "getHandle": _answer(lambda: transport.getHandle().getsockname()),
    }


def _expected(transport):
    """The expected answers while the transport is open."""
    host = transport.getHost()
    return {
        "getHost": str(host),
        "getPeer": str(transport.getPeer()),
        "setTcpKeepAlive": "None",
        "getTcpKeepAlive": "True",
        "setTcpNoDelay": "None",
        "getTcpNoDelay": "True",
        "fileno": "True",
        "getHandle": str((host.host, host.port)),
    }


_LAST_WORDS = {
    "abortConnection": lambda transport: transport.abortConnection(),
    "loseConnection": lambda transport: transport.loseConnection(),
    "loseWriteConnection": lambda transport: transport.loseWriteConnection(),
    "both": lambda transport: (transport.loseConnection(), transport.abortConnection()),
    "full": lambda transport: (transport.write(b"x" * 10_000_000), transport.abortConnection()),
}


def endings(reactor):
    """
    Clients end their connections in each way, in `connectionMade` or in a later callback, with their sockets used
    before or not. The same callback then makes every call on them. Returns the wrong answers.
    """
    wrong = {}
    cases = list(itertools.product(_LAST_WORDS, (True, False), (True, False)))

    def act(side, case):
        how, seen, _ = case
        transport = side.transport
        expected = _expected(transport)
        if not seen:
            transport.__dict__.pop("socket").detach()
        _LAST_WORDS[how](transport)
        strangers = _Strangers()
        said = _ask(transport)
        outcome = {name: answer for name, answer in said.items() if answer != expected[name]}
        outcome["strangers touched"] = strangers.touched()
        wrong[str(case)] = {name: answer for name, answer in outcome.items() if answer}
        reactor.callLater(0, transport.abortConnection)

    def begin(_side=None):
        if cases:
            reactor.callLater(0, reactor.connectTCP, ADDRESS, port.getHost().port, client)

    def made(side):
        case = cases.pop()
        if case[2]:
            act(side, case)
        else:
            reactor.callLater(0.02, act, side, case)

    client = SideFactory(connectionMade=made, connectionLost=begin)
    port = reactor.listenTCP(0, SideFactory(), interface=ADDRESS)
    count = len(cases)
    reactor.callWhenRunning(begin)
    until(reactor, lambda: len(client.lost) == count)
    return {"wrong": {case: what for case, what in wrong.items() if what}, "asked": len(wrong), "log": failures()}


def failing(reactor, seen):
    """
    Some connections are reset by their peers while others receive data. Each one that receives data makes every call
    on those whose `connectionLost` was not called yet.
    """
    wrong, touched, expected, lost = {}, [], {}, []
    clients = []

    def made(side):
        if not seen:
            expected[side] = _expected(side.transport)
            side.transport.__dict__.pop("socket").detach()
        else:
            expected[side] = _expected(side.transport)

    def received(_side):
        strangers = _Strangers()
        for side in server.sides:
            if side not in lost:
                said = _ask(side.transport)
                wrong.update({name: answer for name, answer in said.items() if answer != expected[side][name]})
        touched.append(strangers.touched())

    def fail():
        for doomed, speaking in zip(clients[::2], clients[1::2], strict=True):
            doomed.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            doomed.close()
            speaking.sendall(b"hello")

    def begin():
        if len(server.sides) < 20:
            reactor.callLater(0.005, begin)
            return
        clients.sort(key=lambda each: each.getsockname())
        fail()

    server = SideFactory(connectionMade=made, dataReceived=received, connectionLost=lost.append)
    port = reactor.listenTCP(0, server, interface=ADDRESS)
    clients.extend(socket.create_connection((ADDRESS, port.getHost().port)) for _ in range(20))
    reactor.callLater(0, begin)
    until(reactor, lambda: len(lost) == 10 and len(touched) >= 1)
    for each in clients[1::2]:
        each.close()
    return {"wrong": wrong, "touched": sum(touched), "log": failures()}
