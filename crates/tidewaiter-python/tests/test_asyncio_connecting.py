"""How connections of the asyncio loop are made: several addresses, names, and the side that we connect from."""

import asyncio
import socket
import sys
import unittest

from scenarios.asyncio_pairs import ADDRESS, ComparedTestCase, Side, compared, until

# A listener whose queue is full neither accepts nor refuses.
SILENT = "127.0.0.2"


def found(*places):
    """What a look-up of names finds: these addresses."""

    async def getaddrinfo(host, port, *, family=0, type=0, proto=0, flags=0):
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", place) for place in places]

    return getaddrinfo


async def outcome(awaitable):
    """The host that a connection reaches, or its exception."""
    try:
        transport, _ = await awaitable
    except OSError as error:
        return type(error).__name__
    peer = transport.get_extra_info("peername")
    transport.close()
    return peer[0]


class Connecting(ComparedTestCase):
    @compared
    async def test_addresses_are_tried_in_turn(self):
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Side, ADDRESS, 0)
        with socket.socket() as closed:
            closed.bind((ADDRESS, 0))
            refusing, there = closed.getsockname(), server.sockets[0].getsockname()
            loop.getaddrinfo = found(refusing, there)
            told = [await outcome(loop.create_connection(Side, "some.name", 1))]
            loop.getaddrinfo = found(there, refusing)
            told.append(await outcome(loop.create_connection(Side, "some.name", 1)))
            loop.getaddrinfo = found(refusing, refusing)
            told.append(await outcome(loop.create_connection(Side, "some.name", 1)))
            loop.getaddrinfo = found()
            told.append(await outcome(loop.create_connection(Side, "some.name", 1)))
        server.close()
        return told

    @unittest.skipUnless(sys.platform == "linux", "needs a second loopback address, and a full queue that stays silent")
    @compared
    async def test_the_next_address_is_tried_while_the_first_is_silent(self):
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Side, ADDRESS, 0)
        waiting = []
        with socket.socket() as full:
            full.bind((SILENT, 0))
            full.listen(0)
            silent = full.getsockname()
            for _ in range(4):
                waiting.append(socket.socket())
                waiting[-1].setblocking(False)
                waiting[-1].connect_ex(silent)
            loop.getaddrinfo = found(silent, server.sockets[0].getsockname())
            connecting = loop.create_connection(Side, "some.name", 1, happy_eyeballs_delay=0.01, interleave=1)
            told = await asyncio.wait_for(outcome(connecting), 10)
            for sock in waiting:
                sock.close()
        server.close()
        return told

    @compared
    async def test_the_side_that_we_connect_from(self):
        loop = asyncio.get_running_loop()
        accepted = []
        server = await loop.create_server(lambda: accepted.append(Side()) or accepted[-1], ADDRESS, 0)
        place = server.sockets[0].getsockname()
        transport, _ = await loop.create_connection(Side, *place, local_addr=(ADDRESS, 0))
        await until(lambda: accepted and accepted[0].transport)
        same = transport.get_extra_info("sockname") == accepted[0].transport.get_extra_info("peername")
        transport.close()
        with socket.socket() as taken:
            taken.bind((ADDRESS, 0))
            told = await outcome(loop.create_connection(Side, *place, local_addr=taken.getsockname()))
        server.close()
        return same, told

    @unittest.skipIf(sys.version_info < (3, 12), "Python 3.12 brought the parameter")
    @compared
    async def test_all_errors_are_told_if_they_are_asked_for(self):
        loop = asyncio.get_running_loop()
        with socket.socket() as closed:
            closed.bind((ADDRESS, 0))
            loop.getaddrinfo = found(closed.getsockname(), closed.getsockname())
            try:
                await loop.create_connection(Side, "some.name", 1, all_errors=True)
            except Exception as group:
                return [type(error).__name__ for error in group.exceptions]

    @compared
    async def test_a_look_up_that_fails_is_told(self):
        async def fail(*_, **options):
            raise socket.gaierror(socket.EAI_NONAME, "no such name")

        loop = asyncio.get_running_loop()
        loop.getaddrinfo = fail
        told = [await outcome(loop.create_connection(Side, "some.name", 1))]
        try:
            await loop.create_datagram_endpoint(Side, remote_addr=("some.name", 1))
        except OSError as error:
            told.append(type(error).__name__)
        return told


if __name__ == "__main__":
    unittest.main()
