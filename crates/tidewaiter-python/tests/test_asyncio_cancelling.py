"""Cancelling at every await of the calls that open something: nothing is left, and nothing is told afterwards."""

import asyncio
import gc
import os
import socket
import tempfile
import unittest

from scenarios.asyncio_pairs import ADDRESS, LoopTestCase, Side, on_each_port, until
from scenarios.holdings import descriptors
from support import needs_posix, needs_proc

# More turns than any of the calls takes.
TURNS = 40


async def cancelled_at_each_turn(call, end):
    """
    Cancels `call()` after each number of turns, until it is over sooner. `end(result)` gets what it returned.

    Returns how many were cancelled.
    """
    count = 0
    for turns in range(TURNS):
        task = asyncio.ensure_future(call())
        for _ in range(turns):
            await asyncio.sleep(0)
        if not task.done():
            count += 1
            task.cancel()
        (outcome,) = await asyncio.gather(task, return_exceptions=True)
        if not isinstance(outcome, asyncio.CancelledError):
            await end(outcome)
    return count


async def close(opened):
    """Closes a transport, and waits until its protocol has learned of it."""
    transport, protocol = opened
    transport.close()
    await protocol.lost


async def ignore(_):
    """The call has closed what it opened."""


@needs_proc
class Cancelling(LoopTestCase):
    async def assert_nothing_stays(self, call, end=ignore):
        """Cancels the call at each of its turns, twice: what the first time opens for all later ones may stay."""
        before = self.live()
        held = []
        for _ in range(2):
            self.assertGreater(await cancelled_at_each_turn(call, end), 0)
            gc.collect()
            # The other sides of connections that were cancelled end soon after.
            await until(lambda: self.live() == before)
            held.append(descriptors())
        await until(lambda: descriptors() <= held[0])
        self.assertEqual(self.contexts, [])

    def live(self):
        metrics = asyncio.get_running_loop().metrics()
        return {kind: metrics[kind] for kind in ("transports", "listeners", "watches", "children", "delayed_calls")}

    @on_each_port
    async def test_of_a_connection(self):
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Side, ADDRESS, 0)
        place = server.sockets[0].getsockname()
        await self.assert_nothing_stays(lambda: loop.create_connection(Side, *place), close)
        server.close()

    @on_each_port
    async def test_of_a_connection_by_name(self):
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Side, ADDRESS, 0)
        number = server.sockets[0].getsockname()[1]

        def connect():
            # Asyncio's own race of several addresses, which `happy_eyeballs_delay` begins, may lose a socket.
            return loop.create_connection(Side, "localhost", number, family=socket.AF_INET)

        await self.assert_nothing_stays(connect, close)
        server.close()

    @on_each_port
    async def test_of_a_stream(self):
        async def echo(reader, writer):
            writer.write(await reader.read(100))
            writer.close()

        server = await asyncio.start_server(echo, ADDRESS, 0)
        place = server.sockets[0].getsockname()

        async def ask():
            reader, writer = await asyncio.open_connection(*place)
            try:
                writer.write(b"x")
                await writer.drain()
                await reader.read(100)
            finally:
                writer.close()
                await writer.wait_closed()

        await self.assert_nothing_stays(ask)
        server.close()

    @needs_posix
    @on_each_port
    async def test_of_a_unix_connection(self):
        loop = asyncio.get_running_loop()
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "socket")
            server = await loop.create_unix_server(Side, path)
            await self.assert_nothing_stays(lambda: loop.create_unix_connection(Side, path), close)
            server.close()

    @on_each_port
    async def test_of_a_datagram_endpoint(self):
        loop = asyncio.get_running_loop()
        await self.assert_nothing_stays(
            lambda: loop.create_datagram_endpoint(Side, local_addr=(ADDRESS, 0), remote_addr=("localhost", 9)), close
        )

    @needs_posix
    @on_each_port
    async def test_of_pipes(self):
        loop = asyncio.get_running_loop()

        async def connect():
            ours, theirs = os.pipe()
            reading, writing = open(ours, "rb", 0), open(theirs, "wb", 0)
            try:
                transport, protocol = await loop.connect_read_pipe(Side, reading)
                try:
                    written, _ = await loop.connect_write_pipe(Side, writing)
                    written.close()
                finally:
                    transport.close()
                await protocol.lost
            finally:
                reading.close()
                writing.close()

        await self.assert_nothing_stays(connect)

    @on_each_port
    async def test_of_calls_for_sockets(self):
        loop = asyncio.get_running_loop()
        with socket.create_server((ADDRESS, 0)) as listener:
            listener.setblocking(False)

            async def exchange():
                with socket.socket() as client:
                    client.setblocking(False)
                    accepting = asyncio.ensure_future(loop.sock_accept(listener))
                    try:
                        await loop.sock_connect(client, listener.getsockname())
                        connection, _ = await asyncio.shield(accepting)
                    except asyncio.CancelledError:
                        accepting.cancel()
                        (outcome,) = await asyncio.gather(accepting, return_exceptions=True)
                        if isinstance(outcome, tuple):
                            outcome[0].close()
                        raise
                    with connection:
                        await loop.sock_sendall(client, b"x")
                        await loop.sock_recv(connection, 1)

            await self.assert_nothing_stays(exchange)


if __name__ == "__main__":
    unittest.main()
