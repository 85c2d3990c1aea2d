"""
A reactor on completion ports: io_uring on Linux, I/O completion ports on Windows, readiness elsewhere.

`tidewaiter.asyncio` is an asyncio event loop, and `tidewaiter.twisted` the drop-in reactor for Twisted. Both are
imported on first use; the rest needs neither.
"""

import atexit
from importlib import import_module
from typing import TYPE_CHECKING, Any

from tidewaiter._metrics import Metrics, TurnTimes
from tidewaiter._tidewaiter import __version__, _end

if TYPE_CHECKING:
    from tidewaiter import asyncio as asyncio
    from tidewaiter import twisted as twisted

__all__ = ["Metrics", "TurnTimes", "__version__"]

# Without this, loops in daemon threads would take the interpreter lock after the interpreter has ended.
atexit.register(_end)


def __getattr__(name: str) -> Any:
    if name in ("asyncio", "twisted"):
        return import_module(f"tidewaiter.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
