"""
The asyncio event loop on completion ports.

Run a program on it::

    import tidewaiter.asyncio

    tidewaiter.asyncio.run(main())

or give `new_event_loop` to whatever makes the loop: ``asyncio.Runner(loop_factory=tidewaiter.asyncio.new_event_loop)``.
"""

from tidewaiter.asyncio._loop import Loop
from tidewaiter.asyncio._running import EventLoopPolicy, install, new_event_loop, run

__all__ = ["EventLoopPolicy", "Loop", "install", "new_event_loop", "run"]

for _public in (EventLoopPolicy, Loop, install, new_event_loop, run):
    _public.__module__ = __name__
