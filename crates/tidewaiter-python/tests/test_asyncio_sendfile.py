"""Files that connections of the asyncio loop send."""

import asyncio
import os
import tempfile
import unittest

from scenarios.asyncio_pairs import LoopTestCase, Side, connected, on_each_port, until

MEGABYTE = 1 << 20


class Files(LoopTestCase):
    @on_each_port
    async def test_a_file_goes_between_what_is_written(self):
        loop = asyncio.get_running_loop()
        content = os.urandom(3 * MEGABYTE)
        server, client, _ = await connected()
        with tempfile.TemporaryFile() as file:
            file.write(content)
            file.seek(0)
            client.transport.write(b"before")
            self.assertEqual(await loop.sendfile(client.transport, file), len(content))
            self.assertEqual(file.tell(), len(content))
            client.transport.write(b"between")
            self.assertEqual(await loop.sendfile(client.transport, file, 1000, 5000), 5000)
            self.assertEqual(file.tell(), 6000)
            client.transport.write(b"after")
        expected = b"before" + content + b"between" + content[1000:6000] + b"after"
        await until(lambda: len(server.received) == len(expected))
        self.assertEqual(server.received, expected)

    @on_each_port
    async def test_a_peer_that_goes_ends_it(self):
        loop = asyncio.get_running_loop()
        server, client, _ = await connected(lambda: Side(data_received=lambda side: side.transport.abort()))
        with tempfile.TemporaryFile() as file:
            file.truncate(64 * MEGABYTE)
            with self.assertRaises(ConnectionError):
                await loop.sendfile(client.transport, file)
            self.assertLess(file.tell(), 64 * MEGABYTE)

    @on_each_port
    async def test_a_connection_goes_on_once_a_file_is_cancelled(self):
        loop = asyncio.get_running_loop()
        content = os.urandom(32 * MEGABYTE)
        server, client, _ = await connected(lambda: Side(data_received=lambda side: side.transport.pause_reading()))
        with tempfile.TemporaryFile() as file:
            file.write(content)
            file.seek(0)
            sending = loop.create_task(loop.sendfile(client.transport, file))
            await until(lambda: server.received)
            sending.cancel()
            with self.assertRaises(asyncio.CancelledError):
                await sending
            sent = file.tell()
            self.assertLess(sent, len(content))
            client.transport.write(b"after")
            server.on.clear()
            server.transport.resume_reading()
            self.assertEqual(await loop.sendfile(client.transport, file, 5, 10), 10)
        expected = content[:sent] + b"after" + content[5:15]
        await until(lambda: len(server.received) >= len(expected))
        self.assertTrue(server.received == expected)

    @on_each_port
    async def test_a_file_may_be_closed_once_its_sending_is_cancelled(self):
        loop = asyncio.get_running_loop()
        server, client, _ = await connected(lambda: Side(connection_made=lambda side: side.transport.pause_reading()))
        with tempfile.TemporaryFile() as file:
            file.truncate(64 * MEGABYTE)
            sending = loop.create_task(loop.sendfile(client.transport, file))
            await asyncio.sleep(0)
            sending.cancel()
            with self.assertRaises(asyncio.CancelledError):
                await sending
        client.transport.abort()
        await client.lost
        server.transport.resume_reading()
        await server.lost
        self.assertEqual(self.contexts, [])


if __name__ == "__main__":
    unittest.main()
