"""A program to start, as every face describes it, and the end of a child that the port did not start."""

from __future__ import annotations

import os
import select
from collections.abc import Mapping
from typing import Any


def text(value: str | bytes | os.PathLike[str] | os.PathLike[bytes]) -> str:
    decoded = os.fsdecode(value)
    if "\0" in decoded:
        raise ValueError("embedded null byte")
    return decoded


def _name(value: str | bytes) -> str:
    """Check the name of an environment variable. On Windows, some names begin with "="."""
    decoded = text(value)
    if not decoded or "=" in decoded[1:]:
        raise ValueError("illegal environment variable name")
    return decoded


def environment(env: Mapping[Any, Any] | None) -> list[tuple[str, str]] | None:
    return None if env is None else [(_name(name), text(value)) for name, value in env.items()]


def end_of(pid: int) -> Any:
    """Return a file that becomes readable once our child with this process ID has ended."""
    if hasattr(os, "pidfd_open"):
        return open(os.pidfd_open(pid), "rb", buffering=0)
    queue = select.kqueue()
    queue.control([select.kevent(pid, select.KQ_FILTER_PROC, select.KQ_EV_ADD, select.KQ_NOTE_EXIT)], 0)
    return queue
