"""Runs scenarios with a stream's reader and writer on asyncio's own loop and on ours, and compares the outcomes."""

import asyncio
import functools
import os
import socket
import struct

from support import ports
from tidewaiter.asyncio import Loop

from scenarios.asyncio_pairs import ADDRESS, LoopTestCase, until


def shown(exception):
    """An exception as two loops can be compared: its kind, its arguments, and those of the one that it came of."""
    context = exception.__context__
    extra = [getattr(exception, name, None) for name in ("partial", "expected", "consumed")]
    return type(exception).__name__, str(exception), extra, type(context).__name__


async def outcome(awaitable):
    """The result of an awaitable, or its exception."""
    try:
        return await awaitable
    except Exception as exception:
        return shown(exception)
    except asyncio.CancelledError:
        return "cancelled"


async def turns(count):
    for _ in range(count):
        await asyncio.sleep(0)


class Ends:
    """One connection: the server's reader and writer, and the client's plain socket."""

    def __init__(self, reader, writer, client):
        self.reader, self.writer, self.client = reader, writer, client
        self.sent = 0

    async def send(self, data):
        """Has the server's reader receive these bytes, together with those that it has."""
        before = self.held()
        self.client.sendall(data)
        await until(lambda: self.held() == before + len(data))

    def held(self):
        """How many bytes the reader holds. Its private attributes are left alone."""
        words = repr(self.reader).strip("<>").split()
        return int(words[1]) if words[2:3] == ["bytes"] else 0

    async def end(self):
        """Has the reader receive the end of the client's stream."""
        self.client.shutdown(socket.SHUT_WR)
        await until(lambda: " eof" in repr(self.reader))

    def reset(self):
        """Closes the client's socket by a reset."""
        linger = struct.pack("ii" if os.name == "posix" else "hh", 1, 0)
        self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.client.close()


async def accepted(limit=2**16):
    """The ends of a new connection, and its server."""
    made = asyncio.Queue()
    server = await asyncio.start_server(lambda *ends: made.put_nowait(ends), ADDRESS, 0, limit=limit)
    client = socket.create_connection(server.sockets[0].getsockname())
    return Ends(*await made.get(), client), server


class ReaderTestCase(LoopTestCase):
    def assert_native(self, reader):
        self.assertIsNot(type(reader), asyncio.StreamReader)

    def assert_plain(self, reader):
        self.assertIs(type(reader), asyncio.StreamReader)

    def compare(self, scenario, limit=2**16):
        """Runs `scenario(ends)` on asyncio's own loop and on ours, and compares what it returns and what it reports."""

        async def run():
            ends, server = await accepted(limit)
            if isinstance(asyncio.get_running_loop(), Loop):
                self.assert_native(ends.reader)
            try:
                return await scenario(ends)
            finally:
                ends.client.close()
                ends.writer.transport.abort()
                server.close()

        expected = self._on(asyncio.SelectorEventLoop(), run)
        for port in ports():
            with self.subTest(port):
                self.assertEqual(self._on(Loop(port), run), expected)
        return expected[0]

    def _on(self, loop, run):
        results = []

        async def test():
            results.append(await run())

        self.run_on(loop, test)
        results.append(self.messages())
        return results


def compared(limit=2**16):
    """Makes a test of a scenario."""

    def make(scenario):
        @functools.wraps(scenario)
        def test(case):
            case.compare(functools.partial(scenario, case), limit)

        return test

    return make
