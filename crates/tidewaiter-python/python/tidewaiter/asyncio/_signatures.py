"""Signatures of asyncio's methods, whose parameters differ between versions of Python."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

_Method = TypeVar("_Method", bound=Callable[..., Any])


def as_in(original: Callable[..., Any]) -> Callable[[_Method], _Method]:
    """Make `inspect.signature` show a method that passes its arguments on with the parameters of the original."""

    def decorate(method: _Method) -> _Method:
        method.__signature__ = inspect.signature(original)  # type: ignore[attr-defined]
        return method

    return decorate
