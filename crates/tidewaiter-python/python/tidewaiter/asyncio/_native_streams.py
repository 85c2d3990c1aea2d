"""
Asyncio's stream readers and writers on the loop's own streams.

A program gets the readers, writers and protocols that asyncio makes. On a new connection, they become objects of the
classes here, unless they are of other classes than asyncio's own or something of them was replaced. The methods that
must be fast are then those of an `AsyncioStream`. As soon as a program looks at private attributes of a reader, or sets
an attribute, the object becomes what asyncio made again.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio import StreamReader, StreamReaderProtocol, StreamWriter, streams
from collections.abc import Callable
from functools import partial
from typing import Any

from tidewaiter._tidewaiter import AsyncioLoop, AsyncioStream, SocketTransport

# The attributes of asyncio's reader that the stream keeps.
_KEPT_BELOW = frozenset({"_buffer", "_eof", "_waiter", "_exception", "_transport", "_paused"})
_ATTRIBUTES = _KEPT_BELOW | {"_limit", "_loop"}
# The methods that the stream has instead of the reader, and of the writer.
_READER_METHODS = ("at_eof", "exception", "read", "readexactly", "readline", "readuntil")
_WRITER_METHODS = ("drain", "write")
_PROTOCOL_METHODS = frozenset(
    name for base in StreamReaderProtocol.__mro__[:-1] for name, member in vars(base).items() if callable(member)
)


def _members() -> list[tuple[object, ...]]:
    """The members of asyncio's classes, by which we see that a program has replaced some."""
    classes = (StreamReader, StreamReaderProtocol, StreamReaderProtocol.__mro__[1], StreamWriter)
    return [tuple(vars(one).values()) for one in classes]


def _is_asyncios(kind: type) -> bool:
    methods = [member for member in vars(kind).values() if callable(member)]
    return all(method.__module__ == streams.__name__ for method in methods)


_MEMBERS = _members()
_ARE_ASYNCIOS = all(map(_is_asyncios, (StreamReader, StreamReaderProtocol, StreamWriter)))


class Reader(StreamReader):
    """A reader above a stream."""

    def __setattr__(self, name: str, value: object) -> None:
        _leave(self)
        setattr(self, name, value)

    def __delattr__(self, name: str) -> None:
        _leave(self)
        delattr(self, name)

    def __repr__(self) -> str:
        shown = StreamReader.__new__(StreamReader)
        vars(shown).update(_limit=self._limit, **vars(self)["_stream"].attributes())
        return repr(shown)

    def feed_data(self, data: Any) -> None:
        vars(self)["_stream"].feed_data(data)

    def feed_eof(self) -> None:
        vars(self)["_stream"].feed_eof()

    def set_exception(self, exc: Exception) -> None:
        vars(self)["_stream"].set_exception(exc)

    def set_transport(self, transport: asyncio.BaseTransport) -> None:
        if not vars(self)["_stream"].attach(transport):
            _leave(self)
            self.set_transport(transport)


class Protocol(StreamReaderProtocol):
    """The protocol of a connection with such a reader."""

    def __setattr__(self, name: str, value: object) -> None:
        reader = self._stream_reader if name in _PROTOCOL_METHODS else None
        if isinstance(reader, Reader):
            _leave(reader)
        object.__setattr__(self, name, value)


class Writer(StreamWriter):
    """A writer above a stream."""

    def __setattr__(self, name: str, value: object) -> None:
        for method in _WRITER_METHODS:
            del vars(self)[method]
        _become(self, StreamWriter)
        setattr(self, name, value)


def _kept_below(name: str) -> property:
    """A private attribute of asyncio's reader. A `__getattr__` would make the reader's methods slower."""

    def look(reader: Reader) -> Any:
        _leave(reader)
        return getattr(reader, name)

    return property(look)


for _name in _KEPT_BELOW:
    setattr(Reader, _name, _kept_below(_name))

for _ours, _asyncios in ((Reader, StreamReader), (Protocol, StreamReaderProtocol), (Writer, StreamWriter)):
    _ours.__name__, _ours.__qualname__, _ours.__module__ = _asyncios.__name__, _asyncios.__qualname__, streams.__name__


def _become(thing: object, kind: type) -> None:
    object.__setattr__(thing, "__class__", kind)


def _leave(reader: StreamReader) -> None:
    """Make a reader what asyncio made, with everything that its stream has."""
    held = vars(reader)
    stream = held.pop("_stream")
    for method in _READER_METHODS:
        del held[method]
    held.update(stream.attributes())
    _become(reader, StreamReader)
    stream.leave_to(reader)


def adopt(connection: SocketTransport, protocol: StreamReaderProtocol) -> AsyncioStream | None:
    """Have a stream of a new connection take what arrives, if asyncio's own classes would."""
    reference = protocol._stream_reader_wr
    reader = None if reference is None else reference()
    if reader is None or not _may_adopt(connection._loop, protocol, reader):
        return None
    held = vars(reader)
    stream = AsyncioStream(connection._loop, connection, protocol, min(held["_limit"], sys.maxsize))
    for name in _KEPT_BELOW:
        del held[name]
    held["_stream"] = stream
    for method in _READER_METHODS:
        held[method] = getattr(stream, method)
    _become(reader, Reader)
    callback = protocol._client_connected_cb
    if callback is not None:
        protocol._client_connected_cb = partial(_connected, protocol, callback, stream)
    _become(protocol, Protocol)
    return stream


def _may_adopt(loop: Any, protocol: Any, reader: StreamReader) -> bool:
    held = vars(reader)
    return (
        type(reader) is StreamReader
        and held.keys() == _ATTRIBUTES
        and type(held["_limit"]) is int
        and held["_loop"] is protocol._loop is loop
        and not any(held[name] for name in _KEPT_BELOW)
        and _PROTOCOL_METHODS.isdisjoint(vars(protocol))
        and not loop.get_debug()
        and type(loop).call_soon is AsyncioLoop.call_soon
        and "call_soon" not in vars(loop)
        and _ARE_ASYNCIOS
        and _members() == _MEMBERS
    )


def _connected(
    protocol: StreamReaderProtocol,
    callback: Callable[[StreamReader, StreamWriter], Any],
    stream: AsyncioStream,
    reader: StreamReader,
    writer: StreamWriter,
) -> Any:
    """Call the program's callback of a server. `reader` and `writer` are asyncio's."""
    protocol._client_connected_cb = callback
    if type(writer) is StreamWriter and type(reader) is Reader:
        vars(writer).update(drain=stream.drain, write=writer.transport.write)
        _become(writer, Writer)
    return callback(reader, writer)


async def drained(reader: Any, transport: Any, protocol: Any) -> None:
    """As `StreamWriter.drain`."""
    exception = reader.exception()
    if exception is not None:
        raise exception
    if transport.is_closing():
        # `connection_lost` may be called meanwhile.
        await asyncio.sleep(0)
    await protocol._drain_helper()
