"""
The drop-in Twisted reactor.

Install it before anything imports `twisted.internet.reactor`::

    import tidewaiter.twisted

    tidewaiter.twisted.install()

or pass ``--reactor=tidewaiter`` to Twisted's own commands.
"""

import sys

if sys.platform == "win32":
    from tidewaiter.twisted._windows import IOCPReactor as Reactor
else:
    from tidewaiter.twisted._posix import Reactor

from tidewaiter.twisted._stdio import StandardIO

__all__ = ["Reactor", "StandardIO", "install"]

# Twisted's commands look for `install` in the module that the class names.
Reactor.__module__ = __name__
StandardIO.__module__ = __name__


def install() -> Reactor:
    """
    Install a `Reactor` as the global reactor of this process, and return it.

    From then on, `twisted.internet.stdio.StandardIO` is our `StandardIO`. Code that took the name out of that module
    before keeps Twisted's own. On Windows, that module needs pywin32; `tidewaiter.twisted.StandardIO` does not.

    Raises `twisted.internet.error.ReactorAlreadyInstalledError` if there is a global reactor already, `OSError` if
    the completion port cannot be opened, and `ValueError` if `TIDEWAITER_SLOW_CALLBACK` is not a number.
    """
    from twisted.internet.main import installReactor

    reactor = Reactor()
    installReactor(reactor)
    try:
        from twisted.internet import stdio
    except ImportError:
        # Windows without pywin32.
        return reactor
    stdio.StandardIO = StandardIO  # type: ignore[misc, assignment, unused-ignore]
    return reactor
