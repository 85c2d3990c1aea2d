"""Connections and servers of the asyncio loop."""

import asyncio
import contextvars
import os
import socket
import struct
import unittest
import unittest.mock

from scenarios.asyncio_pairs import ADDRESS, Buffered, LoopTestCase, Side, connected, dialled, on_each_port, until
from support import needs_posix, ports
from tidewaiter.asyncio import Loop, run

MEGABYTE = 1 << 20


def echo(side):
    side.transport.write(side.received)
    side.received = b""


def fails(_):
    raise ValueError("a mistake of the protocol's")


class Bytes(LoopTestCase):
    @on_each_port
    async def test_all_kinds_of_bytes_arrive_in_order(self):
        server, client, _ = await connected()
        pieces = [b"a", bytearray(b"bc"), memoryview(b"-de-")[1:3], b"", b"f" * 100_000, memoryview(b"ghghgh")[::2]]
        for piece in pieces:
            client.transport.write(piece)
        client.transport.writelines([b"i", bytearray(b"j"), memoryview(b"k")])
        expected = b"".join(map(bytes, pieces)) + b"ijk"
        await until(lambda: len(server.received) == len(expected))
        self.assertEqual(server.received, expected)

    @on_each_port
    async def test_what_is_no_bytes_is_refused(self):
        _, client, _ = await connected()
        for wrong in ("text", 1, None, [b"bytes"]):
            with self.assertRaisesRegex(TypeError, "data argument must be a bytes-like object"):
                client.transport.write(wrong)

    @on_each_port
    async def test_a_changed_bytearray_was_sent_as_it_was(self):
        server, client, _ = await connected()
        data = bytearray(b"x" * 50_000)
        client.transport.write(data)
        data[:] = b"y" * 50_000
        await until(lambda: len(server.received) == 50_000)
        self.assertEqual(server.received, b"x" * 50_000)

    @on_each_port
    async def test_megabytes_come_back(self):
        _, client, _ = await connected(lambda: Side(data_received=echo))
        sent = bytes(range(256)) * (4 * MEGABYTE // 256)
        client.transport.write(sent)
        await until(lambda: len(client.received) == len(sent))
        self.assertEqual(client.received, sent)

    @on_each_port
    async def test_nothing_is_delivered_during_a_pause(self):
        server, client, _ = await connected(lambda: Side(data_received=lambda side: side.transport.pause_reading()))
        client.transport.write(b"first")
        await until(lambda: server.received)
        self.assertFalse(server.transport.is_reading())
        client.transport.write(b"second")
        client.transport.write_eof()
        await asyncio.sleep(0.05)
        self.assertEqual((server.received, server.events), (b"first", ["connection_made", "data_received"]))
        server.transport.resume_reading()
        server.transport.resume_reading()
        await until(lambda: server.received == b"firstsecond")
        server.transport.resume_reading()
        self.assertIsNone(await server.lost)


class Kinds(LoopTestCase):
    @on_each_port
    async def test_it_is_a_transport(self):
        _, client, _ = await connected()
        for kind in (asyncio.Transport, asyncio.ReadTransport, asyncio.BaseTransport):
            self.assertIsInstance(client.transport, kind)
        client.transport.attribute = 1
        self.assertEqual(client.transport.attribute, 1)
        del client.transport.attribute
        self.assertFalse(hasattr(client.transport, "attribute"))
        for name in ("__class__", "__hash__", "_paused"):
            with self.assertRaises(AttributeError):
                setattr(client.transport, name, None)
        self.assertIs(client.transport.get_protocol(), client)
        self.assertIn("read=polling write=<idle, bufsize=0>", repr(client.transport))

    @on_each_port
    async def test_a_method_of_one_transport_is_replaced(self):
        server, client, _ = await connected()
        kind = type(client.transport)
        for _ in range(2):
            with unittest.mock.patch.object(client.transport, "write", side_effect=ConnectionResetError) as write:
                self.assertIs(client.transport.write, write)
                with self.assertRaises(ConnectionResetError):
                    client.transport.write(b"not sent")
                server.transport.write(b"to the client")
            write.assert_called_once_with(b"not sent")
            client.transport.write(b"to the ")
            kind.write(client.transport, b"server")
            with self.assertRaises(AttributeError):
                del client.transport.write
        await until(lambda: server.received == b"to the server" * 2 and client.received == b"to the client" * 2)

    @on_each_port
    async def test_it_tells_of_its_socket(self):
        server, client, _ = await connected()
        ours, theirs = client.transport.get_extra_info, server.transport.get_extra_info
        self.assertEqual(ours("peername"), theirs("sockname"))
        self.assertEqual(theirs("peername"), ours("sockname"))
        self.assertEqual(ours("nothing of the kind", 7), 7)
        for transport in (client.transport, server.transport):
            view = transport.get_extra_info("socket")
            self.assertIs(transport.get_extra_info("socket"), view)
            self.assertIsInstance(view, asyncio.trsock.TransportSocket)
            self.assertEqual(view.getpeername(), transport.get_extra_info("peername"))
            self.assertTrue(view.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            transport.close()
        await asyncio.gather(server.lost, client.lost)
        self.assertEqual(ours("socket").fileno(), -1)
        self.assertEqual(ours("peername"), theirs("sockname"))

    @on_each_port
    async def test_a_socket_that_was_passed_goes_with_the_transport(self):
        loop = asyncio.get_running_loop()
        one, other = socket.socketpair()
        transport, _ = await loop.create_connection(Side, sock=one)
        accepted, side = await loop.connect_accepted_socket(Side, other)
        self.assertEqual(transport.get_extra_info("socket").fileno(), one.fileno())
        transport.write(b"hello")
        await until(lambda: side.received == b"hello")
        transport.close()
        await side.lost
        await until(lambda: (one.fileno(), other.fileno()) == (-1, -1))
        self.assertTrue(accepted.is_closing())

    @on_each_port
    async def test_callbacks_run_in_the_context_of_the_creation(self):
        variable = contextvars.ContextVar("variable", default="none")
        seen = []

        def note(side):
            seen.append(variable.get())
            variable.set("changed by a callback")

        variable.set("server")
        server, client, _ = await connected(lambda: Side(data_received=note))
        variable.set("client")
        await asyncio.get_running_loop().create_server(Side, ADDRESS, 0)
        client.transport.write(b"x")
        await until(lambda: seen)
        self.assertEqual((seen, variable.get()), (["server"], "client"))


class BufferedProtocols(LoopTestCase):
    @on_each_port
    async def test_a_small_buffer_is_filled_again_and_again(self):
        server, client, _ = await connected(lambda: Buffered(7))
        client.transport.write(bytes(range(256)))
        await until(lambda: len(server.received) == 256)
        self.assertEqual(server.received, bytes(range(256)))

    @on_each_port
    async def test_a_pause_in_the_middle_keeps_the_rest(self):
        server, client, _ = await connected(
            lambda: Buffered(10, buffer_updated=lambda side: side.transport.pause_reading())
        )
        client.transport.write(b"0123456789abcdefghijXYZ")
        for received in (b"0123456789", b"0123456789abcdefghij", b"0123456789abcdefghijXYZ"):
            await until(lambda received=received: server.received == received)
            await asyncio.sleep(0.01)
            self.assertEqual(server.received, received)
            server.transport.resume_reading()

    @on_each_port
    async def test_protocols_of_both_kinds_take_turns(self):
        server, client, _ = await connected()
        client.transport.write(b"plain")
        await until(lambda: server.received == b"plain")
        buffered = Buffered(100)
        server.transport.set_protocol(buffered)
        client.transport.write(b"buffered")
        await until(lambda: buffered.received == b"buffered")
        server.transport.set_protocol(server)
        client.transport.write(b" again")
        await until(lambda: server.received == b"plain again")

    @on_each_port
    async def test_any_writable_memory_is_a_buffer(self):
        import array

        memory = array.array("i", [0] * 4)
        server, client, _ = await connected(lambda: Buffered(1))
        server.buffer = memory
        server.buffer_updated = lambda count: setattr(server, "received", memory.tobytes()[:count])
        client.transport.write(b"12345678")
        await until(lambda: server.received == b"12345678")


class FlowControl(LoopTestCase):
    @on_each_port
    async def test_a_peer_that_never_reads_pauses_the_writer(self):
        server, client, _ = await connected()
        server.transport.pause_reading()
        client.transport.write(b"x" * (16 * MEGABYTE))
        self.assertEqual(client.events, ["connection_made", "pause_writing"])
        self.assertGreater(client.transport.get_write_buffer_size(), 64 * 1024)
        await asyncio.sleep(0.05)
        self.assertEqual(client.events, ["connection_made", "pause_writing"])
        server.transport.resume_reading()
        await until(lambda: "resume_writing" in client.events)
        self.assertLessEqual(client.transport.get_write_buffer_size(), 16 * 1024)
        await until(lambda: len(server.received) == 16 * MEGABYTE)

    @on_each_port
    async def test_limits_are_as_asyncios(self):
        _, client, _ = await connected()
        transport = client.transport
        self.assertEqual(transport.get_write_buffer_limits(), (16 * 1024, 64 * 1024))
        for limits, expected in (
            ({"high": 400}, (100, 400)),
            ({"low": 100}, (100, 400)),
            ({"high": 0}, (0, 0)),
            ({"high": 7, "low": 7}, (7, 7)),
            ({}, (16 * 1024, 64 * 1024)),
        ):
            transport.set_write_buffer_limits(**limits)
            self.assertEqual(transport.get_write_buffer_limits(), expected)
        for wrong in ({"high": 1, "low": 2}, {"high": -1}, {"low": -1}):
            with self.assertRaises(ValueError):
                transport.set_write_buffer_limits(**wrong)

    @on_each_port
    async def test_lower_limits_pause_at_once(self):
        server, client, _ = await connected()
        server.transport.pause_reading()
        client.transport.set_write_buffer_limits(high=64 * MEGABYTE)
        client.transport.write(b"x" * (16 * MEGABYTE))
        self.assertEqual(client.events, ["connection_made"])
        client.transport.set_write_buffer_limits(high=MEGABYTE)
        self.assertEqual(client.events, ["connection_made", "pause_writing"])
        server.transport.resume_reading()
        await until(lambda: "resume_writing" in client.events)

    @on_each_port
    async def test_closing_while_paused_sends_everything(self):
        server, client, _ = await connected()
        client.transport.write(b"x" * (8 * MEGABYTE))
        client.transport.close()
        self.assertIsNone(await client.lost)
        self.assertIsNone(await server.lost)
        self.assertEqual(len(server.received), 8 * MEGABYTE)


class Ends(LoopTestCase):
    @on_each_port
    async def test_closing_ends_both_sides_in_order(self):
        server, client, _ = await connected()
        client.transport.write(b"last words")
        client.transport.close()
        self.assertTrue(client.transport.is_closing())
        self.assertFalse(client.transport.is_reading())
        self.assertEqual((await client.lost, await server.lost), (None, None))
        self.assertEqual(server.received, b"last words")
        self.assertEqual(server.events[-2:], ["eof_received", "connection_lost"])
        self.assertEqual(client.events, ["connection_made", "connection_lost"])
        self.assertIsNone(client.transport.get_protocol())

    @on_each_port
    async def test_what_data_woke_runs_before_the_end_is_told(self):
        soon = asyncio.get_running_loop().call_soon
        server, client, _ = await connected(lambda: Side(data_received=lambda side: soon(side.events.append, "woken")))
        client.transport.write(b"x")
        client.transport.close()
        await server.lost
        self.assertEqual([name for name in server.events if name != "eof_received"][-2:], ["woken", "connection_lost"])

    @on_each_port
    async def test_aborting_drops_what_is_queued(self):
        server, client, _ = await connected()
        server.transport.pause_reading()
        client.transport.write(b"x" * (16 * MEGABYTE))
        client.transport.abort()
        self.assertIsNone(await client.lost)
        server.transport.resume_reading()
        await server.lost
        self.assertLess(len(server.received), 16 * MEGABYTE)

    @needs_posix
    @on_each_port
    async def test_what_is_written_before_an_abort_arrives_as_far_as_the_system_takes_it(self):
        server, client, _ = await connected()
        client.transport.writelines([b"first ", b"second"])
        client.transport.write(b" third")
        client.transport.abort()
        self.assertIsNone(await client.lost)
        self.assertIsNone(await server.lost)
        self.assertEqual(server.received, b"first second third")

    @on_each_port
    async def test_a_reset_is_told(self):
        for pause in (False, True):
            server, client, _ = await connected()
            if pause:
                client.transport.pause_reading()
            client.transport.write(b"x")
            await until(lambda server=server: server.received)
            view = server.transport.get_extra_info("socket")
            view.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            server.transport.abort()
            await server.lost
            client.transport.resume_reading()
            lost = await client.lost
            self.assertIsInstance(lost, ConnectionResetError)
            if os.name == "posix":
                self.assertEqual(str(lost), str(ConnectionResetError(lost.errno, os.strerror(lost.errno))))
            client.transport.write(b"in vain")
            client.transport.close()
            client.transport.abort()

    @on_each_port
    async def test_a_half_closed_connection_still_sends(self):
        server, client, _ = await connected(lambda: Side(eof_received=lambda _: True))
        client.transport.write(b"question")
        client.transport.write_eof()
        client.transport.write_eof()
        with self.assertRaisesRegex(RuntimeError, "after write_eof"):
            client.transport.write(b"too late")
        await until(lambda: "eof_received" in server.events)
        self.assertFalse(server.transport.is_closing())
        server.transport.write(b"answer")
        await until(lambda: client.received == b"answer")
        server.transport.close()
        self.assertEqual((await client.lost, await server.lost), (None, None))

    @on_each_port
    async def test_a_protocol_that_stays_is_told_once_it_closes(self):
        server, client, _ = await connected(lambda: Side(eof_received=lambda _: True))
        server.transport.write_eof()
        client.transport.close()
        await until(lambda: "eof_received" in server.events)
        await asyncio.sleep(0.05)
        self.assertFalse(server.lost.done())
        self.assertFalse(server.transport.is_closing())
        server.transport.close()
        self.assertIsNone(await server.lost)

    @on_each_port
    async def test_closing_in_each_callback_is_the_end(self):
        for method in ("connection_made", "data_received", "eof_received"):
            for way in ("close", "abort"):
                with self.subTest(method, way=way):
                    act = {method: lambda side, way=way: getattr(side.transport, way)()}
                    server, client, _ = await connected(lambda act=act: Side(**act))
                    client.transport.write(b"x")
                    client.transport.write_eof()
                    self.assertIsNone(await server.lost)
                    self.assertEqual(server.events[-1], "connection_lost")
                    await client.lost


class Exceptions(LoopTestCase):
    async def lost_with(self, make, message, **context):
        server, client, _ = await connected(make)
        client.transport.write(b"x")
        client.transport.write_eof()
        lost = await server.lost
        self.assertIsInstance(lost, ValueError)
        self.assertEqual(self.messages(), [message])
        self.assertIs(self.contexts[0]["protocol"], server)
        self.assertIs(self.contexts[0]["transport"], server.transport)
        self.assertIs(self.contexts[0]["exception"], lost)
        await client.lost

    @on_each_port
    async def test_in_data_received_it_loses_the_connection(self):
        message = "Fatal error: protocol.data_received() call failed."
        await self.lost_with(lambda: Side(data_received=fails), message)

    @on_each_port
    async def test_in_eof_received_it_loses_the_connection(self):
        message = "Fatal error: protocol.eof_received() call failed."
        await self.lost_with(lambda: Side(eof_received=fails), message)

    @on_each_port
    async def test_in_get_buffer_it_loses_the_connection(self):
        message = "Fatal error: protocol.get_buffer() call failed."
        await self.lost_with(lambda: Buffered(9, get_buffer=fails), message)

    @on_each_port
    async def test_in_buffer_updated_it_loses_the_connection(self):
        message = "Fatal error: protocol.buffer_updated() call failed."
        await self.lost_with(lambda: Buffered(9, buffer_updated=fails), message)

    @on_each_port
    async def test_an_empty_buffer_loses_the_connection(self):
        server, client, _ = await connected(lambda: Buffered(0))
        client.transport.write(b"x")
        self.assertIsInstance(await server.lost, RuntimeError)
        self.assertEqual(self.messages(), ["Fatal error: protocol.get_buffer() call failed."])

    @on_each_port
    async def test_elsewhere_it_is_reported_and_the_connection_goes_on(self):
        for method in ("connection_made", "pause_writing", "resume_writing", "connection_lost"):
            with self.subTest(method):
                self.contexts.clear()
                server, client, _ = await connected(lambda method=method: Side(**{method: fails}))
                client.transport.pause_reading()
                server.transport.write(b"x" * (8 * MEGABYTE))
                client.transport.resume_reading()
                await until(lambda client=client: len(client.received) == 8 * MEGABYTE)
                server.transport.close()
                await asyncio.gather(server.lost, client.lost)
                await asyncio.sleep(0)
                self.assertEqual(len(self.contexts), 1)
                self.assertIn(method, self.messages()[0])

    @on_each_port
    async def test_in_the_factory_it_is_told_in_debug_mode(self):
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: fails(None), ADDRESS, 0)
        for debug in (False, True):
            loop.set_debug(debug)
            _, client = await loop.create_connection(Side, sock=dialled(server))
            await client.lost
        self.assertEqual(self.messages(), ["Error on transport creation for incoming connection"])

    def test_those_that_end_the_loop_leave_it(self):
        for kind in (KeyboardInterrupt, SystemExit):
            for method in ("connection_made", "data_received", "eof_received", "connection_lost"):

                def leave(_, kind=kind):
                    raise kind

                async def play(method=method, leave=leave):
                    _, client, _ = await connected(lambda: Side(**{method: leave}))
                    client.transport.write(b"x")
                    client.transport.write_eof()
                    await asyncio.sleep(60)

                with self.subTest(method, kind=kind), self.assertRaises(kind):
                    run(play())


class LoopsEnd(unittest.TestCase):
    def test_what_is_written_last_is_sent(self):
        async def write():
            transport, _ = await asyncio.get_running_loop().create_connection(Side, sock=ours)
            transport.write(b"last words")

        for port in ports():
            with self.subTest(port):
                ours, theirs = socket.socketpair()
                theirs.settimeout(20)
                loop = Loop(port)
                loop.run_until_complete(write())
                self.assertEqual(theirs.recv(100), b"last words")
                theirs.close()
                with self.assertWarns(ResourceWarning):
                    loop.close()

    def test_live_transports_survive_the_loop(self):
        for port in ports():
            with self.subTest(port):
                loop = Loop(port)
                server_side, client, server = loop.run_until_complete(connected())
                with self.assertWarns(ResourceWarning):
                    loop.close()
                for transport in (server_side.transport, client.transport):
                    transport.write(b"x" * 100_000)
                    transport.pause_reading()
                    transport.resume_reading()
                    transport.get_extra_info("socket")
                    repr(transport)
                    self.assertEqual(transport.get_write_buffer_size(), 0)
                    transport.close()
                    transport.abort()


if __name__ == "__main__":
    unittest.main()
