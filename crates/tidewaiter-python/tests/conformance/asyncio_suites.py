"""The suites for asyncio: CPython's own, and those of projects on asyncio, from their source packages."""

from __future__ import annotations

import importlib.util
import os
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent

# Names of loops. Tests of others treat asyncio's own as any other, too.
OWN = "ProactorEventLoop" if os.name == "nt" else "SelectorEventLoop"
LOOPS = {"tidewaiter": "tidewaiter.asyncio:new_event_loop", "asyncio": f"asyncio:{OWN}"}

# CPython's modules that take the loop that asyncio gives them, and look at nothing inside it.
BLACK_BOX = (
    "buffered_proto",
    "context",
    "eager_task_factory",
    "locks",
    "pep492",
    "protocols",
    "queues",
    "runners",
    "server",
    "ssl",
    "sslproto",
    "staggered",
    "streams",
    "taskgroups",
    "threads",
    "timeouts",
    "transports",
    "waitfor",
)

MIXINS = (
    "EventLoopTests",
    "SubprocessTests",
    "SockTests",
    "SendfileTests",
    "StartServerTests",
    "BufferedProtocolTests",
    "StartTLSTests",
)

UVLOOP = (
    "process",
    "tcp",
    "aiohttp",
    "base",
    "context",
    "dns",
    "executors",
    "pipes",
    "signals",
    "sockets",
    "udp",
    "unix",
)

# The modules of aiohttp that use a loop, the longest ones first.
AIOHTTP = (
    "client_functional",
    "web_functional",
    "run_app",
    "connector",
    "client_ws_functional",
    "client_session",
    "proxy_functional",
    "web_websocket_functional",
    "web_sendfile_functional",
    "web_server",
    "web_runner",
    "web_protocol",
    "loop",
    "leaks",
    "test_utils",
)

# Our own settings, because those of the projects turn warnings to errors and distribute the tests to processes.
SETTINGS = "pytest.ini"


@dataclass(frozen=True)
class AsyncioSuite:
    """Tests that run on asyncio's default loop."""

    # The arguments of pytest that name the modules, given the folder of the unpacked source package.
    modules: Callable[[Path], list[str]]
    options: tuple[str, ...] = ()
    # The source package that has the tests, and its parts that they need. Not the package itself, which is installed.
    package: str | None = None
    parts: tuple[str, ...] = ("tests",)

    def arguments(self) -> list[str]:
        """The options of pytest, in the folder that the tests run in."""
        return ["-c", SETTINGS, "--rootdir", ".", *self.options]

    def unpack(self, sources: Path, folder: Path) -> None:
        """Fills the folder that the tests run in."""
        (folder / SETTINGS).write_text("[pytest]\n")
        if self.package is None:
            return
        [archive] = sources.glob(f"{self.package}-*.tar.gz")
        with tarfile.open(archive) as file:
            for member in file:
                member.name = member.name.partition("/")[2]
                if member.name.partition("/")[0] in self.parts:
                    file.extract(member, folder)


def environment(loop: str) -> dict[str, str]:
    """The environment in which this loop is asyncio's default one."""
    path = os.pathsep.join(filter(None, [str(HERE / "loops"), os.environ.get("PYTHONPATH")]))
    return {"TEST_LOOP": LOOPS.get(loop, loop), "PYTHONPATH": path}


def _black_box(_: Path) -> list[str]:
    names = [f"test.test_asyncio.test_{name}" for name in BLACK_BOX]
    return [name for name in names if importlib.util.find_spec(name) is not None]


def _files(folder: Path) -> list[str]:
    """All modules of tests, the largest ones first: they are likely to take longest."""
    files = sorted((folder / "tests").rglob("test_*.py"), key=lambda file: -file.stat().st_size)
    return [file.relative_to(folder).as_posix() for file in files]


def _named(*names: str) -> Callable[[Path], list[str]]:
    return lambda _: [f"tests/test_{name}.py" for name in names]


SUITES = {
    "mixins": AsyncioSuite(lambda folder: [f"{HERE / 'asyncio_mixins.py'}::{name}" for name in MIXINS]),
    "modules": AsyncioSuite(_black_box, ("--pyargs", "-p", "cpython_adapted")),
    "uvloop": AsyncioSuite(_named(*UVLOOP), ("-p", "uvloop_adapted", "-k", "AIO"), package="uvloop"),
    "anyio": AsyncioSuite(
        _files,
        (
            *("-o", "anyio_mode=auto", "-m", "not network"),
            *("-k", "not uvloop and not trio and not ipv6 and not dualstack"),
        ),
        package="anyio",
    ),
    "aiohttp": AsyncioSuite(
        _named(*AIOHTTP),
        ("-p", "no:anyio", "--aiohttp-loop=pyloop", "-m", "not dev_mode and not autobahn and not internal"),
        package="aiohttp",
        parts=("tests", "examples", "requirements"),
    ),
    "uvicorn": AsyncioSuite(_files, package="uvicorn"),
    "httpx": AsyncioSuite(_files, ("-p", "httpx_adapted", "-k", "not trio and not network"), package="httpx"),
    "httpcore": AsyncioSuite(_files, ("-k", "not trio"), package="httpcore"),
}
