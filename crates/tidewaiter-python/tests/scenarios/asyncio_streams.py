"""Connections of the asyncio loop in forked children and other threads, and in great number."""

import asyncio
import gc
import os
import threading

from tidewaiter.asyncio import Loop, run

from scenarios.asyncio_pairs import Side, connected, dialled, until
from scenarios.holdings import Holdings, descriptors


def in_forked_child(_):
    """A forked child uses transports, to no effect. Returns its exit code, and what the peer received later."""

    async def play():
        server_side, client, server = await connected()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                for side in (server_side, client):
                    side.transport.write(b"from the child")
                    side.transport.pause_reading()
                    side.transport.resume_reading()
                    side.transport.close()
                    side.transport.abort()
                server.close()
                code = 0
            finally:
                os._exit(code)
        _, status = await asyncio.to_thread(os.waitpid, pid, 0)
        client.transport.write(b"from the parent")
        await until(lambda: server_side.received)
        _, later = await asyncio.get_running_loop().create_connection(Side, sock=dialled(server))
        later.transport.close()
        await later.lost
        return [os.waitstatus_to_exitcode(status), server_side.received.decode()]

    return run(play())


def from_another_thread(_):
    """Another thread calls a transport while the loop waits. Returns the names of what was raised."""
    raised = []

    async def play():
        _, client, _ = await connected()
        loop = asyncio.get_running_loop()
        done = asyncio.Event()

        def call():
            transport = client.transport
            calls = {
                "write": lambda: transport.write(b"x"),
                "writelines": lambda: transport.writelines([b"x"]),
                "write_eof": transport.write_eof,
                "pause_reading": transport.pause_reading,
                "resume_reading": transport.resume_reading,
                "get_write_buffer_size": transport.get_write_buffer_size,
                "set_write_buffer_limits": transport.set_write_buffer_limits,
                "get_extra_info": lambda: transport.get_extra_info("peername"),
                "close": transport.close,
                "abort": transport.abort,
            }
            for name, method in calls.items():
                try:
                    method()
                except RuntimeError:
                    raised.append(name)
            loop.call_soon_threadsafe(done.set)

        timer = threading.Timer(0.2, call)
        timer.start()
        await done.wait()
        client.transport.close()
        await client.lost

    run(play())
    return raised


async def _short_connections(count, at_once=50):
    loop = asyncio.get_running_loop()
    ways = ("close", "abort")

    def end(side):
        side.itself = side  # A cycle that only the collector can undo.
        side.transport.get_extra_info("socket")
        getattr(side.transport, ways[len(side.events) % 2])()

    server = await loop.create_server(lambda: Side(data_received=end), "127.0.0.1", 0)

    async def one():
        _, side = await loop.create_connection(Side, sock=dialled(server))
        side.transport.write(b"hello")
        await side.lost

    for _ in range(count // at_once):
        await asyncio.gather(*[one() for _ in range(at_once)])
    server.close()
    await server.wait_closed()


def leaks(_, count):
    """What `count` connections leave behind."""

    async def play():
        await _short_connections(200)
        await _settled()
        before = Holdings()
        await _short_connections(count)
        await _settled()
        return Holdings().since(before)

    return run(play())


def collections_while_accepting(_, count):
    """Collects garbage at each allocation while connections are accepted. Returns how many said something."""

    async def play():
        heard = []
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Side(data_received=heard.append), "127.0.0.1", 0)
        peers = [dialled(server) for _ in range(count)]
        gc.set_threshold(1, 1, 1)
        for peer in peers:
            peer.sendall(b"hello")
        await until(lambda: len(heard) == count)
        gc.set_threshold(700, 10, 10)
        return len(heard)

    return run(play())


async def _settled():
    """Waits until the number of open descriptors no longer changes."""
    before, now = None, descriptors()
    while now != before:
        await asyncio.sleep(0.1)
        before, now = now, descriptors()


def loops_with_live_connections(_, count):
    """The objects that closed loops with live connections leave."""
    for _ in range(count):
        loop = Loop()
        loop.run_until_complete(connected())
        loop.close()
    del loop
    gc.collect()
    return sum(isinstance(thing, (Loop, Side)) for thing in gc.get_objects())
