"""Extreme arguments for the methods of all classes beneath asyncio's loop. Run as a program: prints JSON."""

import asyncio
import gc
import inspect
import json
import math
import os
import socket
import sys

from outcomes import nothing, outcome
from tidewaiter import _tidewaiter
from tidewaiter.asyncio import Loop

ADDRESS = "127.0.0.1"
# Small ones are left out: they may be descriptors of this process.
NUMBERS = [
    *(sign * number for number in (1e9, 1e308, math.inf, 2**31, 2**32, 2**63, 2**64, 2**200) for sign in (1, -1)),
    *(-1, -5e-324, 5e-324, math.nan, 65536, sys.maxsize),
]
OTHERS = [None, "\0", b"", "\ud800", (), object]
# Methods that only the loop itself calls: they would run or lose what the program waits for.
_NOT_TO_BE_CALLED = {"_run_once", "_attach", "_drop_calls", "_follow_clock", "_add_callback", "__new__"}
# The calls of methods that take more arguments than the others get.
_LONG = {
    "_open_stream": lambda value: (value, (ADDRESS, 1), asyncio.Protocol(), None, None, None, None),
    "_open_stream, address": lambda value: (-1, (ADDRESS, value), asyncio.Protocol(), None, None, None, None),
    "_listen": lambda value: (value, asyncio.Protocol, None, None),
    "call_later": lambda value: (value, nothing),
    "call_at": lambda value: (value, nothing),
}


def _methods(kind):
    """The names of the methods, those that end something last: their names begin with an underscore."""
    routines = (name for name, value in vars(kind).items() if inspect.isroutine(value))
    names = {name for name in routines if not name.endswith("__")} - _NOT_TO_BE_CALLED
    return sorted(names, reverse=True)


async def _one_of_each_kind(loop):
    """Keeps one object of each class open."""
    server = await loop.create_server(asyncio.Protocol, ADDRESS, 0)
    port = server.sockets[0].getsockname()[1]
    client, _ = await loop.create_connection(asyncio.Protocol, ADDRESS, port)
    udp, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=(ADDRESS, 0))
    _reader, writer = await asyncio.open_connection(ADDRESS, port)
    timer = loop.call_later(1e6, nothing)
    soon = loop.call_soon(nothing)
    program = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    child, _ = await loop.subprocess_exec(asyncio.SubprocessProtocol, *program)
    kept = [server, client, udp, writer, timer, soon, child]
    if os.name != "nt":
        ours, theirs = os.pipe()
        pipe, _ = await loop.connect_read_pipe(asyncio.Protocol, open(ours, "rb", 0))
        one, other = socket.socketpair()
        loop.add_reader(one, nothing)
        kept += [pipe, theirs, one, other]
    return kept


def _calls(it, name):
    for value in NUMBERS + OTHERS:
        for count in (1, 2, 3):
            yield f"{name}{(value,) * count!r}", getattr(it, name), (value,) * count
        for long, arguments in _LONG.items():
            if long.partition(",")[0] == name:
                yield f"{long}{value!r}", getattr(it, name), arguments(value)


async def extremes(loop, outcomes):
    """Calls all methods, and returns the classes that they were of."""
    kept = await _one_of_each_kind(loop)
    objects = [it for it in gc.get_objects() if type(it).__module__ == _tidewaiter.__name__] + [loop]
    kinds = {}
    for it in objects:
        kind = next(kind for kind in type(it).__mro__ if kind.__module__ == _tidewaiter.__name__)
        kinds.setdefault(kind, it)
    for kind, it in kinds.items():
        # The core is not asyncio's: `extremes.py` calls it.
        for name in () if kind is _tidewaiter.Core else _methods(kind):
            for shown, method, arguments in _calls(it, name):
                outcomes[f"{kind.__name__}.{shown}"] = outcome(lambda m=method, a=arguments: m(*a))
    loop._make_all_turns(True)
    await asyncio.sleep(0.01)
    del kept
    return sorted(kind.__name__ for kind in kinds)


def main():
    """Runs it, and then another program on another loop."""
    loop, outcomes = Loop(), {}
    # What is called later may fail: it was no callable.
    loop.set_exception_handler(nothing)
    kinds = loop.run_until_complete(extremes(loop, outcomes))
    loop.close()
    another = Loop()
    done = another.run_until_complete(asyncio.sleep(0, "done"))
    another.close()
    print(json.dumps({"kinds": kinds, "outcomes": outcomes, "done": done}))


if __name__ == "__main__":
    main()
