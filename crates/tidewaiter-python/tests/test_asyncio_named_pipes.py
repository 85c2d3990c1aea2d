"""Named pipes on the asyncio loop, as Windows's own loop has them."""

import asyncio
import itertools
import os
import unittest

from support import WINDOWS
from test_asyncio_loop import LoopTestCase

NUMBERS = itertools.count()
LARGE = bytes(range(256)) * 4096


class Peer(asyncio.Protocol):
    """Records what it is told."""

    def __init__(self):
        self.received = bytearray()
        self.made = asyncio.get_running_loop().create_future()
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport
        self.made.set_result(None)

    def data_received(self, data):
        self.received += data

    def connection_lost(self, exc):
        self.lost.set_result(exc)


class Echo(Peer):
    def data_received(self, data):
        self.transport.write(data)


async def in_time(awaitable):
    return await asyncio.wait_for(awaitable, 30)


@unittest.skipUnless(WINDOWS, "only Windows has named pipes")
class NamedPipes(LoopTestCase):
    def setUp(self):
        super().setUp()
        self.address = rf"\\.\pipe\tidewaiter-asyncio-{os.getpid()}-{next(NUMBERS)}"

    def run_test(self, test):
        self.loop.run_until_complete(in_time(test(self.loop)))
        self.assertEqual(self.reports, [])

    async def serve(self, factory=Echo):
        (server,) = await self.loop.start_serving_pipe(factory, self.address)
        self.addCleanup(server.close)
        return server

    def test_bytes_go_both_ways(self):
        async def test(loop):
            await self.serve()
            reader, writer = await self.open_streams()
            for data in (b"small", LARGE):
                await self.assert_echoes(reader, writer, data)
            writer.close()
            await writer.wait_closed()

        self.run_test(test)

    async def open_streams(self):
        """A reader and a writer, as programs make them over these methods."""
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        transport, made = await self.loop.create_pipe_connection(lambda: protocol, self.address)
        self.assertIs(made, protocol)
        return reader, asyncio.StreamWriter(transport, protocol, reader, self.loop)

    async def assert_echoes(self, reader, writer, data):
        writer.write(data)
        self.assertEqual(await reader.readexactly(len(data)), data)

    def test_both_sides_hear_of_the_end(self):
        async def test(loop):
            served = loop.create_future()

            def factory():
                served.set_result(Peer())
                return served.result()

            await self.serve(factory)
            transport, client = await loop.create_pipe_connection(Peer, self.address)
            transport.write(b"last words")
            transport.close()
            self.assertIsNone(await client.lost)
            peer = await served
            self.assertIsNone(await peer.lost)
            self.assertEqual(peer.received, b"last words")

        self.run_test(test)

    def test_the_transport_tells_what_it_is(self):
        async def test(loop):
            await self.serve()
            transport, client = await loop.create_pipe_connection(Peer, self.address)
            self.assertIsInstance(transport, asyncio.Transport)
            self.assertEqual(transport.get_extra_info("addr"), self.address)
            self.assertIsNone(transport.get_extra_info("socket"))
            self.assertFalse(transport.can_write_eof())
            with self.assertRaises(NotImplementedError):
                transport.write_eof()
            transport.abort()
            await client.lost

        self.run_test(test)

    def test_connections_outlive_their_server(self):
        async def test(loop):
            server = await self.serve()
            self.assertFalse(server.closed())
            reader, writer = await self.open_streams()
            await self.assert_echoes(reader, writer, b"there")
            server.close()
            server.close()
            self.assertTrue(server.closed())
            await self.assert_echoes(reader, writer, b"still there")
            writer.close()
            await writer.wait_closed()

        self.run_test(test)

    def test_what_cannot_be_opened_is_an_error(self):
        async def test(loop):
            with self.assertRaises(FileNotFoundError):
                await loop.create_pipe_connection(Peer, self.address)
            for wrong in ("no-pipe", r"\\.\pipe", "\\\\.\\pipe\\a\0b"):
                with self.subTest(wrong), self.assertRaisesRegex(ValueError, "pipe"):
                    await loop.create_pipe_connection(Peer, wrong)
                with self.subTest(wrong), self.assertRaisesRegex(ValueError, "pipe"):
                    await loop.start_serving_pipe(Peer, wrong)
            await self.serve()
            with self.assertRaises(OSError):
                await loop.start_serving_pipe(Peer, self.address)

        self.run_test(test)

    def test_a_factory_that_raises_costs_its_connection(self):
        def fail():
            raise LookupError("no protocol")

        async def test(loop):
            server = await self.serve(fail)
            _, client = await loop.create_pipe_connection(Peer, self.address)
            await client.lost
            server.close()

            self.address += "-other"
            await self.serve()
            with self.assertRaisesRegex(LookupError, "no protocol"):
                await loop.create_pipe_connection(fail, self.address)
            reader, writer = await self.open_streams()
            await self.assert_echoes(reader, writer, b"next")
            writer.close()
            await writer.wait_closed()

        self.run_test(test)

    def test_connecting_may_be_cancelled_at_any_turn(self):
        async def test(loop):
            await self.serve()
            for turns in range(6):
                connecting = loop.create_task(loop.create_pipe_connection(Peer, self.address))
                for _ in range(turns):
                    await asyncio.sleep(0)
                connecting.cancel()
                (outcome,) = await asyncio.gather(connecting, return_exceptions=True)
                if not isinstance(outcome, asyncio.CancelledError):
                    outcome[0].abort()
            while loop._socket_transports():
                await asyncio.sleep(0.001)

        self.run_test(test)

    def test_a_client_of_asyncios_own_loop_is_served(self):
        async def theirs(address):
            reader = asyncio.StreamReader()
            loop = asyncio.get_running_loop()
            protocol = asyncio.StreamReaderProtocol(reader)
            transport, _ = await loop.create_pipe_connection(lambda: protocol, address)
            transport.write(b"from theirs")
            answers.append(await reader.readexactly(11))
            transport.close()

        def run_theirs():
            loop = asyncio.ProactorEventLoop()
            loop.run_until_complete(in_time(theirs(self.address)))
            loop.close()

        async def test(loop):
            await self.serve()
            await loop.run_in_executor(None, run_theirs)
            self.assertEqual(answers, [b"from theirs"])

        answers = []
        self.run_test(test)


if __name__ == "__main__":
    unittest.main()
