"""Messages from a measuring process to compare.py, each a line of JSON, and constants of all servers."""

from __future__ import annotations

import json
import os
import sys
import tempfile

# The data that a source sends at a time.
PIECE = bytes(64 * 1024)
# Length of the queue of connections to be accepted: 1000 clients connect at once.
BACKLOG = 1024


def unix_path() -> str:
    """The path of the UNIX socket on which to listen. The program that started us removes it at the end."""
    return f"{tempfile.gettempdir()}/bench-{os.getpid()}.socket"


def tell(**what: object) -> None:
    """Writes a message at once."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def begin() -> None:
    """Reports that the measured time begins."""
    tell(begin=True)


def end() -> None:
    """Reports that the measured time has ended."""
    tell(end=True)
