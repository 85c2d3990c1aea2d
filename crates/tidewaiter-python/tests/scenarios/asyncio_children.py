"""Child processes of asyncio programs."""

import asyncio
import errno
import gc
import os
import signal
import subprocess
import sys
import threading
import time

import tidewaiter.asyncio

from scenarios.holdings import Holdings, descriptors

PIPE, DEVNULL, STDOUT = subprocess.PIPE, subprocess.DEVNULL, subprocess.STDOUT
WINDOWS = sys.platform == "win32"
BLOCKED = [sys.executable, "-S", "-c", "import time; time.sleep(3600)"]
COPY = [sys.executable, "-S", "-c", "import shutil, sys; shutil.copyfileobj(sys.stdin.buffer, sys.stdout.buffer)"]


def python(code, *arguments):
    return [sys.executable, "-S", "-c", code, *map(str, arguments)]


async def output_of(*program, **options):
    """The code, the output and the error output of a program."""
    child = await asyncio.create_subprocess_exec(*program, stdout=PIPE, stderr=PIPE, **options)
    output, errors = await child.communicate()
    return [child.returncode, output.decode(), errors.decode()]


async def _until(condition, seconds=20.0):
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "it did not happen"
        await asyncio.sleep(0.01)


def _is_there(pid):
    """Whether a process has this ID, even if it is only a zombie."""
    try:
        os.kill(pid, 0)
        return True
    except ProcessLookupError:
        return False


class Noted(asyncio.SubprocessProtocol):
    """Records callbacks, and calls the given function in them."""

    def __init__(self, happened=None):
        self.calls = []
        self.happened = happened or (lambda call: None)
        self.over = asyncio.get_running_loop().create_future()
        self.transport = None

    def _note(self, *call):
        self.calls.append(call)
        self.happened(call[0])

    def connection_made(self, transport):
        self.transport = transport
        self._note("made")

    def pipe_data_received(self, fd, data):
        self._note("data", fd, data.decode())

    def pipe_connection_lost(self, fd, exc):
        self._note("lost", fd, type(exc).__name__)

    def process_exited(self):
        self._note("exited")

    def connection_lost(self, exc):
        self.over.set_result(None)
        self._note("over", exc)


def order(_):
    """The callbacks of one child in their order, and what its transport says between and afterwards."""

    async def main():
        loop = asyncio.get_running_loop()
        code = "import sys; print('out', flush=True); print('err', file=sys.stderr, flush=True); sys.exit(int(input()))"
        transport, noted = await loop.subprocess_exec(Noted, *python(code))
        before = [transport.get_returncode(), transport.is_closing(), transport.get_protocol() is noted]
        stdin = transport.get_pipe_transport(0)
        stdin.write(b"7\n")
        stdin.close()
        await noted.over
        calls = [list(call) for call in noted.calls]
        try:
            transport.kill()
            raised = None
        except ProcessLookupError:
            raised = "ProcessLookupError"
        transport.close()
        kinds = [
            isinstance(transport, asyncio.SubprocessTransport),
            isinstance(stdin, asyncio.WriteTransport),
            isinstance(transport.get_pipe_transport(1), asyncio.ReadTransport),
            isinstance(transport.get_extra_info("subprocess"), subprocess.Popen),
        ]
        after = [transport.get_returncode(), transport.is_closing(), stdin.is_closing(), raised]
        return {"calls": calls, "before": before, "after": after, "kinds": kinds}

    return tidewaiter.asyncio.run(main())


def reaped(_, count):
    """Whether the IDs of children that end together are still taken when their ends are reported, and what helped."""

    async def main():
        loop = asyncio.get_running_loop()
        seen = []
        made = [await loop.subprocess_exec(Noted, *python("raise SystemExit(3)")) for _ in range(count)]
        for transport, noted in made:
            pid = transport.get_pid()
            noted.happened = lambda what, pid=pid: seen.append(_is_there(pid)) if what == "exited" else None
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        await asyncio.gather(*(noted.over for _, noted in made))
        return {
            "seen": seen,
            "codes": [transport.get_returncode() for transport, _ in made],
            "threads": threading.active_count(),
            "handler": signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL,
        }

    # One thread watches over the scenario.
    outcome = tidewaiter.asyncio.run(main())
    outcome["threads"] -= 2
    return outcome


def streams(_, folder):
    """Where the standard streams can lead."""
    file, both = os.path.join(folder, "file"), os.path.join(folder, "both")
    code = "import sys; print('out', flush=True); print('err', file=sys.stderr, flush=True)"

    async def main():
        outcome = {}
        with open(file, "wb") as out, open(both, "wb") as every:
            child = await asyncio.create_subprocess_exec(*python(code), stdin=DEVNULL, stdout=out, stderr=DEVNULL)
            outcome["file"] = [await child.wait(), child.stdin, child.stdout]
            options = {"stdout": every.fileno(), "stderr": STDOUT}
            child = await asyncio.create_subprocess_exec(*python(code), **options)
            outcome["number"] = await child.wait()
        with open(file) as written, open(both) as written_too:
            outcome["written"] = [written.read().split(), written_too.read().split()]
        child = await asyncio.create_subprocess_exec(*python(code), stdout=PIPE, stderr=STDOUT)
        outcome["stdout"] = [text.decode().split() if text else text for text in await child.communicate()]
        child = await asyncio.create_subprocess_exec(*COPY, stdin=DEVNULL, stdout=PIPE)
        outcome["null"] = (await child.communicate())[0].decode()
        with open(file, "rb") as given:
            child = await asyncio.create_subprocess_exec(*COPY, stdin=given, stdout=PIPE)
            outcome["given"] = (await child.communicate())[0].decode().split()
        child = await asyncio.create_subprocess_shell("echo shell && exit 5", stdout=PIPE)
        outcome["shell"] = [(await child.communicate())[0].decode().strip(), child.returncode]
        return outcome

    return tidewaiter.asyncio.run(main())


def real_pipes(_):
    """Children open their own streams by name, and programs look at our ends of the pipes."""

    async def main():
        child = await asyncio.create_subprocess_shell("cat /dev/stdin > /dev/stdout", stdin=PIPE, stdout=PIPE)
        transport = child._transport
        pipes = [transport.get_pipe_transport(fd).get_extra_info("pipe") for fd in (0, 1)]
        modes = [pipe.mode for pipe in pipes]
        numbers = [os.fstat(pipe.fileno()).st_mode & 0o170000 == 0o010000 for pipe in pipes]
        output, _ = await child.communicate(b"by name")
        return [output.decode(), child.returncode, modes, numbers, [pipe.closed for pipe in pipes]]

    return tidewaiter.asyncio.run(main())


def errors(_, folder):
    """A start that fails raises as `subprocess.Popen` does, and leaves nothing behind."""
    plain = os.path.join(folder, "plain")
    with open(plain, "w") as file:
        file.write("no program")
    missing = os.path.join(folder, "missing")
    attempts = {
        "missing": ([missing], {}),
        "not in PATH": (["tidewaiter-is-not-there"], {}),
        "not executable": ([plain], {}),
        "no directory": (python(""), {"cwd": missing}),
        "NUL": (python("a\0b"), {}),
        "variable": (python(""), {"env": {"A=B": "1"}}),
        "keyword": (python(""), {"unheard_of": 1}),
        "closed descriptor": (python(""), {"stdout": 9999}),
        "text": (python(""), {"text": True}),
        "stdin to stdout": (python(""), {"stdin": STDOUT}),
        "both ways": (python(""), {"kill_tree": True, "close_fds": False}),
    }

    async def main():
        outcome = {}
        for name, (program, options) in attempts.items():
            try:
                await asyncio.create_subprocess_exec(*program, **{"stdout": PIPE, **options})
                outcome[name] = "started"
            except Exception as error:
                number = getattr(error, "errno", None)
                told = str(getattr(error, "filename", None))
                outcome[name] = [type(error).__name__, errno.errorcode.get(number), os.path.basename(told)]
        return outcome

    before = descriptors()
    outcome = tidewaiter.asyncio.run(main())
    gc.collect()
    return {**outcome, "left": descriptors() - before}


def cancelled(_, rounds):
    """Cancels at every await; nothing is left of the children, and none runs on."""

    async def at(seconds, work):
        task = asyncio.ensure_future(work())
        await asyncio.sleep(seconds)
        task.cancel()
        try:
            return await task
        except asyncio.CancelledError:
            return None

    async def at_every_await(number):
        loop = asyncio.get_running_loop()
        task = loop.create_task(asyncio.create_subprocess_exec(*BLOCKED, stdin=PIPE, stdout=PIPE))
        loop.call_soon(task.cancel)
        await asyncio.wait([task])
        if not task.cancelled():
            child = task.result()
            await at(0.001 * (number % 3), child.wait)
            await at(0.001 * (number % 3), child.communicate)
            child.kill()
            await child.wait()
        # Also for what only Popen can do.
        task = loop.create_task(asyncio.create_subprocess_exec(*BLOCKED, close_fds=False, stdout=PIPE))
        loop.call_soon(task.cancel)
        await asyncio.wait([task])
        if not task.cancelled():
            task.result().kill()
            await task.result().wait()

    async def settled():
        loop = asyncio.get_running_loop()
        await _until(lambda: loop.metrics()["children"] == 0 and not loop._children)
        gc.collect()
        return Holdings()

    async def main():
        # The first one opens what all others share.
        await at_every_await(0)
        before = await settled()
        for number in range(rounds):
            await at_every_await(number)
        return (await settled()).since(before)

    outcome = tidewaiter.asyncio.run(main())
    return {"left": outcome, "zombies": _zombies()}


def _zombies():
    """Whether this process has children of any kind."""
    if WINDOWS:
        return False
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        return True
    except ChildProcessError:
        return False


def broken_pipes(_, own):
    """Tell what a program learns of the ends of pipes and what a waiting writer does, here or on asyncio's own loop."""

    async def main():
        loop = asyncio.get_running_loop()
        told = {}
        for case in ("unsent", "sent", "closed", "aborted"):
            transport, noted = await loop.subprocess_exec(Noted, *BLOCKED)
            stdin = transport.get_pipe_transport(0)
            if case in ("unsent", "aborted"):
                stdin.write(bytes(1 << 20))
            if case == "closed":
                stdin.close()
                transport.get_pipe_transport(1).close()
            if case == "aborted":
                stdin.abort()
            transport.kill()
            await noted.over
            transport.close()
            told[case] = sorted(list(call[1:]) for call in noted.calls if call[0] == "lost")
        child = await asyncio.create_subprocess_exec(*BLOCKED, stdin=PIPE)
        child.stdin.write(bytes(1 << 20))
        loop.call_soon(child.kill)
        try:
            await child.stdin.drain()
        except ConnectionError as error:
            told["drain"] = type(error).__name__
        await child.wait()
        return told

    return asyncio.run(main()) if own else tidewaiter.asyncio.run(main())


def closed_loop(_):
    """Closes a loop whose children run: they are killed and reaped, and their transports closed."""
    loop = tidewaiter.asyncio.Loop()
    before = descriptors()

    async def begin():
        children = [await loop.subprocess_exec(asyncio.SubprocessProtocol, *BLOCKED) for _ in range(3)]
        if not WINDOWS:
            children.append(await loop.subprocess_exec(asyncio.SubprocessProtocol, *BLOCKED, close_fds=False))
        return [transport for transport, _ in children]

    transports = loop.run_until_complete(begin())
    pids = [transport.get_pid() for transport in transports]
    loop.close()
    closing = [transport.is_closing() for transport in transports]
    there = [] if WINDOWS else [pid for pid in pids if _is_there(pid)]
    del transports
    gc.collect()
    return {"closing": closing, "there": there, "zombies": _zombies(), "left": not WINDOWS and descriptors() >= before}


def many(_, count, at_once):
    """Runs many children with pipes. Returns what is left of them."""

    async def some(number):
        for _ in range(number):
            child = await asyncio.create_subprocess_exec("/bin/echo", "hello", stdin=PIPE, stdout=PIPE)
            assert (await child.communicate(b"x"))[0] == b"hello\n"

    async def main():
        loop = asyncio.get_running_loop()
        await asyncio.gather(*(some(3) for _ in range(at_once)))
        gc.collect()
        before = Holdings()
        await asyncio.gather(*(some(count // at_once) for _ in range(at_once)))
        await _until(lambda: loop.metrics()["children"] == 0)
        gc.collect()
        return {**Holdings().since(before), "children": len(loop._children)}

    outcome = tidewaiter.asyncio.run(main())
    return {"left": outcome, "zombies": _zombies()}


def flow(_, size):
    """Writes more to a child than the pipe holds, and reads more than the stream holds."""

    async def main():
        loop = asyncio.get_running_loop()
        asked = []

        class Flow(Noted):
            def pause_writing(self):
                asked.append("pause")

            def resume_writing(self):
                asked.append("resume")

        code = "import sys; print(len(sys.stdin.buffer.read()), flush=True)"
        transport, noted = await loop.subprocess_exec(Flow, *python(code))
        stdin = transport.get_pipe_transport(0)
        stdin.set_write_buffer_limits(high=1000)
        limits = stdin.get_write_buffer_limits()
        for _ in range(3):
            stdin.write(bytearray(b"x" * size))
        stdin.writelines([b"y", memoryview(b"z")])
        queued, early = stdin.get_write_buffer_size(), list(asked)
        stdin.write(b"\n")
        await _until(lambda: asked[-1:] == ["resume"] or noted.over.done())
        stdin.write_eof()
        await noted.over
        received = "".join(call[2] for call in noted.calls if call[0] == "data")

        child = await asyncio.create_subprocess_exec(*python(f"print('x' * {size})"), stdout=PIPE, limit=1000)
        stdout = child._transport.get_pipe_transport(1)
        await _until(lambda: not stdout.is_reading())
        output = await child.stdout.read()
        return {
            "limits": list(limits),
            "queued": queued > 1000,
            "early": early,
            "asked": asked,
            "received": received.strip(),
            "read": len(output.strip()),
        }

    return tidewaiter.asyncio.run(main())


def raising(_):
    """A protocol that raises in every callback: the loop's exception handler hears of each, and the child goes on."""

    async def main():
        heard = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda loop, context: heard.append(str(context["exception"])))

        def happened(call):
            raise ValueError(call)

        transport, noted = await loop.subprocess_exec(lambda: Noted(happened), *python("print('x', end='')"))
        await noted.over
        await _until(lambda: "over" in heard)
        return {"heard": sorted(heard), "code": transport.get_returncode()}

    return tidewaiter.asyncio.run(main())


def exits_in_callback(_):
    """`SystemExit` in a callback ends the loop's run, as in asyncio."""

    async def main():
        loop = asyncio.get_running_loop()

        def happened(call):
            if call == "exited":
                raise SystemExit(9)

        _, noted = await loop.subprocess_exec(lambda: Noted(happened), *python("pass"))
        await noted.over
        await asyncio.sleep(30)

    try:
        tidewaiter.asyncio.run(main())
    except SystemExit as exit:
        return exit.code


def wait_before_pipes(_):
    """`wait` returns at the child's end, although another process still has its output."""
    code = "import subprocess, sys; print(subprocess.Popen(sys.argv[1:]).pid, flush=True)"

    async def main():
        sleeper = python("import time; time.sleep(60)")
        child = await asyncio.create_subprocess_exec(*python(code, *sleeper), stdout=PIPE)
        pid = int(await child.stdout.readline())
        code_of_child = await asyncio.wait_for(child.wait(), 20)
        os.kill(pid, getattr(signal, "SIGKILL", signal.SIGTERM))
        return [code_of_child, (await asyncio.wait_for(child.stdout.read(), 20)).decode()]

    return tidewaiter.asyncio.run(main())


def in_context(_):
    """The callbacks of a child run in the context in which it was started."""
    import contextvars

    variable = contextvars.ContextVar("variable", default="none")

    async def main():
        seen = []
        loop = asyncio.get_running_loop()
        variable.set("starter")
        noted = Noted(lambda call: seen.append([call, variable.get()]))
        await loop.subprocess_exec(lambda: noted, *python("print(1)"))
        variable.set("later")
        await noted.over
        return sorted(seen)

    return tidewaiter.asyncio.run(main())
