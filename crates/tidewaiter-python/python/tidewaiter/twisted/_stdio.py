"""Standard input and output on the port."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from twisted.internet import main
from twisted.internet.interfaces import (
    IAddress,
    IConsumer,
    IHalfCloseableDescriptor,
    IHalfCloseableProtocol,
    IPushProducer,
    ITransport,
)
from twisted.python import log
from twisted.python.failure import Failure
from zope.interface import implementer

from tidewaiter.twisted._flow import Flow

_DONE = Failure(main.CONNECTION_DONE)
_LOST = Failure(main.CONNECTION_LOST)


def _number(fd: int) -> int:
    """The system's number of the descriptor."""
    if os.name == "posix":
        return fd
    import msvcrt

    # Python itself must not translate the ends of lines either.
    msvcrt.setmode(fd, os.O_BINARY)
    return msvcrt.get_osfhandle(fd)


@implementer(IAddress)
class PipeAddress:
    """The address of standard input and output, which have none."""


class _Half(Flow):
    """Standard input or output."""

    def __init__(self, stdio: StandardIO, fd: int, writes: bool) -> None:
        self._stdio = stdio
        self.protocol = stdio.protocol
        self._open(stdio._reactor._loop, _number(fd), writes)

    def logPrefix(self) -> str:
        return "-"

    def connectionLost(self, reason: Failure) -> None:
        """Close this half, because it has ended or the reactor stops."""
        if not self._lose(False):
            return
        self._leave()
        self._stopProducer()
        self._stdio._halfLost(self, reason)

    # The loop calls the following methods.

    def _streamMade(self) -> None:
        pass

    def _streamLost(self, how: str) -> None:
        self.connectionLost(_DONE if how == "done" else _LOST)


@implementer(ITransport, IPushProducer, IConsumer, IHalfCloseableDescriptor)
class StandardIO:
    """
    Standard input and output as one transport: Twisted's `twisted.internet.stdio.StandardIO`, through the port, and the
    same on all systems.

    As with Twisted's own for POSIX systems, the descriptors stay open when the transport has ended. Unlike it, this one
    never makes them non-blocking for other processes, and sends what was written before it tells the end. On Windows,
    only the next write tells that nobody reads standard output any more.
    """

    disconnected = False
    disconnecting = False

    def __init__(self, proto: Any, stdin: int = 0, stdout: int = 1, reactor: Any = None) -> None:
        if reactor is None:
            from twisted.internet import reactor
        self._reactor = reactor
        self.protocol = proto
        self._writer: _Half | None = _Half(self, stdout, True)
        self._reader: _Half | None = _Half(self, stdin, False)
        proto.makeConnection(self)

    def _halfLost(self, half: _Half, reason: Failure) -> None:
        """Handle the end of one direction."""
        if half is self._reader:
            self._reader = None
            self.readConnectionLost(reason)
        elif half is self._writer:
            self._writer = None
            self.writeConnectionLost(reason)

    def connectionLost(self, reason: Failure) -> None:
        """Close both directions, and tell the protocol."""
        if self.disconnected:
            return
        self.disconnected = True
        halves = [self._reader, self._writer]
        self._reader = self._writer = None
        for half in halves:
            if half is not None:
                half.connectionLost(reason)
        protocol, self.protocol = self.protocol, None
        try:
            protocol.connectionLost(reason)
        except BaseException:
            log.err()

    # IHalfCloseableDescriptor.

    def readConnectionLost(self, reason: Failure) -> None:
        if self.disconnected or self.disconnecting:
            return
        protocol = IHalfCloseableProtocol(self.protocol, None)
        if protocol is not None:
            self._tell(protocol.readConnectionLost)
        elif reason.check(main.CONNECTION_DONE.__class__) is None:
            self.connectionLost(reason)
        else:
            if self._writer is not None:
                self._writer._stopProducer()
            self.loseConnection()

    def writeConnectionLost(self, reason: Failure) -> None:
        if self.disconnected:
            return
        protocol = IHalfCloseableProtocol(self.protocol, None)
        if self.disconnecting:
            self.connectionLost(reason)
        elif protocol is not None:
            self._tell(protocol.writeConnectionLost)

    def _tell(self, call: Any) -> None:
        try:
            call()
        except BaseException:
            failure = Failure()
            log.err(failure)
            self.connectionLost(failure)

    def loseWriteConnection(self) -> None:
        if self._writer is not None:
            self._writer.loseConnection()

    # ITransport.

    def write(self, data: bytes) -> None:
        if self._writer is not None:
            self._writer.write(data)

    def writeSequence(self, data: Iterable[bytes]) -> None:
        if self._writer is not None:
            self._writer.writeSequence(data)

    def loseConnection(self) -> None:
        if self.disconnecting or self.disconnected:
            return
        self.disconnecting = True
        if self._reader is not None:
            self._reader.stopReading()
        if self._writer is not None:
            self._writer.loseConnection()
        else:
            self._reactor.callLater(0, self.connectionLost, _DONE)

    def getPeer(self) -> PipeAddress:
        return PipeAddress()

    def getHost(self) -> PipeAddress:
        return PipeAddress()

    # IConsumer.

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        if self._writer is None:
            producer.stopProducing()
        else:
            self._writer.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        if self._writer is not None:
            self._writer.unregisterProducer()

    # IPushProducer.

    def stopProducing(self) -> None:
        self.loseConnection()

    def pauseProducing(self) -> None:
        if self._reader is not None:
            self._reader.pauseProducing()

    def resumeProducing(self) -> None:
        if self._reader is not None:
            self._reader.resumeProducing()

    # The older names of these.
    stopReading = pauseProducing
    startReading = resumeProducing
