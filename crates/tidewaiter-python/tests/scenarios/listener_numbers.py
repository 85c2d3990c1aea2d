"""Descriptor numbers that the system reuses."""

import socket

from scenarios.pairs import ADDRESS, SideFactory, failures, until


def listener_stopped(reactor):
    """Opens sockets in the callback that stops a listener, and returns the state of each."""
    strangers, outcome = [], {"stopped": False}

    def stop(port):
        host = port.getHost()
        stopped = port.stopListening()
        strangers.extend(socket.create_server((ADDRESS, 0)) for _ in range(8))
        outcome["host"] = port.getHost() == host
        stopped.addCallback(lambda _: outcome.update(stopped=True, again=_is_free(host.port)))

    reactor.callLater(0, lambda: reactor.callLater(0, stop, reactor.listenTCP(0, SideFactory(), interface=ADDRESS)))
    until(reactor, lambda: outcome["stopped"])
    outcome["unharmed"] = sum(_listens(stranger) for stranger in strangers)
    return {**outcome, "log": failures()}


def _is_free(port):
    with socket.create_server((ADDRESS, port)):
        return True


def _listens(listener):
    with socket.create_connection(listener.getsockname()), listener:
        listener.settimeout(10)
        listener.accept()[0].close()
        return True
