"""Servers on a bare asyncio loop: what Python can do where an application gives up Twisted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from told import BACKLOG, PIECE, tell


class Echo(asyncio.Protocol):
    """Sends back what comes."""

    def connection_made(self, transport: asyncio.Transport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class Sink(asyncio.Protocol):
    """Takes what comes."""

    def data_received(self, data: bytes) -> None:
        pass


class Source(asyncio.Protocol):
    """Sends without end, a piece in each turn in which the transport takes more."""

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
    tell(port=server.sockets[0].getsockname()[1])
    await asyncio.Event().wait()


# What Twisted's servers of the same names do.
LOOPS = {"echo": Echo, "sink": Sink, "source": Source}


def serve(task: str, loop: asyncio.AbstractEventLoop) -> None:
    """Until we are killed."""
    loop.run_until_complete(_serve(LOOPS[task]))
