"""Servers on a loop of asyncio, which a load program drives. They run until they are killed."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from harness.told import BACKLOG, PIECE, tell, unix_path

Loop = asyncio.AbstractEventLoop
HELLO = b"hello, world\n" * 8


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


async def _tcp(protocol: type[asyncio.Protocol], loop: Loop) -> None:
    server = await loop.create_server(protocol, "0.0.0.0", 0, backlog=BACKLOG)
    await _serve(_of(server.sockets[0]))


async def _tls(protocol: type[asyncio.Protocol], loop: Loop) -> None:
    server = await loop.create_server(protocol, "0.0.0.0", 0, backlog=BACKLOG, ssl=_tls_context())
    await _serve(_of(server.sockets[0]))


def _tls_context() -> ssl.SSLContext:
    from harness.certificate import certificate

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "certificate.pem")
        file.write_bytes(certificate())
        context.load_cert_chain(file)
    return context


async def _unix(loop: Loop) -> None:
    path = unix_path()
    _server = await loop.create_unix_server(Echo, path, backlog=BACKLOG)
    await _serve(f"unix:{path}")


async def _udp(loop: Loop) -> None:
    transport, _ = await loop.create_datagram_endpoint(EchoDatagrams, local_addr=("127.0.0.1", 0))
    await _serve(f"udp:127.0.0.1:{transport.get_extra_info('sockname')[1]}")


async def _streams(loop: Loop) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # The load program resets its connections at the end.
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(echo, "0.0.0.0", 0, backlog=BACKLOG)
    await _serve(_of(server.sockets[0]))


async def _uvicorn(parser: str, loop: Loop) -> None:
    import uvicorn

    async def app(scope: dict, receive: Callable, send: Callable) -> None:
        headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(HELLO)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": HELLO})

    config = uvicorn.Config(app, http=parser, lifespan="off", log_level="error", access_log=False)
    listener = _listening()
    tell(address=_of(listener))
    await uvicorn.Server(config).serve([listener])


async def _aiohttp(loop: Loop) -> None:
    from aiohttp import web

    async def hello(request: web.Request) -> web.Response:
        return web.Response(body=HELLO, content_type="text/plain")

    app = web.Application()
    app.router.add_get("/", hello)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    listener = _listening()
    await web.SockSite(runner, listener, backlog=BACKLOG).start()
    await _serve(_of(listener))


def _listening() -> socket.socket:
    return socket.create_server(("0.0.0.0", 0), backlog=BACKLOG)


def _of(listener: socket.socket) -> str:
    return f"127.0.0.1:{listener.getsockname()[1]}"


async def _serve(address: str) -> None:
    tell(address=address)
    await asyncio.Event().wait()


# The servers that the comparison of Twisted reactors has, too, behave like those of the same names there.
SERVERS: dict[str, Callable] = {
    "echo": partial(_tcp, Echo),
    "sink": partial(_tcp, Sink),
    "source": partial(_tcp, Source),
    "unix-echo": _unix,
    "udp-echo": _udp,
    "streams-echo": _streams,
    "tls-echo": partial(_tls, Echo),
    "tls-sink": partial(_tls, Sink),
    "tls-source": partial(_tls, Source),
    "uvicorn-h11": partial(_uvicorn, "h11"),
    "uvicorn-httptools": partial(_uvicorn, "httptools"),
    "aiohttp": _aiohttp,
}
