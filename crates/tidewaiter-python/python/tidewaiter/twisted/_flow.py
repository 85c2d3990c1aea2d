"""What connections and the pipes of children have in common."""

from __future__ import annotations

from twisted.python import log
from twisted.python.failure import Failure

from tidewaiter._tidewaiter import Stream


def failure_of(exception: BaseException) -> Failure:
    """The failure that Twisted would have made where `exception` was raised."""
    return Failure(exception, type(exception), exception.__traceback__)


class Flow(Stream):
    """A stream of bytes whose end is told by its `connectionLost`."""

    def fileno(self) -> int:
        descriptor = self._descriptor()
        return -1 if descriptor is None else descriptor

    def connectionLost(self, reason: Failure) -> None:
        raise NotImplementedError()

    def _stopProducer(self) -> None:
        """Tell the producer, if there is one, that it was in vain. What it raises keeps nobody else from hearing."""
        producer = self.producer
        if producer is None:
            return
        try:
            producer.stopProducing()
        except BaseException:
            log.err()
        self.producer = None

    # What the loop calls.

    def _streamFailed(self, exception: BaseException) -> None:
        """A callback of this stream's, or a producer's that writes here, raised `exception`."""
        failure = failure_of(exception)
        log.err(failure)
        self.connectionLost(failure)
