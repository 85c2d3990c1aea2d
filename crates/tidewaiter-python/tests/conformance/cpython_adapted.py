"""A pytest plugin: CPython's tests that name one of asyncio's own loops run on asyncio's default loop.

Without it, they would test asyncio's own loops, and not the one that the suite runs on.
"""

import asyncio

for name in ("EventLoop", "SelectorEventLoop", "ProactorEventLoop"):
    if hasattr(asyncio, name):
        setattr(asyncio, name, asyncio.new_event_loop)
