"""uvloop's own benchmark, from its source package: its server, unchanged, on any loop, and its client."""

from __future__ import annotations

import asyncio
import importlib
import os
import runpy
import socket
import ssl
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

from harness.processes import Failed, started
from harness.told import tell

# The environment variable with the folder of uvloop's unpacked source package.
SOURCE = "UVLOOP_SOURCE"
# The `load` of a workload begins with this if uvloop's client drives the server.
CLIENT = "echoclient.py"
# The options of uvloop's server, by task. Without any, it calls `sock_recv` and `sock_sendall`.
SERVERS = {
    "uvloops-sockets": (),
    "uvloops-streams": ("--streams",),
    "uvloops-protocol": ("--proto",),
    "uvloops-tls": ("--streams", "--ssl"),
}
WORKERS = 3
MESSAGES_PER_SECOND = 20_000
WARM_UP_MESSAGES = 500
START_SECONDS_MAX = 20


def serve(task: str, module: str) -> None:
    """Runs uvloop's server on the loop of a module, until the process is killed."""
    asyncio.new_event_loop = importlib.import_module(module).new_event_loop
    # The server asks for TLS in an old way, and what is written to standard error makes a run fail.
    warnings.simplefilter("ignore", DeprecationWarning)
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    tell(address=address)
    sys.argv = [_program("echoserver.py"), *SERVERS[task], "--addr", address]
    runpy.run_path(sys.argv[0], run_name="__main__")


def drive(
    options: Sequence[str], seconds: float, address: str, server: int, clock: Callable[[int], float | None]
) -> tuple[float, dict[str, float]]:
    """Runs uvloop's client against its server; returns the server's CPU time and the client's figures.

    The client does not tell whether its workers failed, so a message must come back before and afterwards.
    """
    tls = "--ssl" in options
    _await_echo(address, tls)
    _client(options, WARM_UP_MESSAGES, address)
    before = clock(server)
    figures = _client(options, int(MESSAGES_PER_SECOND * seconds), address)
    after = clock(server)
    if before is None or after is None or not _echoes(address, tls):
        raise Failed("the server no longer answers")
    return after - before, figures


def _client(options: Sequence[str], messages: int, address: str) -> dict[str, float]:
    numbers = ["--workers", str(WORKERS), "--num", str(messages), "--addr", address]
    command = [sys.executable, "-W", "ignore", _program(CLIENT), *options, *numbers]
    with started(command, core=1) as (process, lines):
        totals = [line.split() for line in lines if " in " in line]
        if process.wait() != 0 or not totals:
            raise Failed("uvloop's client failed")
    count, _, seconds = totals[-1]
    return {"messages": float(count), "seconds": float(seconds)}


def _await_echo(address: str, tls: bool) -> None:
    deadline = time.monotonic() + START_SECONDS_MAX
    while not _echoes(address, tls):
        if time.monotonic() > deadline:
            raise Failed("uvloop's server did not start")
        time.sleep(0.02)


def _echoes(address: str, tls: bool) -> bool:
    """Whether the server sends a message back."""
    host, _, port = address.partition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=START_SECONDS_MAX) as plain:
            connection = _unverified().wrap_socket(plain) if tls else plain
            connection.sendall(b"x")
            return connection.recv(1) == b"x"
    except OSError:
        return False


def _unverified() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _program(name: str) -> str:
    return str(Path(os.environ[SOURCE], "examples", "bench", name))
