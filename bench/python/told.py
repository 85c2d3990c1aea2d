"""What a measuring process tells the one that started it: one line of JSON each."""

from __future__ import annotations

import json
import sys


def tell(**what: object) -> None:
    """Tells it now."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def begin() -> None:
    """The measured time begins."""
    tell(mark="begin")


def end() -> None:
    """The measured time has ended."""
    tell(mark="end")
