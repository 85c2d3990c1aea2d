"""Starts measured processes, builds programs, and runs the load program."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.noise import cpu_seconds

ROOT = Path(__file__).resolve().parent.parent.parent
# Time limit of a run.
RUN_SECONDS_MAX = 180


class Failed(Exception):
    """A run failed; the message says why."""


@contextmanager
def started(
    command: list[str], core: int | None, environment: dict[str, str] | None = None
) -> Iterator[tuple[subprocess.Popen, Iterable[str]]]:
    """Runs a process during the `with` block, and yields it with its lines of output.

    Kills the process at the end. Anything on its standard error makes the run fail.
    """
    # Use pipes, because Python for Windows does not start under Wine if its standard error is a file.
    process = subprocess.Popen(
        [*taskset(core), *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        text=True,
    )
    overdue = threading.Timer(RUN_SECONDS_MAX, process.kill)
    overdue.start()
    failure = None
    try:
        yield process, process.stdout
    except (Failed, OSError, ValueError) as error:
        failure = str(error)
    finally:
        overdue.cancel()
        process.kill()
        complaint = process.communicate()[1].strip()[-2000:].replace(f"{ROOT}/", "")
    if failure or complaint:
        raise Failed(": ".join(filter(None, [failure, complaint])))


def taskset(core: int | None) -> list[str]:
    """A prefix that pins a command to a core; empty without taskset or on a machine with one core."""
    program = shutil.which("taskset") if core is not None and (os.cpu_count() or 1) > 1 else None
    return [program, "--cpu-list", str(core)] if program else []


def told(output: Iterable[str]) -> Iterator[dict]:
    """Parses the lines of output that are JSON objects."""
    return (json.loads(line) for line in output if line.startswith("{"))


def cpu_per(unit: str, cpu: float, figures: dict[str, float]) -> float:
    """The server's CPU time: seconds per "gib" transferred, or microseconds per "message".

    Adds the rate and the server's share of a core to `figures`.
    """
    figures["server_share"] = cpu / figures["seconds"]
    if unit == "gib":
        passed = (figures["bytes_sent"] + figures["bytes_received"]) / 2**30
        if not passed:
            raise Failed("no byte came through in the measured time")
        figures["in_share"] = figures["bytes_sent"] / 2**30 / passed
        figures["mib_per_s"] = passed * 1024 / figures["seconds"]
        return cpu / passed
    if not figures["messages"]:
        raise Failed("no message came back in the measured time")
    figures["rate"] = figures["messages"] / figures["seconds"]
    return cpu / figures["messages"] * 1e6


def drive(
    load: str,
    arguments: Iterable[str],
    address: str,
    server: int,
    clock: Callable[[int], float | None] = cpu_seconds,
) -> tuple[float, dict[str, float]]:
    """Runs the load program against a server.

    Returns the server's CPU time during the measured time, which `clock` reads, and the program's figures.
    """
    command = [load, address, *arguments]
    with started(command, core=1) as (process, output):
        if output.readline().strip() != "measuring":
            raise Failed("the load program did not begin")
        before = clock(server)
        last = output.readline()
        after = clock(server)
        if process.wait() != 0 or not last:
            raise Failed("the load program failed")
    if before is None or after is None:
        raise Failed("this system does not tell the CPU time of another process")
    return after - before, json.loads(last)


def build(
    packages: Iterable[str],
    folder: str = "",
    features: Iterable[str] = (),
    triple: str | None = None,
) -> Path | None:
    """Builds packages of the workspace in `folder` in release mode, for `triple` or for this system.

    Returns the folder with the programs, or None if cargo is not installed.
    """
    cargo = shutil.which("cargo")
    if cargo is None:
        return None
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / folder
    command = [cargo, "build", "--quiet", "--release", "--target-dir", str(target)]
    command += [argument for package in packages for argument in ("--package", package)]
    command += [argument for feature in features for argument in ("--features", feature)]
    command += ["--target", triple] if triple else []
    if subprocess.run(command, cwd=ROOT / folder, check=False).returncode:
        raise SystemExit(f"`{' '.join(command)}` failed in `{ROOT / folder}`")
    return target / (triple or "") / "release"


def load_program(features: Iterable[str] = ()) -> str | None:
    """Builds the load program and returns its path, or None if cargo is not installed."""
    folder = build(["tidewaiter-load"], features=features)
    name = "tidewaiter-load" + (".exe" if os.name == "nt" else "")
    return str(folder / name) if folder else None


def raise_descriptor_limit() -> None:
    """Raises the limit of descriptors, for us and our children: connections need thousands."""
    try:
        import resource
    except ImportError:
        return
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def memory_kib(process: int, kind: str) -> float | None:
    """Memory of a live process, now ("VmRSS") or at its peak ("VmHWM"); None if the OS does not tell."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return None
    line = next((line for line in status.split("\n") if line.startswith(f"{kind}:")), None)
    return float(line.split()[1]) if line else None
