"""Windows programs under Wine: its server's CPU time counts as theirs."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.noise import cpu_seconds, wine_server
from harness.processes import Failed, taskset

TARGET = "x86_64-pc-windows-gnu"
LINKER = "x86_64-w64-mingw32-gcc"
# Without Mono and Gecko nothing asks to download them.
QUIET = {"WINEDEBUG": "-all", "WINEDLLOVERRIDES": "mscoree,mshtml="}
# A server that is told to end, or a first program in a new one, takes no longer.
SECONDS_MAX = 60


def missing() -> str | None:
    """What must be installed or set before a Windows program can be built and run here, if something must."""
    if os.name == "nt":
        return "Windows needs no Wine: run the command without `--wine`"
    if shutil.which("wine") is None or shutil.which("wineserver") is None:
        return "there is no `wine`: `cargo xtask setup` installs it"
    if shutil.which(LINKER) is None:
        return f"there is no `{LINKER}`, mingw's compiler: `cargo xtask setup` installs it"
    prefix = os.environ.get("WINEPREFIX")
    if prefix is None or not (Path(prefix) / "system.reg").is_file():
        return "`WINEPREFIX` names no Wine prefix: `cargo xtask setup` makes target/windows/prefix"
    return None


def setting() -> dict[str, str]:
    """What a reader must know besides."""
    told = subprocess.run(["wine", "--version"], capture_output=True, text=True, check=False)
    return {"wine": told.stdout.strip()}


@contextmanager
def fresh_server(warm_up: list[str], core: int) -> Iterator[None]:
    """A Wine server of its own, on `core`, that has run `warm_up` and with it started Wine's own services."""
    _run(["wineserver", "--kill"])
    _run(["wineserver", "--wait"])
    # It outlives the warm-up.
    _run([*taskset(core), "wineserver", f"--persistent={SECONDS_MAX}"])
    _run([*taskset(core), "wine", *warm_up])
    try:
        yield
    finally:
        _run(["wineserver", "--kill"])


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
    """The CPU time of a Windows program and of the Wine server, which does for it what a kernel does."""
    own, server = cpu_seconds(process), wine_server()
    others = cpu_seconds(server) if server else None
    return None if own is None or others is None else own + others
