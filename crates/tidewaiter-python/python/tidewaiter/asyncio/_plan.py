"""The keywords with which a child is asked for: those of `subprocess.Popen`, and those beyond."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from tidewaiter._programs import environment, text
from tidewaiter.asyncio._child_pipes import DuplexPipe, Pipe, ReadPipe, WritePipe

_PIPES: dict[object, type[Pipe]] = {"r": ReadPipe, "w": WritePipe, "rw": DuplexPipe}

# The keywords of `Popen` that only `Popen` itself can serve, unless they have the value that changes nothing.
_OF_POPEN = {
    "preexec_fn": None,
    "close_fds": True,
    "restore_signals": True,
    "user": None,
    "group": None,
    "extra_groups": None,
    "startupinfo": None,
    "pipesize": -1,
}
# The keywords of `Popen` that the port serves.
_SERVED = {
    "executable": None,
    "cwd": None,
    "env": None,
    "umask": -1,
    "start_new_session": False,
    "process_group": None,
    "pass_fds": (),
    "creationflags": 0,
}
# The keywords that `Popen` does not have.
_BEYOND = {
    "terminal": False,
    "descriptors": None,
    "kill_tree": False,
    "die_with_parent": False,
    "limits": None,
    "nice": None,
    "cpus": None,
}

# The keys of `limits`.
_NO_LIMITS = dict.fromkeys(("memory", "cpu_time", "open_files", "processes"))

# The flags of Windows that the port knows.
_NEW_GROUP, _NEW_CONSOLE, _DETACHED = 0x200, 0x10, 0x8
_PRIORITIES = {0x40: 19, 0x4000: 10, 0x20: 0, 0x8000: -7, 0x80: -14}


def _number(file: Any) -> int:
    """The descriptor of a file, as the port takes it: on Windows, its handle."""
    number = file if isinstance(file, int) else file.fileno()
    if sys.platform == "win32":
        import msvcrt

        return msvcrt.get_osfhandle(number)
    return number


def _check(options: Mapping[str, Any]) -> None:
    """Raise if a keyword that `Popen` does not have has a value that it cannot have."""
    terminal = options.get("terminal")
    if not isinstance(terminal, (bool, type(None))) and not _is_size(terminal):
        raise TypeError(f"terminal should be a bool or (rows, columns), not {terminal!r}")
    descriptors = options.get("descriptors")
    if not isinstance(descriptors, (Mapping, type(None))):
        raise TypeError(f"descriptors should map the child's descriptors to their targets, not be {descriptors!r}")
    for fd, target in (descriptors or {}).items():
        if not _is_number(fd, 1 << 31):
            raise TypeError(f"descriptors: {fd!r} is not the number of a descriptor")
        if isinstance(target, str):
            known = target in _PIPES
        else:
            known = isinstance(target, int) or hasattr(target, "fileno")
        if not known:
            raise TypeError(f"descriptors: {fd} should be 'r', 'w', 'rw', a number or a file, not {target!r}")
    limits = options.get("limits")
    if not isinstance(limits, (Mapping, type(None))):
        raise TypeError(f"limits should map names to numbers, not be {limits!r}")
    for name in limits or ():
        if name not in _NO_LIMITS:
            raise TypeError(f"unknown limit {name!r}: there are {', '.join(_NO_LIMITS)}")


def _is_number(value: object, end: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < end


def _is_size(value: object) -> bool:
    return isinstance(value, (tuple, list)) and len(value) == 2 and all(_is_number(item, 1 << 16) for item in value)


class Plan:
    """A child to start: the program, where its descriptors lead, and how it is confined."""

    def __init__(self, args: Any, shell: bool, streams: tuple[Any, Any, Any], options: Mapping[str, Any]) -> None:
        known = {**_OF_POPEN, **_SERVED, **_BEYOND}
        for name in options:
            if name not in known:
                raise TypeError(f"unexpected keyword argument {name!r}")
        _check(options)
        self._options = {**known, **options}
        self._asked = [name for name in _BEYOND if self._options[name] != _BEYOND[name]]
        self._shell = shell
        self._streams = streams
        self.args = args
        self.kill_tree = bool(self._options["kill_tree"])
        self._flags = int(self._options["creationflags"])
        self._targets: dict[int, object] = {}
        reason = [name for name, plain in _OF_POPEN.items() if self._options[name] != plain]
        if self._options["process_group"] not in (None, 0):
            reason.append("process_group")
        if self._other_flags():
            reason.append("creationflags")
        self.needs_popen = reason

    def _other_flags(self) -> int:
        """The flags that only `Popen` serves."""
        flags = self._flags & ~(_NEW_GROUP | _NEW_CONSOLE | _DETACHED)
        if sys.platform != "win32":
            # `Popen` refuses them.
            return self._flags
        return 0 if flags in _PRIORITIES else flags

    def refuse_popen(self) -> None:
        """Raise if something beyond `Popen` was asked for, which then has to start the child."""
        if self._asked:
            reason = ", ".join(self.needs_popen) or "a replaced subprocess.Popen"
            raise ValueError(f"{', '.join(self._asked)} cannot go with {reason}")

    def kind_of(self, fd: int) -> type[Pipe]:
        """The class of the transport of the pipe at the child's descriptor `fd`."""
        return _PIPES[self._targets[fd]]

    def program(self) -> dict[str, object]:
        """The program as the extension takes it."""
        options = self._options
        executable, args, raw = self._command()
        cwd = options["cwd"]
        if cwd is not None:
            cwd = text(cwd)
            if sys.platform != "win32" and "/" in executable:
                # The system looks for the program once it is in that directory.
                executable = os.path.join(cwd, executable)
        terminal = options["terminal"]
        self._targets = {0: "w", 1: "r"} if terminal else self._standard()
        for fd, target in (options["descriptors"] or {}).items():
            self._targets[fd] = target if isinstance(target, str) else _number(target)
        for fd in options["pass_fds"]:
            self._targets[fd] = fd
        return {
            "executable": executable,
            "args": args,
            "env": environment(options["env"]),
            "path": cwd,
            "fds": [item for item in self._targets.items() if item[0] > 2 or not terminal],
            "terminal": [] if terminal is True else tuple(terminal or ()) or None,
            "user": None,
            "confinement": self._confinement(raw),
        }

    def _command(self) -> tuple[str, list[str], str | None]:
        """The program, its arguments, and on Windows what follows them."""
        executable = self._options["executable"]
        if not self._shell:
            args = [text(arg) for arg in self.args]
            return args[0] if executable is None else text(executable), args, None
        if sys.platform == "win32":
            shell = os.environ.get("ComSpec") or os.path.join(os.environ["SystemRoot"], "System32", "cmd.exe")
            shell = shell if executable is None else text(executable)
            return shell, [shell], f'/c "{text(self.args)}"'
        shell = "/bin/sh" if executable is None else text(executable)
        return shell, [shell, "-c", text(self.args)], None

    def _standard(self) -> dict[int, object]:
        """Where the standard streams lead."""
        targets: dict[int, object] = {}
        for fd, stream in enumerate(self._streams):
            if stream is None:
                targets[fd] = "inherit"
            elif isinstance(stream, int) and stream == subprocess.PIPE:
                targets[fd] = "w" if fd == 0 else "r"
            elif isinstance(stream, int) and stream == subprocess.DEVNULL:
                targets[fd] = "null"
            elif isinstance(stream, int) and stream == subprocess.STDOUT:
                if fd != 2:
                    raise ValueError("STDOUT can only be used for stderr")
                targets[fd] = "output"
            else:
                targets[fd] = _number(stream)
        return targets

    def _confinement(self, raw: str | None) -> dict[str, object]:
        options = self._options
        umask, nice = options["umask"], options["nice"]
        console = "new" if self._flags & _NEW_CONSOLE else "none" if self._flags & _DETACHED else ""
        if sys.platform == "win32" and nice is None:
            nice = _PRIORITIES.get(self._flags & ~(_NEW_GROUP | _NEW_CONSOLE | _DETACHED))
        return {
            "group": self.kill_tree or options["process_group"] == 0 or bool(self._flags & _NEW_GROUP),
            "session": bool(options["start_new_session"]) and sys.platform != "win32",
            "dies_with_us": bool(options["die_with_parent"]),
            "umask": None if umask < 0 else umask,
            "nice": nice,
            "cpus": None if options["cpus"] is None else list(options["cpus"]),
            "limits": None if options["limits"] is None else {**_NO_LIMITS, **options["limits"]},
            "console": console or ("hidden" if raw else "ours"),
            "raw_arguments": raw,
        }
