"""Runs one workload: `measure.py TASK [--reactor MODULE] [--loop MODULE]`. compare.py starts it.

With both options, asyncioreactor runs on the loop. With a loop alone, the workload runs without Twisted.
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

    # Exit at the first logged error: otherwise the figure would be wrong, or the run would never end.
    def complain(event) -> None:
        if event.get("isError"):
            sys.stderr.write(log.textFromEventDict(event) + "\n")
            sys.stderr.flush()
            os._exit(1)

    log.addObserver(complain)
    (SERVERS | CLOCKS | CHILDREN)[task](reactor)


def on_loop(task: str, loop) -> None:
    """Runs a server on a bare loop; other tasks are not supported there."""
    from loops import LOOPS, serve
    from told import tell

    if task in LOOPS:
        serve(task, loop)
    else:
        tell(unsupported=True)


def main() -> None:
    """Runs the workload that the command line names."""
    # The embeddable Python for Windows does not look for modules in the folder of the script.
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
