"""Runs one workload on a loop of asyncio: `measure.py TASK --loop MODULE`. compare.py starts it."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from pathlib import Path

# The embeddable Python for Windows does not look for modules in the folder of the script.
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]


def complain(loop, context: dict) -> None:
    """Exits at the first error in a callback: the figure would be wrong, or the run would never end."""
    sys.stderr.write(f"{context.get('message')}: {context.get('exception')!r}\n")
    sys.stderr.flush()
    os._exit(1)


def main() -> None:
    """Runs the workload that the command line names."""
    parser = argparse.ArgumentParser()
    parser.add_argument("task")
    parser.add_argument("--loop", required=True)
    arguments = parser.parse_args()
    import asyncio

    import uvloops
    from children import CHILDREN
    from clocks import CLOCKS
    from harness.told import tell
    from servers import SERVERS

    if arguments.task in uvloops.SERVERS:
        uvloops.serve(arguments.task, arguments.loop)
    workload = (SERVERS | CLOCKS | CHILDREN).get(arguments.task)
    if workload is None:
        tell(unsupported=True)
        return
    loop = importlib.import_module(arguments.loop).new_event_loop()
    loop.set_exception_handler(complain)
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(workload(loop))
    except NotImplementedError:
        tell(unsupported=True)


if __name__ == "__main__":
    main()
