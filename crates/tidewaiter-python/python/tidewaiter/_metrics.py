"""The types of a loop's metrics."""

from __future__ import annotations

from typing import TypedDict


class TurnTimes(TypedDict):
    """
    The durations of a loop's turns, in seconds.

    A turn lasts from the end of one wait to the beginning of the next. An event that arrives during a turn is not
    handled before the next one.
    """

    count: int
    total: float
    max: float
    # Percentiles: 50, 90 or 99 percent of the turns did not exceed this. It is up to twice the exact value.
    p50: float
    p90: float
    p99: float
    # A histogram: the upper end of each class of durations, and the number of turns in the class.
    classes: list[tuple[float, int]]


class Metrics(TypedDict):
    """Counts of a loop's events since it was made, and of its objects and operations now."""

    # The kind of completion port, the reason for the choice, and the features of the system that it uses.
    port: str
    port_reason: str
    port_features: list[str]

    # Since the loop was made.
    turns: int
    turn_times: TurnTimes
    completions: int
    # Completions for objects that no longer exist: always zero, unless the system or this library has a fault.
    late_completions: int
    delayed_calls_made: int
    thread_calls_made: int
    ready_calls_made: int
    # Callbacks that took longer than the limit, while one was set.
    slow_callbacks: int
    accepted: int
    connected: int
    spawned: int
    bytes_received: int
    bytes_sent: int

    # Now.
    delayed_calls: int
    ready_calls: int
    transports: int
    # Closed transports whose sockets are kept until the peer has ended too, or for some seconds.
    lingering: int
    listeners: int
    children: int
    # Descriptors, or events on Windows, that the loop watches for the application.
    watches: int
    # Operations under way at the port.
    in_flight: int
