"""Protocols, pairs of connections and a loop for tests of the asyncio face."""

import asyncio
import functools
import socket
import unittest

from support import ports
from tidewaiter.asyncio import Loop

ADDRESS = "127.0.0.1"
# A test that takes longer hangs.
LIMIT_SECONDS = 20


class Side(asyncio.Protocol):
    """Records what the loop calls. `on` has functions that are called with it, by the name of the callback."""

    def __init__(self, **on):
        self.on = on
        self.transport = None
        self.received = b""
        self.events = []
        self.lost = asyncio.get_running_loop().create_future()

    def _told(self, name):
        self.events.append(name)
        return self.on[name](self) if name in self.on else None

    def connection_made(self, transport):
        self.transport = transport
        self._told("connection_made")

    def data_received(self, data):
        self.received += data
        self._told("data_received")

    def eof_received(self):
        return self._told("eof_received")

    def pause_writing(self):
        self._told("pause_writing")

    def resume_writing(self):
        self._told("resume_writing")

    def connection_lost(self, exception):
        if not self.lost.done():
            self.lost.set_result(exception)
        self._told("connection_lost")


class Buffered(asyncio.BufferedProtocol, Side):
    """As `Side`, with a buffer of `size` bytes."""

    def __init__(self, size, **on):
        super().__init__(**on)
        self.buffer = bytearray(size)

    def get_buffer(self, sizehint):
        self._told("get_buffer")
        return self.buffer

    def buffer_updated(self, count):
        self.received += self.buffer[:count]
        self._told("buffer_updated")


async def connected(server_side=Side, client_side=Side):
    """A connection: the protocols of both ends, and the server. The functions make the protocols."""
    loop = asyncio.get_running_loop()
    made = loop.create_future()

    def accept():
        side = server_side()
        loop.call_soon(made.set_result, side)
        return side

    server = await loop.create_server(accept, ADDRESS, 0)
    _, client = await loop.create_connection(client_side, sock=dialled(server))
    return await made, client, server


def dialled(server):
    """A plain socket that is connected to a server."""
    return socket.create_connection(server.sockets[0].getsockname())


async def until(condition):
    """Waits until `condition()` is true."""
    while not condition():
        await asyncio.sleep(0.001)


def on_each_port(test):
    """Makes a test of a coroutine function: runs it on a new loop for each kind of port."""

    @functools.wraps(test)
    def run(case):
        for port in ports():
            with case.subTest(port):
                case.run_on(Loop(port), functools.partial(test, case))

    return run


class LoopTestCase(unittest.TestCase):
    """Tests of coroutines. `contexts` has what the loop's exception handler was told in the test."""

    maxDiff = None

    def run_on(self, loop, test):
        self.contexts = []
        loop.set_exception_handler(lambda _, context: self.contexts.append(context))
        try:
            loop.run_until_complete(asyncio.wait_for(test(), LIMIT_SECONDS))
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            loop.close()

    def messages(self):
        return [context["message"] for context in self.contexts]


class ComparedTestCase(LoopTestCase):
    """Scenarios that have the same outcome on asyncio's own loop as on ours."""

    def compare(self, scenario):
        """Runs `scenario()` on asyncio's own loop and on ours, and compares what it returns and what it reports."""
        expected = self._on(asyncio.SelectorEventLoop(), scenario)
        for port in ports():
            with self.subTest(port):
                self.assertEqual(self._on(Loop(port), scenario), expected)

    def _on(self, loop, scenario):
        results = []

        async def test():
            results.append(await scenario())

        self.run_on(loop, test)
        return results, [(one["message"], repr(one.get("exception"))) for one in self.contexts]


def compared(scenario):
    """Makes a test of a scenario."""

    @functools.wraps(scenario)
    def test(case):
        case.compare(functools.partial(scenario, case))

    return test
