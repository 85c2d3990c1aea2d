"""The limit for slow callbacks, as the environment sets it for every loop."""

from __future__ import annotations

import math
import os

VARIABLE = "TIDEWAITER_SLOW_CALLBACK"


def slow_limit() -> float | None:
    """The limit, in seconds; `None` if the environment sets none."""
    text = os.environ.get(VARIABLE)
    if not text:
        return None
    try:
        limit = float(text)
    except ValueError:
        limit = math.nan
    if not limit >= 0:
        raise ValueError(f"{VARIABLE} is {text!r}: it should be a number of seconds")
    return limit


def checked(limit: float | None) -> float | None:
    """The limit that a program sets, if it is one."""
    if limit is not None and not limit >= 0:
        raise ValueError(f"{limit} is not a number of seconds")
    return limit
