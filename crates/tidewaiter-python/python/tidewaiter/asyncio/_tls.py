"""
Asyncio's TLS on the loop's own connections.

Asyncio's protocol, or ours that derives from it, does the handshake and the shutdown. In between, a `TlsPump` does the
work of its methods, unless the program has replaced one of them.
"""

from __future__ import annotations

from asyncio import sslproto
from typing import Any

from tidewaiter._tidewaiter import TlsPump
from tidewaiter.asyncio import _tls_protocol

# Some Pythons have no TLS.
_SSL_OBJECT = getattr(sslproto.ssl, "SSLObject", object)
_PROTOCOL: type[sslproto.SSLProtocol] = sslproto.SSLProtocol
_CLASSES: tuple[type, ...] = (_PROTOCOL, sslproto._SSLProtocolTransport, _SSL_OBJECT)
_METHODS = [{name for name, member in vars(kind).items() if callable(member)} for kind in _CLASSES]


def _members() -> list[tuple[object, ...]]:
    """The members of the classes, by which we see that a program has replaced some."""
    return [tuple(vars(kind).values()) for kind in _CLASSES]


def _is_its_own(kind: type) -> bool:
    methods = [member for member in vars(kind).values() if callable(member)]
    return all(getattr(method, "__module__", None) == kind.__module__ for method in methods)


_MEMBERS = _members()
_ARE_THEIR_OWN = all(map(_is_its_own, _CLASSES))
_FITS = _ARE_THEIR_OWN and _METHODS[0].issuperset(_tls_protocol.NAMES)


def is_context(context: object) -> bool:
    """Whether this is a context of `ssl`."""
    return isinstance(context, getattr(sslproto.ssl, "SSLContext", ()))


def protocol(*args: Any, **options: Any) -> sslproto.SSLProtocol:
    """Make the protocol of a connection with TLS: ours, unless the program has replaced something of asyncio's."""
    kind = sslproto.SSLProtocol
    if _FITS and kind is _PROTOCOL and _members() == _MEMBERS:
        kind = _tls_protocol.TlsProtocol
    return kind(*args, **options)


def adopt(protocol: Any) -> TlsPump | None:
    """Make the pump of a protocol that has done its handshake, if that is as asyncio or we made it."""
    transport = protocol._app_transport
    if type(protocol) not in (_PROTOCOL, _tls_protocol.TlsProtocol):
        return None
    if any(type(one) is not kind for one, kind in zip((transport, protocol._sslobj), _CLASSES[1:], strict=True)):
        return None
    parts = zip((protocol, transport, protocol._sslobj), _METHODS, strict=True)
    if any(not methods.isdisjoint(vars(one)) for one, methods in parts):
        return None
    if protocol._loop.get_debug() or not _ARE_THEIR_OWN or _members() != _MEMBERS:
        return None
    pump = TlsPump(protocol, vars(protocol))
    transport.write = pump.write
    return pump
