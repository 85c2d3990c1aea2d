"""Servers on a bare asyncio loop, to show how fast an application without Twisted is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from told import BACKLOG, PIECE, tell


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


async def _serve(protocol: Callable[[], asyncio.Protocol]) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(protocol, "0.0.0.0", 0, backlog=BACKLOG)
    tell(address=f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
    await asyncio.Event().wait()


# These servers behave like the Twisted servers of the same names.
LOOPS = {"echo": Echo, "sink": Sink, "source": Source}


def serve(task: str, loop: asyncio.AbstractEventLoop) -> None:
    """Serves until the process is killed."""
    loop.run_until_complete(_serve(LOOPS[task]))
