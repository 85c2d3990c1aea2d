"""A serial line that echoes: one end of a pseudo-terminal, whose other end sends back what it receives.

As a program, `serial_line.py LINK COMMAND...` runs a command while `LINK` leads to such a line. Wine takes the link
`dosdevices/com5` of a prefix for a serial port.
"""

import contextlib
import os
import pty
import subprocess
import sys
import threading
import tty


def _echo(end):
    with contextlib.suppress(OSError):
        while data := os.read(end, 4096):
            os.write(end, data)


@contextlib.contextmanager
def echoing():
    """Opens a line that echoes. Yields the name of its other end."""
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    name = os.ttyname(theirs)
    # A daemon: it reads until the process ends.
    threading.Thread(target=_echo, args=(ours,), daemon=True).start()
    # `theirs` stays open: the line would end with the first that closes it.
    yield name


def main():
    link, *command = sys.argv[1:]
    with echoing() as name:
        if os.path.lexists(link):
            os.unlink(link)
        os.symlink(name, link)
        try:
            code = subprocess.run(command, check=False).returncode
        finally:
            os.unlink(link)
    sys.exit(code)


if __name__ == "__main__":
    main()
