"""What measuring processes have in common: what they tell the one that started them, a line of JSON each."""

from __future__ import annotations

import json
import sys

# What all servers have in common: what a stream is sent in, and how many connections may wait to be
# accepted, since 1000 come at once.
PIECE = bytes(64 * 1024)
BACKLOG = 1024


def tell(**what: object) -> None:
    """Tells it now."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def begin() -> None:
    """The measured time begins."""
    tell(begin=True)


def end() -> None:
    """The measured time has ended."""
    tell(end=True)
