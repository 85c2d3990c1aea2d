"""When asyncio's own code goes on with a stream, and what stays of streams that have ended."""

import asyncio
import gc
import importlib.util
import socket
import unittest
import warnings
import weakref
from unittest import mock

from scenarios.asyncio_pairs import ADDRESS, on_each_port, until
from scenarios.asyncio_readers import ReaderTestCase, accepted, compared, outcome, turns
from tidewaiter.asyncio import Loop, _native_streams


class FallingBack(ReaderTestCase):
    """What our loop cannot know is left to asyncio's own code."""

    @compared()
    async def test_private_attributes(self, ends):
        reader = ends.reader
        await ends.send(b"some bytes")
        told = [bytes(reader._buffer), reader._eof, reader._waiter, reader._exception, reader._paused, reader._limit]
        self.assert_plain(reader)
        del reader._buffer[:5]
        told += [await reader.read(100), reader._transport is ends.writer.transport, hasattr(reader, "other")]
        ends.client.sendall(b"more")
        return [*told, await reader.readexactly(4)]

    @compared()
    async def test_a_task_that_waits_goes_on(self, ends):
        results = []
        reader = ends.reader
        await ends.send(b"ab")
        task = asyncio.ensure_future(reader.readexactly(4))
        await turns(2)
        results.append(reader._waiter is task._fut_waiter)
        self.assert_plain(reader)
        ends.client.sendall(b"cd")
        return [*results, await task, await outcome(asyncio.wait_for(reader.read(1), 0.01))]

    @compared()
    async def test_a_task_that_collects_goes_on(self, ends):
        task = asyncio.ensure_future(ends.reader.read())
        await turns(2)
        ends.client.sendall(b"first ")
        await turns(20)
        await asyncio.sleep(0.01)
        told = ends.reader._limit, ends.reader._eof
        ends.client.sendall(b"second")
        ends.client.shutdown(socket.SHUT_WR)
        return told, await task

    @compared()
    async def test_methods_that_a_program_replaces(self, ends):
        fed = []
        ends.reader.feed_data = fed.append
        self.assert_plain(ends.reader)
        ends.client.sendall(b"x")
        await until(lambda: fed)
        del ends.reader.feed_data
        ends.writer.transport.get_protocol().data_received = lambda data: fed.append(data.upper())
        ends.client.sendall(b"y")
        await until(lambda: len(fed) == 2)
        ends.writer.write = fed.append
        ends.writer.write(b"written")
        self.assertIs(type(ends.writer), asyncio.StreamWriter)
        await ends.writer.drain()
        return fed

    @compared()
    async def test_a_protocol_that_a_program_replaces(self, ends):
        received = []

        class Other(asyncio.Protocol):
            def data_received(self, data):
                received.append(data)

        first = ends.writer.transport.get_protocol()
        ends.writer.transport.set_protocol(Other())
        ends.client.sendall(b"x")
        await until(lambda: received)
        drained = await outcome(ends.writer.drain())
        ends.writer.transport.set_protocol(first)
        ends.client.sendall(b"y")
        return received, drained, await ends.reader.read(10)

    @on_each_port
    async def test_other_classes_stay_as_they_are(self):
        loop = asyncio.get_running_loop()

        class Reader(asyncio.StreamReader):
            pass

        class Protocol(asyncio.StreamReaderProtocol):
            pass

        plain = asyncio.StreamReader(loop=loop)
        used = asyncio.StreamReader(loop=loop)
        used.feed_data(b"x")
        replaced = asyncio.StreamReader(loop=loop)
        replaced.read = print
        kinds = [(Reader(loop=loop), asyncio.StreamReaderProtocol), (plain, Protocol)]
        kinds += [(one, asyncio.StreamReaderProtocol) for one in (used, replaced)]
        server = await asyncio.start_server(lambda *_: None, ADDRESS, 0)
        for reader, protocol in kinds:
            kind = type(reader)
            made = protocol(reader, loop=loop)
            transport, _ = await loop.create_connection(lambda made=made: made, *server.sockets[0].getsockname())
            self.assertEqual((type(reader), type(made)), (kind, protocol))
            transport.abort()

    @on_each_port
    async def test_replaced_methods_of_asyncios_classes(self):
        for kind, name in ((asyncio.StreamReader, "read"), (asyncio.StreamReaderProtocol, "data_received")):
            with mock.patch.object(kind, name, getattr(kind, name).__get__(None, kind)), mock.patch.object(kind, name):
                ends, server = await accepted()
                self.assert_plain(ends.reader)
            ends.client.close()
            server.close()

    @on_each_port
    async def test_debug_mode(self):
        asyncio.get_running_loop().set_debug(True)
        ends, server = await accepted()
        self.assert_plain(ends.reader)
        ends.client.close()
        server.close()

    @on_each_port
    async def test_debug_mode_that_begins_later(self):
        ends, server = await accepted()
        self.assert_native(ends.reader)
        waiting = asyncio.ensure_future(ends.reader.read(5))
        await turns(2)
        asyncio.get_running_loop().set_debug(True)
        ends.client.sendall(b"x")
        self.assertEqual(await waiting, b"x")
        ends.client.close()
        server.close()


class Ending(ReaderTestCase):
    @on_each_port
    async def test_nothing_of_a_connection_stays(self):
        alive = []

        async def echo(reader, writer):
            alive.append(weakref.ref(reader))
            while data := await reader.read(100):
                writer.write(data)
                await writer.drain()
            writer.close()

        server = await asyncio.start_server(echo, ADDRESS, 0)
        for number in range(20):
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            alive.append(weakref.ref(reader))
            self.assert_native(reader)
            writer.write(b"%d\n" % number)
            self.assertEqual(await reader.readline(), b"%d\n" % number)
            writer.close()
            await writer.wait_closed()
        del reader, writer
        await turns(10)
        gc.collect()
        await until(lambda: not any(reference() for reference in alive))

    @on_each_port
    async def test_what_arrives_for_a_reader_that_is_gone_is_dropped(self):
        ends, server = await accepted(limit=100)
        reader, ends.reader = weakref.ref(ends.reader), None
        protocol = ends.writer.transport.get_protocol()
        transport, ends.writer = ends.writer.transport, None
        protocol._stream_writer = None
        gc.collect()
        self.assertIsNone(reader())
        # A writer closes its connection when it goes (from Python 3.11 on).
        if not transport.is_closing():
            ends.client.setblocking(False)
            await asyncio.get_running_loop().sock_sendall(ends.client, b"x" * 100_000)
            self.assertTrue(transport.is_reading())
        ends.client.close()
        transport.abort()
        server.close()

    @on_each_port
    async def test_an_awaited_call_keeps_a_stream(self):
        ends, server = await accepted()
        read = ends.reader.read
        waiting = asyncio.ensure_future(read(10))
        ends.reader = None
        await turns(2)
        ends.client.sendall(b"x")
        self.assertEqual(await waiting, b"x")
        waiting = asyncio.ensure_future(read(10))
        await turns(2)
        ends.client.close()
        self.assertEqual(await waiting, b"")
        server.close()

    def test_a_loop_that_is_gone(self):
        async def begin():
            ends, server = await accepted()
            task = asyncio.ensure_future(ends.reader.read(1))
            task._log_destroy_pending = False
            await turns(2)
            return ends, server, task

        loop = Loop()
        ends, server, task = loop.run_until_complete(begin())
        server.close()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loop.close()
            with self.assertRaisesRegex(RuntimeError, "Event loop is closed"):
                ends.reader.feed_data(b"x")
        ends.client.close()
        self.assertFalse(task.done())


def _has_cpythons_tests():
    try:
        return importlib.util.find_spec("test.test_asyncio.test_streams") is not None
    except ImportError:
        return False


@unittest.skipUnless(_has_cpythons_tests(), "this Python has no tests of its own")
class CPythons(unittest.TestCase):
    def test_its_stream_tests_with_native_readers(self):
        """Readers that CPython's tests make themselves are native here, above connections that bring nothing."""
        from test.test_asyncio import test_streams

        pairs, adopted = [], []

        def reader(*arguments, **options):
            made = asyncio.streams.StreamReader(*arguments, **options)
            if type(made._loop) is Loop and not made._loop.is_closed():
                pairs.append(socket.socketpair())
                connection = made._loop._make_socket_transport(pairs[-1][0], asyncio.Protocol())
                protocol = asyncio.StreamReaderProtocol(made, loop=made._loop)
                adopted.append(_native_streams.adopt(connection, protocol))
            return made

        suite = unittest.defaultTestLoader.loadTestsFromModule(test_streams)
        result = unittest.TestResult()
        with warnings.catch_warnings(), mock.patch("asyncio.StreamReader", reader):
            warnings.simplefilter("ignore")
            with mock.patch("asyncio.new_event_loop", Loop):
                suite.run(result)
        for pair in pairs:
            for end in pair:
                end.close()
        told = [f"{test}: {text}" for test, text in result.errors + result.failures]
        self.assertEqual(told, [])
        self.assertGreater(len([stream for stream in adopted if stream is not None]), 20)


if __name__ == "__main__":
    unittest.main()
