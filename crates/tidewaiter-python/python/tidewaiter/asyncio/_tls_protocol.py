"""
Asyncio's protocol for TLS, made whole where it falls short:

- What was written before `close` is sent, however slowly the peer takes it.
- What the peer sends after `close` is dropped, and is no error.
- Every callback of a program's protocol runs in the context of the connection, as without TLS.
- Data that comes with the end of the handshake arrives after the code that waits for the handshake goes on.
- A protocol with `get_buffer` need not derive from `asyncio.BufferedProtocol`.
"""

from __future__ import annotations

import contextvars
from asyncio import protocols, sslproto
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncio import BaseProtocol, BaseTransport

# The names of asyncio's that this class uses, and some Pythons do not have.
NAMES = (
    "_call_eof_received",
    "_control_app_writing",
    "_do_flush",
    "_do_read",
    "_do_shutdown",
    "_do_write",
    "_get_write_buffer_size",
    "_on_handshake_complete",
    "_on_shutdown_complete",
    "_process_outgoing",
    "_resume_reading",
    "_set_app_protocol",
    "_set_state",
)

_AGAIN = getattr(sslproto, "SSLAgainErrors", ())
_STATES: Any = getattr(sslproto, "SSLProtocolState", None)


class TlsProtocol(sslproto.SSLProtocol):
    """TLS between a connection and a program's protocol."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._context = contextvars.copy_context()
        self._completing_handshake = False
        super().__init__(*args, **options)

    def _set_app_protocol(self, app_protocol: BaseProtocol) -> None:
        super()._set_app_protocol(app_protocol)
        if hasattr(app_protocol, "get_buffer") and not isinstance(app_protocol, protocols.Protocol):
            self._app_protocol_get_buffer = app_protocol.get_buffer
            self._app_protocol_buffer_updated = app_protocol.buffer_updated
            self._app_protocol_is_buffer = True

    def connection_made(self, transport: BaseTransport) -> None:
        # The connection below may be one of TLS, too.
        below = getattr(transport, "_ssl_protocol", transport)
        self._context = getattr(below, "_context", None) or contextvars.copy_context()
        super().connection_made(transport)

    def _in_context(self, call: Any) -> None:
        # In a copy, because this may be the context of the calling code already, which cannot be entered again.
        self._context.copy().run(call)

    def _call_eof_received(self) -> None:
        self._in_context(super()._call_eof_received)

    def _control_app_writing(self) -> None:
        size = self._get_write_buffer_size()
        paused = self._app_writing_paused
        if size <= self._outgoing_low_water if paused else size >= self._outgoing_high_water:
            self._in_context(super()._control_app_writing)

    def _on_handshake_complete(self, handshake_exc: Any) -> None:
        self._completing_handshake = True
        try:
            super()._on_handshake_complete(handshake_exc)
        finally:
            self._completing_handshake = False

    def _do_read(self) -> None:
        if not self._completing_handshake:
            super()._do_read()
            return
        self._process_outgoing()
        if self._incoming.pending or self._sslobj.pending():
            self._loop.call_soon(self._do_read, context=self._context.copy())

    def _resume_reading(self) -> None:
        if self._app_reading_paused:
            self._app_reading_paused = False
            self._loop.call_soon(self._go_on, context=self._context.copy())

    def _go_on(self) -> None:
        """Do what has to be done in this state."""
        if self._state == _STATES.WRAPPED:
            self._do_read()
        elif self._state == _STATES.FLUSHING:
            self._do_flush()
        elif self._state == _STATES.SHUTDOWN:
            self._do_shutdown()

    def resume_writing(self) -> None:
        if self._state in (_STATES.FLUSHING, _STATES.SHUTDOWN):
            self._ssl_writing_paused = False
            self._go_on()
        else:
            super().resume_writing()

    def eof_received(self) -> bool | None:
        stays = super().eof_received()
        # The connection stays for what is still to be sent.
        return stays or self._state == _STATES.FLUSHING or bool(self._outgoing.pending)

    def _do_flush(self) -> None:
        """Send what was written. Then shut down."""
        try:
            if self._app_transport is None or self._app_transport.is_closing():
                self._drop_incoming()
            else:
                # The peer ended the connection, and the program gets what came before.
                self._do_read()
            self._do_write()
        except Exception as problem:
            self._on_shutdown_complete(problem)
            return
        if self._state == _STATES.FLUSHING and not self._get_write_buffer_size():
            self._set_state(_STATES.SHUTDOWN)
            self._do_shutdown()

    def _do_shutdown(self) -> None:
        """Tell the peer of the end, and wait for its answer."""
        try:
            self._drop_incoming()
            if not self._eof_received:
                self._sslobj.unwrap()
        except _AGAIN:
            self._process_outgoing()
            return
        except Exception as problem:
            self._on_shutdown_complete(problem)
            return
        self._process_outgoing()
        self._call_eof_received()
        if not self._outgoing.pending:
            self._on_shutdown_complete(None)

    def _drop_incoming(self) -> None:
        """Drop what the peer sent. Tell the program if the peer has ended."""
        try:
            while self._sslobj.read(self.max_size):
                pass
        except sslproto.ssl.SSLZeroReturnError:
            pass
        except _AGAIN:
            return
        self._call_eof_received()
