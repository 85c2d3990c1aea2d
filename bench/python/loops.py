"""Servers on a bare asyncio loop, to show how fast an application without Twisted is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from told import BACKLOG, PIECE, tell, unix_path


class Echo(asyncio.Protocol):
    """Sends back everything that it receives."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class Sink(asyncio.Protocol):
    """Receives data and drops it."""

    def data_received(self, data: bytes) -> None:
        pass


class Source(asyncio.Protocol):
    """Sends without end, a piece in each turn of the loop in which the transport is not full."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport
        self.paused = False
        self.send()

    def send(self) -> None:
        if self.paused or self.transport.is_closing():
            return
        self.transport.write(PIECE)
        if not self.paused:
            asyncio.get_running_loop().call_soon(self.send)

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        self.send()

    def connection_lost(self, exc: Exception | None) -> None:
        self.paused = True


class EchoDatagrams(asyncio.DatagramProtocol):
    """Sends back each datagram."""

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: tuple) -> None:
        self.transport.sendto(data, addr)


async def _tcp(protocol: Callable[[], asyncio.Protocol]) -> str:
    server = await asyncio.get_running_loop().create_server(protocol, "0.0.0.0", 0, backlog=BACKLOG)
    return f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def _unix(protocol: Callable[[], asyncio.Protocol]) -> str:
    path = unix_path()
    await asyncio.get_running_loop().create_unix_server(protocol, path, backlog=BACKLOG)
    return f"unix:{path}"


async def _udp(protocol: Callable[[], asyncio.DatagramProtocol]) -> str:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(protocol, local_addr=("127.0.0.1", 0))
    return f"udp:127.0.0.1:{transport.get_extra_info('sockname')[1]}"


# These servers behave like the Twisted servers of the same names.
LOOPS = {
    "echo": (_tcp, Echo),
    "sink": (_tcp, Sink),
    "source": (_tcp, Source),
    "unix-echo": (_unix, Echo),
    "udp-echo": (_udp, EchoDatagrams),
}


async def _serve(task: str) -> None:
    listen, protocol = LOOPS[task]
    try:
        address = await listen(protocol)
    except NotImplementedError:
        tell(unsupported=True)
        return
    tell(address=address)
    await asyncio.Event().wait()


def serve(task: str, loop: asyncio.AbstractEventLoop) -> None:
    """Serves until the process is killed."""
    loop.run_until_complete(_serve(task))
