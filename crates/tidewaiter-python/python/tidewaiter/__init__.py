"""
A reactor on completion ports: io_uring on Linux, I/O completion ports on Windows, readiness elsewhere.

`tidewaiter.twisted` is the drop-in reactor for Twisted. This module itself needs no Twisted.
"""

import atexit

from tidewaiter._metrics import Metrics, TurnTimes
from tidewaiter._tidewaiter import __version__, _end

__all__ = ["Metrics", "TurnTimes", "__version__"]

# Loops in daemon threads would ask for the interpreter's lock after its end.
atexit.register(_end)
