"""Servers of the asyncio loop."""

import asyncio
import os
import socket
import sys
import tempfile
import unittest

from scenarios.asyncio_pairs import ADDRESS, LoopTestCase, Side, connected, dialled, on_each_port, until
from support import needs_posix


def echo(side):
    side.transport.write(side.received)
    side.received = b""


class Servers(LoopTestCase):
    @on_each_port
    async def test_a_closed_server_accepts_no_more(self):
        server_side, client, server = await connected()
        number = server.sockets[0].getsockname()[1]
        self.assertTrue(server.is_serving())
        server.close()
        self.assertFalse(server.is_serving())
        self.assertEqual(server.sockets, ())
        client.transport.write(b"still here")
        await until(lambda: server_side.received == b"still here")
        if os.name == "nt":
            await asyncio.sleep(0.1)
        with self.assertRaises(OSError):
            socket.create_connection((ADDRESS, number)).close()
        client.transport.close()
        await server.wait_closed()

    @on_each_port
    async def test_its_address_is_free_soon_after(self):
        loop = asyncio.get_running_loop()
        _, client, server = await connected()
        number = server.sockets[0].getsockname()[1]
        client.transport.abort()
        server.close()
        await server.wait_closed()
        again = await loop.create_server(Side, ADDRESS, number)
        again.close()

    @unittest.skipIf(sys.version_info < (3, 13), "Python 3.13 brings these methods")
    @on_each_port
    async def test_it_closes_its_clients(self):
        for method in ("close_clients", "abort_clients"):
            server_side, client, server = await connected()
            server.close()
            getattr(server, method)()
            await asyncio.gather(server.wait_closed(), server_side.lost, client.lost)

    @on_each_port
    async def test_serving_forever_ends_by_cancellation(self):
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Side, ADDRESS, 0, start_serving=False)
        self.assertFalse(server.is_serving())
        task = loop.create_task(server.serve_forever())
        await until(server.is_serving)
        dialled(server).close()
        task.cancel()
        if sys.version_info < (3, 12):
            with self.assertRaises(asyncio.CancelledError):
                await task
            self.assertFalse(server.is_serving())

    @needs_posix
    @on_each_port
    async def test_unix_sockets_too(self):
        loop = asyncio.get_running_loop()
        sides = []
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "socket")
            names = [path, "\0tidewaiter-test-" + str(os.getpid())] if sys.platform == "linux" else [path]
            for name in names:
                server = await loop.create_unix_server(
                    lambda: sides.append(Side(data_received=echo)) or sides[-1], name
                )
                peer = socket.socket(socket.AF_UNIX)
                peer.connect(name)
                transport, client = await loop.create_unix_connection(Side, sock=peer)
                transport.write(b"hello")
                await until(lambda client=client: client.received == b"hello")
                self.assertEqual(sides[-1].transport.get_extra_info("peername"), "")
                expected = name if name == path else name.encode()
                self.assertEqual(sides[-1].transport.get_extra_info("sockname"), expected)
                transport.close()
                self.assertIsNone(await sides[-1].lost)
                server.close()
                await server.wait_closed()


if __name__ == "__main__":
    unittest.main()
