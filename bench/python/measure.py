"""Runs one workload on one reactor: `measure.py WORKLOAD REACTOR-MODULE`. Started by compare.py."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path


def main(workload: str, module: str) -> None:
    """Installs the reactor before anything else can install another."""
    # The embeddable Python for Windows does not look beside the script.
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    importlib.import_module(module).install()
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
    (SERVERS | CLOCKS | CHILDREN)[workload](reactor)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
