"""Runs one workload: `measure.py TASK --reactor MODULE [--loop MODULE]`. compare.py starts it.

With a loop, asyncioreactor runs on it.
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


def main() -> None:
    """Runs the workload that the command line names."""
    # The embeddable Python for Windows does not look for modules in the folder of the script.
    here = Path(__file__).resolve().parent
    sys.path[:0] = [str(here), str(here.parent)]
    parser = argparse.ArgumentParser()
    parser.add_argument("task")
    parser.add_argument("--reactor", required=True)
    parser.add_argument("--loop")
    arguments = parser.parse_args()
    loops = [importlib.import_module(arguments.loop).new_event_loop()] if arguments.loop else []
    on_reactor(arguments.task, arguments.reactor, loops)


if __name__ == "__main__":
    main()
