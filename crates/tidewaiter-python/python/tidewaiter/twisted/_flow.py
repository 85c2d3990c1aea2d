"""The common base of connections and of pipes to children."""

from __future__ import annotations

from twisted.python import log
from twisted.python.failure import Failure

from tidewaiter._tidewaiter import Stream


def failure_of(exception: BaseException) -> Failure:
    """The failure that Twisted would have made where `exception` was raised."""
    return Failure(exception, type(exception), exception.__traceback__)


class Flow(Stream):
    """A stream of bytes that ends with a call to its `connectionLost`."""

    def fileno(self) -> int:
        descriptor = self._descriptor()
        return -1 if descriptor is None else descriptor

    def connectionLost(self, reason: Failure) -> None:
        raise NotImplementedError()

    def _stopProducer(self) -> None:
        """Tell the producer, if there is one, to stop. Log an exception, so that the stream's end goes on."""
        producer = self.producer
        if producer is None:
            return
        try:
            producer.stopProducing()
        except BaseException:
            log.err()
        self.producer = None

    # The loop calls the following methods.

    def _streamFailed(self, exception: BaseException) -> None:
        """Handle `exception`, raised by a callback of this stream or by its producer."""
        failure = failure_of(exception)
        log.err(failure)
        self.connectionLost(failure)
