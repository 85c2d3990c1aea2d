"""Writes the reactor's reports to Twisted's log: exceptions, slow callbacks and the library's warnings."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from tidewaiter.twisted._flow import failure_of
from tidewaiter.twisted._tcp import Connecting, Port

_log = Logger(namespace="tidewaiter")

# Maps each of our methods to the application's methods that it calls.
_MEANT = {
    "_accepted": "buildProtocol or its protocol's connectionMade",
    "_closed": "doStop",
    "_streamMade": "buildProtocol or its protocol's connectionMade",
    "_streamRefused": "clientConnectionFailed",
    "_streamEnded": "readConnectionLost or connectionLost",
    "_streamWriteEnded": "writeConnectionLost",
    "_streamLost": "connectionLost",
    "_childConnectionLost": "childConnectionLost",
    "_childExited": "processExited",
    "_childEnded": "processEnded",
}


def _class_name(thing: object) -> str:
    kind = type(thing)
    return f"{kind.__module__}.{kind.__qualname__}"


def _method_name(called: object, method: str) -> str:
    if isinstance(called, Port):
        called = called.factory
    elif isinstance(called, Connecting):
        # A client that failed no longer has a connector.
        connector = getattr(called, "connector", None)
        called = called if connector is None else connector.factory
    while hasattr(called, "wrappedProtocol"):
        # TLS wraps the application's protocol.
        called = called.wrappedProtocol
    return f"{_class_name(called)}.{_MEANT.get(method, method)}"


def _callable_name(called: object) -> str:
    while isinstance(called, (functools.partial, LoopingCall)):
        called = called.func if isinstance(called, functools.partial) else called.f
    name = getattr(called, "__qualname__", None)
    if name is None:
        return _class_name(called)
    module = getattr(called, "__module__", None)
    return name if module is None else f"{module}.{name}"


def name_of(called: object, method: str) -> str:
    """The name, for the log, of `method` of `called`, or of `called` itself if `method` is empty."""
    return _method_name(called, method) if method else _callable_name(called)


def warn_of_slow(called: object, method: str, seconds: float) -> None:
    _log.warn(
        "{callback} blocked the reactor for {seconds:.3f} seconds",
        callback=name_of(called, method),
        seconds=seconds,
    )


def forward(level: str, target: str, message: str) -> None:
    """Log a record of the library."""
    log = Logger(namespace=target.replace("::", "."))
    (log.error if level == "ERROR" else log.warn)("{message}", message=message)


def _indented(creator: Sequence[str]) -> str:
    lines = "".join(creator).rstrip().replace("\n", "\n C:")
    return f"\n C: from a DelayedCall created here:\n C:{lines}\n"


_MESSAGES = {
    "timer": "while handling timed call",
    "thread": "while calling from thread",
}


def report(what: str, exception: BaseException, subject: object) -> None:
    """Log an exception that a callback raised, as Twisted's own main loop does."""
    failure = failure_of(exception)
    creator = getattr(subject, "creator", None) if what == "timer" else None
    if creator:
        _log.failure("while handling timed call {previous()}", failure, previous=lambda: _indented(creator))
    else:
        _log.failure(_MESSAGES.get(what, "Unexpected error in main loop"), failure)
