"""Checks, one by one, the attributes that Twisted's test mixins and trial need on a reactor's class."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from twisted.python.reflect import namedAny
from zope.interface import providedBy

METHODS = ("_uninstallHandler", "disconnectAll", "getDelayedCalls", "removeAll", "_stopThreadPool")


def has_methods(factory: Callable[[], Any]) -> None:
    reactor = factory()
    missing = [name for name in METHODS if not callable(getattr(reactor, name, None))]
    assert not missing, f"no {', '.join(missing)}"
    assert hasattr(reactor, "threadpool"), "no threadpool"


def has_dictionary(factory: Callable[[], Any]) -> None:
    assert isinstance(factory().__dict__, dict), "attributes must live in a __dict__"


def can_be_referenced_weakly(factory: Callable[[], Any]) -> None:
    weakref.ref(factory())


def takes_the_place_of_another(factory: Callable[[], Any]) -> None:
    """The mixins assign the new reactor's class and attributes to the installed reactor."""
    from twisted.internet import reactor as host

    guest: Any = factory()
    before = host.__dict__, host.__class__
    host.__dict__, host.__class__ = guest.__dict__, guest.__class__
    try:
        called: list[int] = []
        host.callLater(0, called.append, 1)
        host.callLater(0, host.stop)
        host.run()
        assert called == [1], "the call did not run"
    finally:
        host.__dict__, host.__class__ = before


def runs_again_after_a_crash(factory: Callable[[], Any]) -> None:
    reactor = factory()
    for _ in range(3):
        reactor.callLater(0, reactor.crash)
        reactor.run(installSignalHandlers=False)


def lets_stop_be_replaced(factory: Callable[[], Any]) -> None:
    """Trial assigns attributes on the instance."""
    reactor = factory()
    stops: list[int] = []

    def stop() -> None:
        stops.append(1)
        reactor.crash()

    reactor.stop = stop
    reactor.callLater(0, reactor.stop)
    reactor.run(installSignalHandlers=False)
    assert stops == [1], "the instance's stop was not called"


CHECKS = (
    has_methods,
    has_dictionary,
    can_be_referenced_weakly,
    takes_the_place_of_another,
    runs_again_after_a_crash,
    lets_stop_be_replaced,
)


def check(name: str) -> bool:
    """Prints each finding, and returns whether all are good."""
    factory = namedAny(name)
    failed = 0
    for part in CHECKS:
        try:
            part(factory)
        except Exception as error:
            failed += 1
            print(f"FAILED {part.__name__}: {error!r}")
    names = sorted(interface.__name__ for interface in providedBy(factory()))
    print(f"provides {' '.join(names)}")
    print(f"test result: {'FAILED' if failed else 'ok'}. {len(CHECKS) - failed} passed; {failed} failed; 0 ignored")
    return not failed
