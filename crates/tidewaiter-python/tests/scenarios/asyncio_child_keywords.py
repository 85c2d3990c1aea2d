"""Keywords for child processes of asyncio programs: those of `Popen`, and those beyond them."""

import asyncio
import os
import subprocess
import sys

import tidewaiter.asyncio

from scenarios.asyncio_children import PIPE, Noted, output_of, python


def refused(_):
    """What the exceptions say of values that the keywords beyond `Popen`'s cannot have."""
    attempts = [
        {"terminal": "yes"},
        {"terminal": (30,)},
        {"terminal": (30, 1 << 16)},
        {"descriptors": 7},
        {"descriptors": {"x": "r"}},
        {"descriptors": {3: "pipe"}},
        {"descriptors": {3: None}},
        {"limits": 5},
        {"limits": {"memory": "1 MiB"}},
        {"limits": {"memory": -1}},
        {"nice": "low"},
        {"nice": 1000},
        {"cpus": ["first"]},
    ]

    async def main():
        outcome = []
        for options in attempts:
            try:
                await asyncio.create_subprocess_exec(*python(""), **options)
                outcome.append([f"{options}: started", ""])
            except Exception as error:
                outcome.append([type(error).__name__, str(error)])
        return outcome

    return tidewaiter.asyncio.run(main())


def keywords(_, folder):
    """Every keyword of `Popen` has its effect, whether the port serves it or `Popen` itself."""
    telling = {
        "cwd": "import os; print(os.path.basename(os.getcwd()))",
        "env": "import os; print(os.environ.get('TOLD'), os.environ.get('HOME'))",
        "umask": "import os; print(oct(os.umask(0)))",
        "session": "import os; print(os.getsid(0) == os.getpid())",
        "group": "import os; print(os.getpgid(0) == os.getpid())",
        "preexec_fn": "import os; print(os.getpriority(os.PRIO_PROCESS, 0))",
        "signals": "import signal; print(signal.getsignal(signal.SIGPIPE) == signal.SIG_IGN)",
    }

    async def main():
        code = telling
        outcome = {}
        reading, writing = os.pipe()
        listing = "import os, sys; os.write(int(sys.argv[1]), b'passed')"
        for name, program, options in (
            ("cwd", python(code["cwd"]), {"cwd": folder}),
            ("env", python(code["env"]), {"env": {"TOLD": "yes"}}),
            ("umask", python(code["umask"]), {"umask": 0o027}),
            ("start_new_session", python(code["session"]), {"start_new_session": True}),
            ("pass_fds", python(listing, writing), {"pass_fds": (writing,)}),
            ("executable", ["another name", "-S", "-c", "print('yes')"], {"executable": sys.executable}),
            ("preexec_fn", python(code["preexec_fn"]), {"preexec_fn": lambda: os.nice(3)}),
            ("close_fds", python("print('open')"), {"close_fds": False}),
            ("restore_signals", python(code["signals"]), {"restore_signals": False}),
        ):
            outcome[name] = await output_of(*program, **options)
        if sys.version_info >= (3, 11):
            outcome["process_group"] = await output_of(*python(code["group"]), process_group=0)
        if os.geteuid() == 0:
            outcome["user"] = await output_of("id", "-u", user=12345)
        outcome["passed"] = os.read(reading, 100).decode()
        os.close(reading)
        os.close(writing)
        return outcome

    return tidewaiter.asyncio.run(main())


def replaced_popen(_):
    """A program that replaces `subprocess.Popen` is heard."""
    heard = []

    class Popen(subprocess.Popen):
        def __init__(self, *arguments, **options):
            heard.append(arguments[0][-1])
            super().__init__(*arguments, **options)

    original, subprocess.Popen = subprocess.Popen, Popen
    try:
        told = tidewaiter.asyncio.run(output_of(*python("print(7)")))
    finally:
        subprocess.Popen = original
    return [heard, told]


def terminal(_):
    """A child on a terminal of its own, by keyword."""
    code = (
        "import os, sys\n"
        "size = os.get_terminal_size(1)\n"
        "print(sys.stdin.isatty(), size.lines, size.columns, flush=True)\n"
        "line = input()\n"
        "size = os.get_terminal_size(1)\n"
        "print('heard', line, size.lines, size.columns, flush=True)\n"
    )

    async def main():
        child = await asyncio.create_subprocess_exec(*python(code), terminal=(30, 100))
        seen = b""
        while b"100" not in seen:
            seen += await child.stdout.read(1000)
        child._transport.resize(40, 90)
        child.stdin.write(b"typed\r")
        seen += await child.stdout.read()
        return [await child.wait(), seen.decode().replace("\r", "").split("\n")]

    return tidewaiter.asyncio.run(main())


def further_descriptors(_):
    """Pipes at further descriptors, each with its direction."""

    async def main():
        loop = asyncio.get_running_loop()
        code = "import os; os.write(4, os.read(3, 100).upper()); os.write(5, os.read(5, 100) * 2)"
        pipes = {3: "w", 4: "r", 5: "rw"}
        transport, noted = await loop.subprocess_exec(Noted, *python(code), descriptors=pipes)
        transport.get_pipe_transport(3).write(b"three")
        transport.get_pipe_transport(5).write(b"five ")
        await noted.over
        data = dict.fromkeys(pipes, "")
        for call in noted.calls:
            if call[0] == "data":
                data[call[1]] += call[2]
        return [data[4], data[5], transport.get_returncode()]

    return tidewaiter.asyncio.run(main())


def tree(_):
    """`kill_tree=True`: a kill reaches what the child has started."""
    grandchild = (
        "import subprocess, sys, time; subprocess.Popen(sys.argv[1:]); print('ready', flush=True); time.sleep(60)"
    )

    async def main():
        program = python(grandchild, *python("import time; print('there', flush=True); time.sleep(60)"))
        child = await asyncio.create_subprocess_exec(*program, stdout=PIPE, kill_tree=True)
        lines = {(await child.stdout.readline()).strip().decode() for _ in range(2)}
        child.kill()
        code = await child.wait()
        # The pipe ends only once the grandchild has ended, too.
        rest = await asyncio.wait_for(child.stdout.read(), 20)
        return [sorted(lines), code, rest.decode()]

    return tidewaiter.asyncio.run(main())


def limited(_):
    """Limits by keyword: an address space too small for what the child wants."""

    async def main():
        code = "bytearray(2 << 30)"
        return (await output_of(*python(code), limits={"memory": 1 << 30}))[0]

    return tidewaiter.asyncio.run(main())
