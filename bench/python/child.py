"""A child that writes or stays silent, for the workloads of children.py."""

from __future__ import annotations

import os
import sys

PIECE = 64 * 1024


def write(mebibytes: int) -> None:
    """Writes to standard output in pieces of 64 KiB, on another core than the parent's."""
    if hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(0, {1})
    piece = memoryview(bytes(PIECE))
    for _ in range(mebibytes * 1024 * 1024 // PIECE):
        rest = piece
        while rest:
            rest = rest[os.write(1, rest) :]


def be_silent() -> None:
    """Writes a line when it has started, and then waits until its standard input ends."""
    os.write(1, b"ready\n")
    while os.read(0, PIECE):
        pass


if __name__ == "__main__":
    if os.name == "nt":
        import msvcrt

        for descriptor in (0, 1):
            msvcrt.setmode(descriptor, os.O_BINARY)
    if sys.argv[1] == "write":
        write(int(sys.argv[2]))
    else:
        be_silent()
