"""
Asyncio's TLS, whose traffic is native on our loop: each scenario runs on asyncio's own loop, too, and has the same
outcome there.
"""

import asyncio
import contextvars
import functools
import gc
import ssl
import sys
import unittest
import weakref
from unittest import mock

from scenarios.asyncio_pairs import ADDRESS, Buffered, ComparedTestCase, Side, compared, on_each_port, until
from scenarios.asyncio_tls import connected, contexts, is_native, listening
from support import ports
from tidewaiter.asyncio import Loop

VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
SIZES = (1, 255, 16384, 16385, 70_000)


def writing_back(side):
    """Sends back what has arrived just now."""
    side.transport.write(side.received[side.echoed :])
    side.echoed = len(side.received)


class Echo(Side):
    echoed = 0

    def __init__(self):
        super().__init__(data_received=writing_back)


def setUpModule():
    if sys.version_info < (3, 11):
        raise unittest.SkipTest("the TLS of Python 3.10 is another one, which our loop leaves as it is")


class Traffic(ComparedTestCase):
    def assert_native(self, *sides):
        if isinstance(asyncio.get_running_loop(), Loop):
            for side in sides:
                self.assertTrue(is_native(side.transport))

    @compared
    async def test_messages_of_each_size_and_version(self):
        results = []
        for version in VERSIONS:
            server_side, client, server = await connected(Echo, version=version)
            self.assert_native(server_side, client)
            sent = b""
            for size in SIZES:
                piece = bytes(number % 251 for number in range(size))
                client.transport.write(piece)
                sent += piece
                await until(lambda client=client, sent=sent: len(client.received) == len(sent))
            results.append((client.received == sent, client.transport.get_extra_info("cipher")[1]))
            client.transport.close()
            results.append((await client.lost, await server_side.lost, client.events[-2:], server_side.events[-2:]))
            server.close()
        return results

    @compared
    async def test_what_can_be_written(self):
        results = []
        server_side, client, server = await connected()
        for data in (b"bytes", b"", bytearray(b"array"), memoryview(b"view"), memoryview(b"every other")[::1]):
            client.transport.write(data)
        client.transport.writelines([b"one", bytearray(b"two"), b""])
        for wrong in ("text", None, 5, [b"list"]):
            try:
                client.transport.write(wrong)
            except TypeError as problem:
                results.append(str(problem))
        await until(lambda: len(server_side.received) == len(b"bytesarrayviewevery otheronetwo"))
        client.transport.close()
        client.transport.write(b"after the end")
        await client.lost
        client.transport.write(b"after the end")
        await server_side.lost
        server.close()
        return results, server_side.received, client.transport.is_closing()

    @compared
    async def test_a_paused_protocol_gets_nothing(self):
        server_side, client, server = await connected()
        server_side.transport.pause_reading()
        client.transport.write(b"x" * 100_000)
        for _ in range(5):
            await asyncio.sleep(0.001)
        told = [server_side.received, server_side.transport.is_reading()]
        server_side.transport.resume_reading()
        await until(lambda: len(server_side.received) == 100_000)
        server_side.on["data_received"] = lambda side: side.transport.pause_reading()
        client.transport.write(b"first")
        await until(lambda: len(server_side.received) == 100_005)
        client.transport.write(b"second")
        for _ in range(5):
            await asyncio.sleep(0.001)
        told.append(len(server_side.received))
        server_side.transport.resume_reading()
        await until(lambda: len(server_side.received) == 100_011)
        client.transport.abort()
        server.close()
        return told

    @compared
    async def test_a_full_queue_pauses_the_writer(self):
        server_side, client, server = await connected()
        server_side.transport.pause_reading()
        written = 0
        while "pause_writing" not in client.events:
            client.transport.write(b"x" * 100_000)
            written += 100_000
            await asyncio.sleep(0)
        server_side.transport.resume_reading()
        await until(lambda: "resume_writing" in client.events)
        await until(lambda: len(server_side.received) == written)
        client.transport.abort()
        server.close()
        return client.events[:3]

    @compared
    async def test_limits_of_the_queue(self):
        server_side, client, server = await connected(Echo)
        # The server's session tickets come before its answer. With a limit of 0, they would resume the writer.
        client.transport.write(b"x")
        await until(lambda: client.received)
        told = [client.transport.get_write_buffer_limits(), client.transport.get_read_buffer_limits()]
        for high in (0, 10, 1 << 80):
            client.transport.set_write_buffer_limits(high)
            # A limit of 0 pauses asyncio's own connections for good.
            client.transport.set_read_buffer_limits(high or 1)
            before = len(client.received)
            client.transport.write(b"x" * 100)
            await until(lambda before=before: len(client.received) == before + 100)
            told += [client.transport.get_write_buffer_size(), list(client.events)]
        client.transport.abort()
        server.close()
        return told

    @compared
    async def test_in_the_context_of_the_connection(self):
        variable = contextvars.ContextVar("variable", default="none")
        variable.set("server")
        seen = []
        server_side, client, server = await connected(lambda: Side(data_received=lambda _: seen.append(variable.get())))
        variable.set("later")
        client.transport.write(b"x")
        await until(lambda: seen)
        client.transport.abort()
        server.close()
        return seen

    @compared
    async def test_a_protocol_that_is_replaced(self):
        server_side, client, server = await connected()
        others = [Side(), Buffered(1000), Side()]
        for number, other in enumerate(others):
            server_side.transport.set_protocol(other)
            client.transport.write(b"x" * number + b"!")
            await until(lambda other=other: other.received.endswith(b"!"))
        client.transport.close()
        await others[-1].lost
        server.close()
        return [other.received for other in others], server_side.received, server_side.events

    @compared
    async def test_streams(self):
        async def echo(reader, writer):
            while line := await reader.readline():
                writer.write(line)
                writer.writelines([line, line])
                await writer.drain()
            writer.close()
            await writer.wait_closed()

        server = await asyncio.start_server(echo, ADDRESS, 0, ssl=contexts()[0])
        address = server.sockets[0].getsockname()
        reader, writer = await asyncio.open_connection(*address, ssl=contexts()[1])
        results = []
        for size in (1, 100, 30_000):
            writer.write(b"x" * size + b"\n")
            await writer.drain()
            results.append([len(await reader.readline()) for _ in range(3)])
        writer.close()
        await writer.wait_closed()
        server.close()
        return results, await reader.read()

    @compared
    async def test_an_upgrade_of_a_connection(self):
        """By `start_tls`, which the server begins when a line asks for it."""
        loop = asyncio.get_running_loop()
        secured = []

        async def secure(side):
            side.transport = await loop.start_tls(side.transport, side, contexts()[0], server_side=True)
            secured.append(side)

        def asked(side):
            if side.received == b"start\n":
                side.transport.write(b"go\n")
                tasks.append(loop.create_task(secure(side)))
            elif secured:
                side.transport.write(side.received[6:])

        tasks = []
        server = await loop.create_server(lambda: Side(data_received=asked), ADDRESS, 0)
        _, client = await loop.create_connection(Side, *server.sockets[0].getsockname())
        client.transport.write(b"start\n")
        await until(lambda: client.received == b"go\n")
        client.transport = await loop.start_tls(client.transport, client, contexts()[1], server_hostname=ADDRESS)
        await until(lambda: secured)
        self.assert_native(client, *secured)
        client.transport.write(b"secret")
        await until(lambda: client.received == b"go\nsecret")
        client.transport.close()
        server.close()
        return await client.lost, await secured[0].lost


class Ending(ComparedTestCase):
    @compared
    async def test_the_peer_closes_after_its_data(self):
        server_side, client, server = await connected()
        client.transport.write(b"last words")
        client.transport.close()
        told = await server_side.lost, await client.lost
        server.close()
        return told, server_side.received, server_side.events

    @compared
    async def test_the_connection_ends_without_a_word(self):
        server_side, client, server = await connected()
        client.transport.write(b"x")
        await until(lambda: server_side.received)
        client.transport._ssl_protocol._transport.abort()
        await client.lost
        await server_side.lost
        server.close()
        return server_side.events[-2:], client.events

    @compared
    async def test_what_is_no_record_ends_the_connection(self):
        server_side, client, server = await connected()
        client.transport.write(b"x")
        await until(lambda: server_side.received)
        client.transport._ssl_protocol._transport.write(b"\x17\x03\x03\x00\x20" + b"no record" * 10)
        told = type(await server_side.lost).__name__
        await client.lost
        server.close()
        return told, server_side.events

    @compared
    async def test_an_exception_of_the_protocol_ends_the_connection(self):
        def fail(_):
            raise ValueError("mine")

        server_side, client, server = await connected(lambda: Side(data_received=fail))
        client.transport.write(b"x")
        told = repr(await server_side.lost)
        await client.lost
        server.close()
        return told, server_side.events

    @compared
    async def test_exceptions_of_flow_control_are_reported(self):
        def fail(_):
            raise ValueError("mine")

        server_side, client, server = await connected(Echo, lambda: Side(pause_writing=fail, resume_writing=fail))
        client.transport.set_write_buffer_limits(0)
        client.transport.write(b"x")
        await until(lambda: client.received)
        client.transport.close()
        await client.lost
        server.close()
        first = self.contexts[:2]
        # How often more is queued than the limit, until the end, is a matter of chance.
        self.contexts.clear()
        return client.events[:2], [(one["message"], repr(one["exception"])) for one in first]

    def test_an_exit_leaves_the_loop(self):
        for port in ports():
            loop = Loop(port)

            def leave(_):
                raise SystemExit(7)

            async def test(leave=leave):
                _, client, _ = await connected(lambda: Side(data_received=leave))
                client.transport.write(b"x")
                await asyncio.sleep(20)

            with self.assertRaises(SystemExit):
                loop.run_until_complete(test())
            loop.run_until_complete(loop.shutdown_asyncgens())
            for task in asyncio.all_tasks(loop):
                task.cancel()
            loop.run_until_complete(asyncio.sleep(0))
            loop.close()

    @compared
    async def test_a_protocol_closes_while_it_is_called(self):
        results = []
        for end in ("close", "abort"):
            on = {"data_received": lambda side, end=end: getattr(side.transport, end)()}
            server_side, client, server = await connected(lambda on=on: Side(**on))
            client.transport.write(b"x")
            results.append((type(await server_side.lost).__name__, server_side.events))
            await client.lost
            server.close()
        return results

    @compared
    async def test_nothing_of_a_connection_stays(self):
        alive = []
        server_side, client, server = await connected(Echo)
        for side in (server_side, client):
            alive += [weakref.ref(side), weakref.ref(side.transport), weakref.ref(side.transport._ssl_protocol)]
        client.transport.write(b"x")
        await until(functools.partial(getattr, client, "received"))
        client.transport.close()
        await client.lost
        await server_side.lost
        server.close()
        del server_side, client, side, server
        await asyncio.sleep(0.001)
        gc.collect()
        await until(lambda: not any(reference() for reference in alive))


class FallingBack(ComparedTestCase):
    """Asyncio's own code goes on with connections that a program has changed."""

    @compared
    async def test_methods_that_a_program_replaces(self):
        server_side, client, server = await connected()
        tls = server_side.transport._ssl_protocol
        calls = []
        original = tls._do_read

        def counted():
            calls.append("read")
            original()

        tls._do_read = counted
        client.transport.write(b"x")
        await until(lambda: server_side.received)
        client.transport._ssl_protocol._write_appdata = calls.append
        client.transport.write(b"y")
        client.transport.abort()
        server.close()
        return calls

    @on_each_port
    async def test_replaced_methods_of_asyncios_classes(self):
        from asyncio import sslproto

        name = "_write_appdata"
        with mock.patch.object(sslproto.SSLProtocol, name, getattr(sslproto.SSLProtocol, name, None), create=True):
            with mock.patch.object(sslproto.SSLProtocol, name, autospec=True):
                server_side, client, server = await connected()
                self.assertFalse(is_native(client.transport))
        client.transport.abort()
        server.close()

    @on_each_port
    async def test_debug_mode(self):
        asyncio.get_running_loop().set_debug(True)
        server_side, client, server = await connected(Echo)
        self.assertFalse(is_native(client.transport))
        client.transport.write(b"x")
        await until(lambda: client.received)
        client.transport.abort()
        server.close()

    @compared
    async def test_a_handshake_that_takes_too_long(self):
        server = await listening(Side, ssl_handshake_timeout=0.05)
        loop = asyncio.get_running_loop()
        _, client = await loop.create_connection(Side, *server.sockets[0].getsockname())
        told = type(await client.lost).__name__
        server.close()
        return told


if __name__ == "__main__":
    unittest.main()
