"""Named pipes of Windows: the methods that asyncio's loop has there beside those of its documents."""

from __future__ import annotations

import sys
from asyncio import base_events
from typing import TYPE_CHECKING, Any

from tidewaiter._tidewaiter import AsyncioLoop

if TYPE_CHECKING:
    from asyncio import BaseProtocol
    from collections.abc import Callable

    from tidewaiter._tidewaiter import SocketTransport, StreamListener


class PipeServer:
    """A named pipe that accepts clients. Connections outlive it."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._listener: StreamListener | None = None

    def close(self) -> None:
        """Accept no further client."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.stop()

    def closed(self) -> bool:
        return self._listener is None

    def __repr__(self) -> str:
        state = "closed" if self.closed() else "listening"
        return f"<{type(self).__name__} {self._address} {state}>"


class NamedPipes(AsyncioLoop, base_events.BaseEventLoop):
    """The part of the loop that connects to named pipes and serves on them."""

    if sys.platform == "win32":

        async def create_pipe_connection(
            self, protocol_factory: Callable[[], BaseProtocol], address: str
        ) -> tuple[SocketTransport, BaseProtocol]:
            r"""
            Connect to the named pipe with this full name, such as `\\.\pipe\app`.

            While all instances of the pipe have clients, this waits for a free one. A pipe without a server is a
            `FileNotFoundError`. The transport cannot end its sending alone: `can_write_eof` is false.
            """
            waiter = self.create_future()
            protocol: Any = None

            def make_protocol() -> BaseProtocol:
                nonlocal protocol
                protocol = protocol_factory()
                return protocol  # type: ignore[no-any-return]

            connector = self._connect_pipe(address, make_protocol, waiter)
            try:
                await waiter
            except BaseException:
                connector.cancel()
                if connector.transport is not None:
                    connector.transport.abort()
                raise
            transport: Any = connector.transport
            return transport, protocol

        async def start_serving_pipe(
            self, protocol_factory: Callable[[], BaseProtocol], address: str
        ) -> list[PipeServer]:
            """
            Make the named pipe with this full name, and accept clients. The list that is returned has one server.

            Users other than this process's, administrators and the system are refused, and so are other machines. A
            pipe that exists already is an `OSError`.
            """
            server = PipeServer(address)

            def failed(exception: OSError) -> None:
                message = "Pipe accept failed"
                self.call_exception_handler({"message": message, "exception": exception, "server": server})

            server._listener = self._listen_pipe(address, protocol_factory, failed)
            return [server]
