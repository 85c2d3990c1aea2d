"""
Asyncio's stream readers and writers on the loop's own streams.

A program gets the readers, writers and protocols that asyncio makes. On a new connection or child, they become objects
of the classes here, unless they are of other classes than asyncio's own or something of them was replaced. The methods
that must be fast are then those of an `AsyncioStream`. As soon as a program looks at private attributes of a reader, or
sets an attribute, the object becomes what asyncio made again.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio import StreamReader, StreamReaderProtocol, StreamWriter, streams, subprocess
from asyncio.subprocess import SubprocessStreamProtocol
from collections.abc import Callable
from functools import partial
from typing import Any

from tidewaiter._tidewaiter import AsyncioChild, AsyncioLoop, AsyncioStream, SocketTransport

# The attributes of asyncio's reader that the stream keeps.
_KEPT_BELOW = frozenset({"_buffer", "_eof", "_waiter", "_exception", "_transport", "_paused"})
_ATTRIBUTES = _KEPT_BELOW | {"_limit", "_loop"}
# The methods that the stream has instead of the reader, and of the writer.
_READER_METHODS = ("at_eof", "exception", "read", "readexactly", "readline", "readuntil")
_WRITER_METHODS = ("drain", "write")


def _methods(kind: type) -> frozenset[str]:
    return frozenset(name for base in kind.__mro__[:-1] for name, member in vars(base).items() if callable(member))


_PROTOCOL_METHODS = _methods(StreamReaderProtocol)
_CHILD_METHODS = _methods(SubprocessStreamProtocol)
# Setting these changes what becomes of a child's output.
_CHILD_ATTRIBUTES = _CHILD_METHODS | {"stdin", "stdout", "stderr"}


def _members() -> list[tuple[object, ...]]:
    """The members of asyncio's classes, by which we see that a program has replaced some."""
    protocols = (StreamReaderProtocol, StreamReaderProtocol.__mro__[1], SubprocessStreamProtocol)
    classes = (StreamReader, StreamWriter, *protocols)
    return [tuple(vars(one).values()) for one in classes]


def _is_asyncios(kind: type) -> bool:
    methods = [member for member in vars(kind).values() if callable(member)]
    return all(method.__module__ in (streams.__name__, subprocess.__name__) for method in methods)


_MEMBERS = _members()
_ARE_ASYNCIOS = all(map(_is_asyncios, (StreamReader, StreamReaderProtocol, StreamWriter, SubprocessStreamProtocol)))
# By this code, we know a writer.
_DRAIN = StreamWriter.drain.__code__


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


class ChildProtocol(SubprocessStreamProtocol):
    """The protocol of a child with such readers."""

    def __setattr__(self, name: str, value: object) -> None:
        if name in _CHILD_ATTRIBUTES:
            for reader in (self.stdout, self.stderr):
                if isinstance(reader, Reader):
                    _leave(reader)
            _become(self, SubprocessStreamProtocol)
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

for _ours in (Reader, Protocol, ChildProtocol, Writer):
    _asyncios = _ours.__mro__[1]
    _ours.__name__, _ours.__qualname__, _ours.__module__ = (
        _asyncios.__name__,
        _asyncios.__qualname__,
        _asyncios.__module__,
    )


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
    loop = connection._loop
    if reader is None or not _may_adopt(loop, protocol, _PROTOCOL_METHODS) or not _is_new(reader, loop, None):
        return None
    stream = AsyncioStream(loop, connection, protocol, min(vars(reader)["_limit"], sys.maxsize))
    _become_native(reader, stream)
    callback = protocol._client_connected_cb
    if callback is not None:
        protocol._client_connected_cb = partial(_connected, protocol, callback, stream)
    else:
        vars(reader)["exception"] = partial(_exception, stream)
    _become(protocol, Protocol)
    return stream


def adopt_child(child: AsyncioChild, transport: Any, protocol: Any) -> None:
    """Have streams take the outputs of a new child and write to its input, if asyncio's own classes would."""
    loop = transport._loop
    if type(protocol) is not SubprocessStreamProtocol or not _may_adopt(loop, protocol, _CHILD_METHODS):
        return
    for fd, reader in ((1, protocol.stdout), (2, protocol.stderr)):
        pipe = transport.get_pipe_transport(fd)
        if reader is None or not _is_new(reader, loop, pipe):
            continue
        stream = AsyncioStream(loop, pipe, None, min(vars(reader)["_limit"], sys.maxsize))
        stream.attach(pipe)
        _become_native(reader, stream)
        child.deliver_to(fd, stream)
    writer, pipe = protocol.stdin, transport.get_pipe_transport(0)
    if type(writer) is StreamWriter and writer.transport is pipe:
        _write_by(writer, AsyncioStream(loop, pipe, protocol, 0))
    _become(protocol, ChildProtocol)


def _is_new(reader: StreamReader, loop: Any, transport: object) -> bool:
    """Whether a reader is as asyncio has just made it, for this transport."""
    held = vars(reader)
    return (
        type(reader) is StreamReader
        and held.keys() == _ATTRIBUTES
        and type(held["_limit"]) is int
        and held["_loop"] is loop
        and held["_transport"] is transport
        and not any(held[name] for name in _KEPT_BELOW if name != "_transport")
    )


def _become_native(reader: StreamReader, stream: AsyncioStream) -> None:
    held = vars(reader)
    for name in _KEPT_BELOW:
        del held[name]
    held["_stream"] = stream
    for method in _READER_METHODS:
        held[method] = getattr(stream, method)
    _become(reader, Reader)


def _may_adopt(loop: Any, protocol: Any, methods: frozenset[str]) -> bool:
    return (
        protocol._loop is loop
        and methods.isdisjoint(vars(protocol))
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
        _write_by(writer, stream)
    return callback(reader, writer)


def _write_by(writer: StreamWriter, stream: AsyncioStream) -> None:
    vars(writer).update(drain=stream.drain, write=writer.transport.write)
    _become(writer, Writer)


def _exception(stream: AsyncioStream) -> BaseException | None:
    """
    As `StreamReader.exception`, which a writer asks for in `drain`.

    Asyncio makes the writer of a client's connection itself, and tells nobody: this is the first that we see of it.
    """
    caller = sys._getframe(1)
    if caller.f_code is _DRAIN:
        writer = caller.f_locals["self"]
        held = vars(writer)
        reader = held.get("_reader")
        if type(reader) is Reader and type(writer) is StreamWriter and held.keys().isdisjoint(_WRITER_METHODS):
            if vars(reader)["_stream"] is stream and stream.is_above(writer.transport):
                vars(reader)["exception"] = stream.exception
                _write_by(writer, stream)
    return stream.exception()


async def drained(reader: Any, transport: Any, protocol: Any) -> None:
    """As `StreamWriter.drain`."""
    exception = reader.exception()
    if exception is not None:
        raise exception
    if transport.is_closing():
        # `connection_lost` may be called meanwhile.
        await asyncio.sleep(0)
    await protocol._drain_helper()
