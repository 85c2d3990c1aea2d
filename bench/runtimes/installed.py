"""Checks for the libraries, headers and programs that peers need, and finds the versions of all peers."""

from __future__ import annotations

import os
import shutil
import subprocess

from harness.processes import ROOT
from harness.setting import first_line, output
from harness.workload import Peer


def is_installed(peer: Peer) -> bool:
    """Whether everything that the peer needs is installed. Prints what is missing."""
    needed = peer.library or peer.header or peer.program
    if needed is None or version(peer):
        return True
    packages = [needed[-1]]
    if not peer.program:
        packages.append("pkg-config" if peer.library else "g++")
    print(f"{peer.name} is left out: install {' and '.join(packages)} (as Debian names it)")
    return False


def version(peer: Peer) -> str:
    """The peer's name and version; empty if something that it needs is not installed."""
    if peer.crate:
        return _named(peer.crate, _of_crate(peer.package, peer.crate))
    if peer.library:
        return _named(peer.library[0], first_line(["pkg-config", "--modversion", peer.library[0]]))
    if peer.header:
        return _named(peer.name, _of_header(*peer.header[:2]))
    if peer.program:
        return _named(peer.name, _of_program(peer.program[0]))
    return ""


def _named(name: str, number: str) -> str:
    return f"{name} {number}" if number else ""


def _of_crate(package: str, crate: str) -> str:
    tree = ["cargo", "tree", "--package", package, "--depth", "1", "--prefix", "none"]
    lines = output(tree, ROOT / "bench" / "peers").split("\n")
    versions = (line.split()[1] for line in lines if line.startswith(f"{crate} v"))
    return next(versions, "").removeprefix("v")


def _of_program(name: str) -> str:
    """The version that the program writes, to either output, at the end of a line."""
    # Debian installs servers where users without rights have no path to.
    path = shutil.which(name, path=f"{os.environ.get('PATH', '')}{os.pathsep}/usr/sbin")
    if path is None:
        return ""
    told = subprocess.run(
        [path, "-v"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return told.stdout.strip().rpartition("/")[2]


def _of_header(header: str, macro: str) -> str:
    compiler = os.environ.get("CXX", "c++")
    macros = output([compiler, "-E", "-dM", "-include", header, "-x", "c++", os.devnull], ROOT)
    lines = (line.split(maxsplit=2) for line in macros.split("\n"))
    values = (words[2] for words in lines if words[1:2] == [macro])
    return next(values, "").strip('"').replace("_", ".")
