"""Delayed calls as objects."""

from twisted.internet import base


def attributes(reactor):
    """What a program notes down on a delayed call is there, and what nobody did is not."""
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
    """While that is wanted, a delayed call tells where it comes from, even after it was cancelled."""
    base.DelayedCall.debug = True
    call = reactor.callLater(1000, print)
    call.cancel()
    return "origin" in "".join(call.creator), "traceback at creation" in repr(call)
