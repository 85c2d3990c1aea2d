"""What a loop tells of itself, as types."""

from __future__ import annotations

from typing import TypedDict


class TurnTimes(TypedDict):
    """
    How long the turns of a loop took, in seconds.

    A turn lasts from the end of one wait to the beginning of the next: an event that comes in between waits for
    so long until it is seen.
    """

    count: int
    total: float
    max: float
    # The duration that 50, 90 or 99 percent of the turns did not exceed: up to twice the exact value.
    p50: float
    p90: float
    p99: float
    # The upper end of each class of durations, and how many turns fell into the class.
    classes: list[tuple[float, int]]


class Metrics(TypedDict):
    """What a loop did since it was made, and what is under way on it now."""

    # The kind of completion port, why it was chosen, and which features of the system it uses.
    port: str
    port_reason: str
    port_features: list[str]

    # Since the loop was made.
    turns: int
    turn_times: TurnTimes
    completions: int
    # Completions for things that were gone: always zero, unless the system or this library is at fault.
    late_completions: int
    delayed_calls_made: int
    thread_calls_made: int
    # Callbacks that took longer than the limit, as long as one was set.
    slow_callbacks: int
    accepted: int
    connected: int
    spawned: int
    bytes_received: int
    bytes_sent: int

    # Now.
    delayed_calls: int
    transports: int
    # Transports whose end was told, and whose sockets are kept until the peer has ended, or for some seconds.
    lingering: int
    listeners: int
    children: int
    # Descriptors, or events on Windows, that are watched for the application.
    watches: int
    # Operations under way at the port.
    in_flight: int
