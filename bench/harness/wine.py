"""Runs Windows programs under Wine. The CPU time of the wineserver counts as theirs."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.noise import cpu_seconds, wine_server
from harness.processes import Failed, taskset

TARGET = "x86_64-pc-windows-gnu"
LINKER = "x86_64-w64-mingw32-gcc"
# The overrides disable Mono and Gecko, which Wine would offer to download.
QUIET = {"WINEDEBUG": "-all", "WINEDLLOVERRIDES": "mscoree,mshtml="}
# Time limit for stopping a wineserver, and for the first program in a new one.
SECONDS_MAX = 60
# A wineserver is idle if it uses at most this share of a core for this long.
IDLE_SHARE = 0.005
QUIET_SECONDS = 0.5


def missing() -> str | None:
    """The reason why Windows programs cannot be built or run here; None if they can."""
    if os.name == "nt":
        return "Windows does not need Wine: run the command without `--wine`"
    if shutil.which("wine") is None or shutil.which("wineserver") is None:
        return "`wine` is not installed: `cargo xtask setup` installs it"
    if shutil.which(LINKER) is None:
        return f"`{LINKER}`, mingw's compiler, is not installed: `cargo xtask setup` installs it"
    prefix = os.environ.get("WINEPREFIX")
    if prefix is None or not (Path(prefix) / "system.reg").is_file():
        return "`WINEPREFIX` is not a Wine prefix: `cargo xtask setup` makes one in target/windows/prefix"
    return None


def setting() -> dict[str, str]:
    """The version of Wine, for the setting."""
    told = subprocess.run(["wine", "--version"], capture_output=True, text=True, check=False)
    return {"wine": told.stdout.strip()}


@contextmanager
def fresh_server(warm_up: list[str], core: int) -> Iterator[None]:
    """Runs the `with` block with a new wineserver, pinned to `core`.

    The server has run the program `warm_up`, so that Wine's own services have started.
    """
    _run(["wineserver", "--kill"])
    _run(["wineserver", "--wait"])
    # The option keeps the server alive after the warm-up.
    _run([*taskset(core), "wineserver", f"--persistent={SECONDS_MAX}"])
    _run([*taskset(core), "wine", *warm_up])
    _settle()
    try:
        yield
    finally:
        _run(["wineserver", "--kill"])


def _settle() -> None:
    """Waits until the server is idle, so that the start of the services does not count for the program."""
    overdue = time.monotonic() + SECONDS_MAX / 2
    used = None
    while time.monotonic() < overdue:
        server = wine_server()
        before, used = used, cpu_seconds(server) if server else None
        if None not in (before, used) and used - before < QUIET_SECONDS * IDLE_SHARE:
            return
        time.sleep(QUIET_SECONDS)
    raise Failed("the wineserver does not become idle")


def _run(command: list[str]) -> None:
    try:
        subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | QUIET,
            timeout=SECONDS_MAX,
            check=False,
        )
    except subprocess.TimeoutExpired as overdue:
        raise Failed(f"`{' '.join(command)}` hangs") from overdue


def cpu_with_server(process: int) -> float | None:
    """The CPU time of a Windows program and of the wineserver, which acts as its kernel."""
    own, server = cpu_seconds(process), wine_server()
    others = cpu_seconds(server) if server else None
    return None if own is None or others is None else own + others
