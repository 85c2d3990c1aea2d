"""Runs one workload: `measure.py TASK [--reactor MODULE] [--loop MODULE]`. Started by compare.py.

With a loop, asyncioreactor runs on it; with a loop alone, there is no Twisted.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from pathlib import Path


def on_reactor(task: str, module: str, arguments: list) -> None:
    """Installs the reactor before anything else can install another."""
    importlib.import_module(module).install(*arguments)
    from twisted.internet import reactor
    from twisted.python import log

    from children import CHILDREN
    from clocks import CLOCKS
    from servers import SERVERS

    # An error that only the log hears of would leave a wrong figure, or none for ever.
    def complain(event) -> None:
        if event.get("isError"):
            sys.stderr.write(log.textFromEventDict(event) + "\n")
            sys.stderr.flush()
            os._exit(1)

    log.addObserver(complain)
    (SERVERS | CLOCKS | CHILDREN)[task](reactor)


def on_loop(task: str, loop) -> None:
    """Without Twisted there are servers only."""
    from loops import LOOPS, serve
    from told import tell

    if task in LOOPS:
        serve(task, loop)
    else:
        tell(unsupported=True)


def main() -> None:
    """As it was told."""
    # The embeddable Python for Windows does not look beside the script.
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    parser = argparse.ArgumentParser()
    parser.add_argument("task")
    parser.add_argument("--reactor")
    parser.add_argument("--loop")
    arguments = parser.parse_args()
    loops = [importlib.import_module(arguments.loop).new_event_loop()] if arguments.loop else []
    if arguments.reactor:
        on_reactor(arguments.task, arguments.reactor, loops)
    else:
        on_loop(arguments.task, *loops)


if __name__ == "__main__":
    main()
