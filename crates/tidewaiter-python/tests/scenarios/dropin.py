"""Properties of the installed reactor."""

import asyncio
import importlib

from scenario import CLASS, MODULE
from twisted.internet import interfaces
from zope.interface import Interface
from zope.interface.verify import verifyObject


def without_asyncio(reactor):
    """Callbacks do not run in an event loop of asyncio."""
    heard = []

    def look():
        try:
            heard.append(str(asyncio.get_running_loop()))
        except RuntimeError as error:
            heard.append(str(error))
        reactor.stop()

    reactor.callWhenRunning(look)
    reactor.run()
    return heard[0]


def imported(reactor):
    """twisted.internet.reactor is an instance of the class that was installed."""
    from twisted.internet import reactor as again

    return again is reactor and type(again) is getattr(importlib.import_module(MODULE), CLASS)


def second_install(_reactor):
    """Installing again raises."""
    try:
        importlib.import_module(MODULE).install()
    except Exception as error:
        return type(error).__name__
    return None


def interfaces_of(reactor):
    """The names of the reactor interfaces that the reactor provides, each one verified."""
    names = []
    for name in dir(interfaces):
        interface = getattr(interfaces, name)
        if (
            name.startswith("IReactor")
            and issubclass(type(interface), type(Interface))
            and interface.providedBy(reactor)
        ):
            verifyObject(interface, reactor)
            names.append(name)
    return names
