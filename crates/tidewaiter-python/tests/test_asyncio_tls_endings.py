"""What asyncio's TLS does not do, and ours does: the ends of connections, contexts, and data beside the handshake."""

import asyncio
import contextvars
import ssl
import sys
import unittest

from scenarios.asyncio_pairs import ADDRESS, LoopTestCase, Side, on_each_port, until
from scenarios.asyncio_tls import connected, contexts

# More than all buffers on the way take.
MUCH = 8 << 20


def setUpModule():
    if sys.version_info < (3, 11):
        raise unittest.SkipTest("the TLS of Python 3.10 is another one, which our loop leaves as it is")


async def upgraded(reader, writer, data):
    """The engine of a client that has done the handshake, and has sent `data` with its end."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    engine = contexts()[1].wrap_bio(incoming, outgoing, server_hostname=ADDRESS)
    while True:
        try:
            engine.do_handshake()
            break
        except ssl.SSLWantReadError:
            writer.write(outgoing.read())
            incoming.write(await reader.read(65536))
    engine.write(data)
    writer.write(outgoing.read())
    return engine


class Endings(LoopTestCase):
    def assert_quiet(self):
        self.assertEqual(self.messages(), [])

    @on_each_port
    async def test_what_was_written_before_the_end_arrives_at_a_slow_peer(self):
        server_side, client, server = await connected()
        server_side.transport.pause_reading()
        for _ in range(2):
            client.transport.write(b"x" * (MUCH // 2))
        client.transport.close()
        for _ in range(5):
            await asyncio.sleep(0.001)
        self.assertFalse(client.lost.done())
        server_side.transport.resume_reading()
        self.assertIsNone(await client.lost)
        self.assertIsNone(await server_side.lost)
        self.assertEqual(len(server_side.received), MUCH)
        server.close()
        self.assert_quiet()

    @on_each_port
    async def test_what_was_written_arrives_after_the_peer_ended_its_side_beneath(self):
        server_side, client, server = await connected()
        server_side.transport.pause_reading()
        client.transport.write(b"x" * MUCH)
        server_side.transport._ssl_protocol._transport.write_eof()
        await until(lambda: client.transport._ssl_protocol._eof_received)
        server_side.transport.resume_reading()
        await until(lambda: len(server_side.received) == MUCH)
        self.assertIsNone(await client.lost)
        server_side.transport.abort()
        server.close()
        self.assert_quiet()

    @on_each_port
    async def test_what_arrives_after_the_end_is_dropped(self):
        for paused in (False, True):
            server_side, client, server = await connected()
            client.transport.write(b"x")
            await until(lambda side=server_side: side.received)
            if paused:
                client.transport.pause_reading()
            server_side.transport.write(b"y" * 100_000)
            client.transport.close()
            if paused:
                client.transport.resume_reading()
            self.assertIsNone(await client.lost)
            self.assertIsNone(await server_side.lost)
            self.assertEqual(client.received, b"")
            server.close()
        self.assert_quiet()

    @on_each_port
    async def test_what_came_before_the_peers_end_waits_for_a_pause(self):
        server_side, client, server = await connected()
        client.transport.pause_reading()
        server_side.transport.write(b"last words")
        server_side.transport._ssl_protocol._transport.write_eof()
        await until(lambda: client.transport._ssl_protocol._eof_received)
        self.assertEqual(client.received, b"")
        client.transport.resume_reading()
        self.assertIsNone(await client.lost)
        self.assertEqual(client.received, b"last words")
        server_side.transport.abort()
        server.close()


class Callbacks(LoopTestCase):
    @on_each_port
    async def test_they_run_in_the_context_of_the_connection(self):
        variable = contextvars.ContextVar("variable")
        variable.set("connection")
        seen = {}

        def noting(name):
            def note(_):
                seen[name] = variable.get()

            return note

        names = ("data_received", "pause_writing", "resume_writing", "eof_received", "connection_lost")
        client_on = {name: noting(name) for name in names}
        server_side, client, server = await connected(client_side=lambda: Side(**client_on))
        variable.set("caller")
        client.transport.pause_reading()
        server_side.transport.write(b"x")
        await until(lambda: client.transport._ssl_protocol._incoming.pending)
        client.transport.resume_reading()
        server_side.transport.pause_reading()
        while "pause_writing" not in seen:
            client.transport.write(b"x" * 100_000)
            await asyncio.sleep(0)
        server_side.transport.resume_reading()
        await until(lambda: "resume_writing" in seen)
        server_side.transport.close()
        await client.lost
        server.close()
        self.assertEqual(seen, dict.fromkeys(names, "connection"))

    @on_each_port
    async def test_flow_control_without_tls_runs_in_the_context_of_the_connection(self):
        variable = contextvars.ContextVar("variable")
        variable.set("connection")
        seen = []
        on = {name: lambda side: seen.append(variable.get()) for name in ("pause_writing", "resume_writing")}
        loop = asyncio.get_running_loop()
        accepted = []
        server = await loop.create_server(lambda: accepted.append(Side()) or accepted[0], ADDRESS, 0)
        _, client = await loop.create_connection(lambda: Side(**on), *server.sockets[0].getsockname())
        await until(lambda: accepted and accepted[0].transport)
        accepted[0].transport.pause_reading()
        variable.set("caller")
        client.transport.write(b"x" * MUCH)
        accepted[0].transport.resume_reading()
        await until(lambda: len(seen) == 2)
        self.assertEqual(seen, ["connection", "connection"])
        client.transport.abort()
        server.close()

    @on_each_port
    async def test_data_beside_the_handshake_comes_after_the_upgrade(self):
        loop = asyncio.get_running_loop()
        upgrades = []

        async def secure(side):
            side.transport = await loop.start_tls(side.transport, side, contexts()[0], server_side=True)
            side.events.append("secured")

        def made(side):
            upgrades.append((side, loop.create_task(secure(side))))

        server = await loop.create_server(lambda: Side(connection_made=made), ADDRESS, 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        await upgraded(reader, writer, b"early")
        await until(lambda: upgrades and upgrades[0][0].received)
        side, task = upgrades[0]
        await task
        self.assertEqual(side.received, b"early")
        self.assertEqual(side.events, ["connection_made", "secured", "data_received"])
        writer.transport.abort()
        await side.lost
        server.close()

    @on_each_port
    async def test_any_protocol_may_give_a_buffer(self):
        class Duck(asyncio.BaseProtocol):
            def __init__(self):
                self.buffer = bytearray(4)
                self.received = b""

            def get_buffer(self, _):
                return self.buffer

            def buffer_updated(self, count):
                self.received += self.buffer[:count]

            def eof_received(self):
                pass

        server_side, client, server = await connected()
        duck = Duck()
        client.transport.set_protocol(duck)
        server_side.transport.write(b"in several pieces")
        await until(lambda: duck.received == b"in several pieces")
        client.transport.abort()
        server.close()


if __name__ == "__main__":
    unittest.main()
