"""Tells Twisted's commands about the reactor: ``--reactor=tidewaiter``."""

from twisted.application.reactors import Reactor

tidewaiter = Reactor(
    "tidewaiter",
    "tidewaiter.twisted",
    "Completion ports: io_uring on Linux, IOCP on Windows, with child processes on both.",
)
