"""The sockets of transports as Python sees them, while they belong to the port."""

from __future__ import annotations

import socket
from typing import Any
from weakref import WeakKeyDictionary, ref


class View(socket.socket):
    """
    A socket that belongs to the port. Python may inspect it and set its options.

    Closing it leaves the number open: the system must not reuse it while the port still uses it. If the socket has an
    owner, that makes the port close it.
    """

    __slots__ = ()

    def _real_close(self, _ss: type[socket.socket] = socket.socket) -> None:
        self.detach()
        known = _owners.pop(self, None)
        owner = None if known is None else known()
        if owner is not None:
            owner._closedByHand()

    def __del__(self) -> None:
        self.detach()


_owners: WeakKeyDictionary[socket.socket, ref[Any]] = WeakKeyDictionary()


def given_away(skt: socket.socket, owner: Any = None) -> socket.socket:
    """Turn `skt` into a view: from here on, it belongs to the port and to the transport `owner`, if there is one."""
    if type(skt) is socket.socket:
        skt.__class__ = View
    else:
        skt = View(skt.family, skt.type, skt.proto, fileno=skt.detach())
    if owner is not None:
        _owners[skt] = ref(owner)
    return skt


class MadeWhenAskedFor:
    """
    The `socket` of a connection. Most connections never need one, so it is made on first use, and then stored on the
    connection itself.
    """

    def __get__(self, connection: Any, _: type) -> Any:
        if connection is None:
            return self
        descriptor = connection._descriptor()
        if descriptor is None:
            raise AttributeError("socket")
        skt = View(connection.addressFamily, socket.SOCK_STREAM, 0, fileno=descriptor)
        _owners[skt] = ref(connection)
        connection.socket = skt
        return skt
