"""
Loops in processes that fork, directly by `os.fork` or indirectly, as `multiprocessing` does.

On Linux, both processes can use a loop that is not in a turn during the fork. A loop that is in a turn stays with
the parent, and its copy in the child raises when it is used. On other systems, every loop stays with the parent.
"""

from __future__ import annotations

import os
import sys
from weakref import WeakSet

from tidewaiter._tidewaiter import Core

_cores: WeakSet[Core] = WeakSet()


def follow(core: Core) -> None:
    """From here on, prepare `core` for each fork."""
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
