"""
Asyncio's TLS on the loop's own connections.

Asyncio's protocol does the handshake and the shutdown. In between, a `TlsPump` does the work of its methods, unless the
program has replaced one of them.
"""

from __future__ import annotations

from asyncio import sslproto
from typing import Any

from tidewaiter._tidewaiter import TlsPump

# Some Pythons have no TLS.
_SSL_OBJECT = getattr(sslproto.ssl, "SSLObject", object)
_CLASSES: tuple[type, ...] = (sslproto.SSLProtocol, sslproto._SSLProtocolTransport, _SSL_OBJECT)
_METHODS = [{name for name, member in vars(kind).items() if callable(member)} for kind in _CLASSES]


def _members() -> list[tuple[object, ...]]:
    """The members of the classes, by which we see that a program has replaced some."""
    return [tuple(vars(kind).values()) for kind in _CLASSES]


def _is_its_own(kind: type) -> bool:
    methods = [member for member in vars(kind).values() if callable(member)]
    return all(getattr(method, "__module__", None) == kind.__module__ for method in methods)


_MEMBERS = _members()
_ARE_THEIR_OWN = all(map(_is_its_own, _CLASSES))


def adopt(protocol: Any) -> TlsPump | None:
    """Make the pump of a protocol that has done its handshake, if that is as asyncio made it."""
    transport = protocol._app_transport
    parts = zip((protocol, transport, protocol._sslobj), _CLASSES, _METHODS, strict=True)
    if any(type(one) is not kind or not methods.isdisjoint(vars(one)) for one, kind, methods in parts):
        return None
    if protocol._loop.get_debug() or not _ARE_THEIR_OWN or _members() != _MEMBERS:
        return None
    pump = TlsPump(protocol, vars(protocol))
    transport.write = pump.write
    return pump
