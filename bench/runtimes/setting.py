"""Where and how was measured: the machine, the versions, the command."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from pathlib import Path

from catalogue import Peer
from harness.processes import ROOT


def setting(peers: Iterable[Peer]) -> dict[str, str]:
    """What a reader must know to compare the figures with others."""
    versions = dict.fromkeys(filter(None, map(_version, peers)))
    told = {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "command": shlex.join(["cargo", "xtask", "bench", *sys.argv[1:]]),
        "commit": _commit(),
        "system": f"{platform.system()} {platform.release()}",
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "rustc": _first_line(["rustc", "--version"]).removeprefix("rustc "),
        "peers": ", ".join(versions),
    }
    return {name: value for name, value in told.items() if value}


def _version(peer: Peer) -> str:
    if peer.crate:
        tree = ["cargo", "tree", "--package", peer.package, "--depth", "1", "--prefix", "none"]
        lines = _output(tree, ROOT / "bench" / "peers").split("\n")
        versions = (line.split()[1] for line in lines if line.startswith(f"{peer.crate} v"))
        return f"{peer.crate} {next(versions, '').removeprefix('v')}"
    if peer.library:
        name = peer.library[0]
        return f"{name} {_first_line(['pkg-config', '--modversion', name])}"
    return ""


def _commit() -> str:
    commit = _first_line(["git", "rev-parse", "--short=12", "HEAD"])
    changed = commit and _first_line(["git", "status", "--porcelain", "--untracked-files=no"])
    return f"{commit} with changes" if changed else commit


def _processor() -> str:
    """Its name: Python knows it on few systems."""
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n")
    except OSError:
        return platform.processor()
    model = next((line for line in lines if line.startswith("model name")), "")
    return model.partition(": ")[2] or platform.processor()


def _first_line(command: Sequence[str]) -> str:
    return _output(command, ROOT).partition("\n")[0].strip()


def _output(command: Sequence[str], folder: Path) -> str:
    """What a program prints; nothing where it is not there, or does not know."""
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout
