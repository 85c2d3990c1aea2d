"""The setting of a measurement: the machine, the versions and the command."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from pathlib import Path

from harness.processes import ROOT


def setting(command: str, versions: Iterable[str]) -> dict[str, str]:
    """The facts that a reader needs to compare the figures with others."""
    told = {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "command": shlex.join([*command.split(), *sys.argv[1:]]),
        "commit": _commit(),
        # Without the suffix of the distribution.
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "rustc": first_line(["rustc", "--version"]).removeprefix("rustc "),
        "peers": ", ".join(versions),
    }
    return {name: value for name, value in told.items() if value}


def _commit() -> str:
    commit = first_line(["git", "rev-parse", "--short=12", "HEAD"])
    changed = commit and first_line(["git", "status", "--porcelain", "--untracked-files=no"])
    return f"{commit} with changes" if changed else commit


def _processor() -> str:
    """The name of the processor; Python itself knows it on few systems."""
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n")
    except OSError:
        return platform.processor()
    model = next((line for line in lines if line.startswith("model name")), "")
    return model.partition(": ")[2] or platform.processor()


def first_line(command: Sequence[str]) -> str:
    return output(command, ROOT).partition("\n")[0].strip()


def output(command: Sequence[str], folder: Path) -> str:
    """Standard output of a program; empty if it is not installed or fails."""
    try:
        done = subprocess.run(
            command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout
