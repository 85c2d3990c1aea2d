"""Delayed calls as objects."""

import time

from twisted.internet import base


def attributes(reactor):
    """A delayed call keeps the attributes that a program sets on it, and raises AttributeError for others."""
    call, other = reactor.callLater(1000, print), reactor.callLater(1000, print)
    seen = [hasattr(call, "note"), call.creator]
    call.note = "mine"
    call.creator = ["somewhere"]
    seen += [call.note, call.creator, "somewhere" in repr(call), hasattr(other, "note"), other.creator]
    del call.note
    seen.append(hasattr(call, "note"))
    for each in (call, other):
        each.cancel()
    return seen


def origin(reactor):
    """In debug mode, a delayed call shows its origin, even after it was cancelled."""
    base.DelayedCall.debug = True
    call = reactor.callLater(1000, print)
    call.cancel()
    return "origin" in "".join(call.creator), "traceback at creation" in repr(call)


def times(reactor):
    """A call's time is the clock's at the request plus the delay, and stays the same."""
    delays = (1000, 0.01, 0)
    before = time.time()
    calls = [reactor.callLater(delay, lambda: None) for delay in delays]
    unseen = reactor.callLater(0.02, reactor.crash)
    after = time.time()

    def fits(call, delay):
        return before + delay - 0.001 <= call.getTime() <= after + delay + 0.001

    fitting = [fits(call, delay) for call, delay in zip(calls, delays, strict=True)]
    shown = [call.getTime() for call in calls]
    reactor.run()
    same = [call.getTime() for call in calls] == shown
    calls[0].delay(5)
    later = calls[0].getTime() - shown[0]
    calls[0].cancel()
    return fitting, fits(unseen, 0.02), same, later
