"""
Loops in processes that fork: with `os.fork`, or by way of it, as `multiprocessing` does.

On Linux, a loop that makes no turn during the fork is of use in both processes, or in either. One that does
belongs to the parent: its copy in the child refuses to be used. On other systems every loop does.
"""

from __future__ import annotations

import os
import sys
from weakref import WeakSet

from tidewaiter._tidewaiter import Core

_cores: WeakSet[Core] = WeakSet()


def follow(core: Core) -> None:
    """Take `core` along into children, or keep it out of them."""
    _cores.add(core)


def _before() -> None:
    for core in list(_cores):
        core._before_any_fork()


def _in_child() -> None:
    for core in list(_cores):
        core._in_child()


if sys.platform == "linux":
    os.register_at_fork(before=_before, after_in_child=_in_child)
elif sys.platform != "win32":
    os.register_at_fork(after_in_child=_in_child)
