"""What a loop tells of itself, as types."""

from __future__ import annotations

from typing import TypedDict


class TurnTimes(TypedDict):
    """
    How long turns of the loop took, in seconds: from the end of one wait to the beginning of the next,
    which is what something new may have to wait before it is seen.
    """

    count: int
    total: float
    max: float
    # So many percent of the turns took no longer; up to twice too long.
    p50: float
    p90: float
    p99: float
    # How many turns took up to so many seconds, and longer than the one before.
    classes: list[tuple[float, int]]


class Metrics(TypedDict):
    """What a loop did since it was made, and what it has in hand now."""

    # The kind of completion port, why that one, and what it makes use of.
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
    # Callbacks that took longer than the limit, while there was one.
    slow_callbacks: int
    accepted: int
    connected: int
    spawned: int
    bytes_received: int
    bytes_sent: int

    # Now.
    delayed_calls: int
    transports: int
    listeners: int
    children: int
    # Descriptors of the application's that are watched for readiness.
    watches: int
    # Operations that the system has in hand.
    in_flight: int
