"""
The readers and writers of children, which are native on our loop: each scenario runs on asyncio's own loop, too, and
has the same outcome there.
"""

import asyncio
import functools
import gc
import subprocess
import sys
import unittest
import weakref

from scenarios.asyncio_pairs import LoopTestCase, on_each_port, until
from scenarios.asyncio_readers import outcome, turns
from support import ports
from tidewaiter.asyncio import Loop

PIPE = subprocess.PIPE
# Sends back each line, and an exclamation mark to its standard error.
ECHO = """
import sys
for line in sys.stdin.buffer:
    sys.stdout.buffer.write(line); sys.stdout.buffer.flush()
    sys.stderr.buffer.write(b"!"); sys.stderr.buffer.flush()
"""
SILENT = "import sys; sys.stdout.write('ready\\n'); sys.stdout.flush(); import time; time.sleep(100)"


async def start(program, *arguments, **options):
    options = {"stdin": PIPE, "stdout": PIPE, "stderr": PIPE, **options}
    return await asyncio.create_subprocess_exec(sys.executable, "-c", program, *arguments, **options)


async def ended(child):
    """Kills the child, and has it end."""
    if child.returncode is None:
        child.kill()
    await child.wait()
    for reader in (child.stdout, child.stderr):
        await reader.read()
    child.stdin.close()


def compared(scenario):
    """Makes a test of a scenario: runs it on asyncio's own loop and on ours, and compares the outcomes."""

    @functools.wraps(scenario)
    def test(case):
        own = asyncio.ProactorEventLoop if sys.platform == "win32" else asyncio.SelectorEventLoop
        expected = case.on(own(), scenario)
        for port in ports():
            with case.subTest(port):
                case.assertEqual(case.on(Loop(port), scenario), expected)

    return test


class ChildStreams(LoopTestCase):
    def on(self, loop, scenario):
        results = []

        async def test():
            results.append(await scenario(self))

        self.run_on(loop, test)
        return results, self.messages()

    def assert_native(self, child, native=True):
        """Checks whether the streams of a child are native, if the loop is ours."""
        if isinstance(asyncio.get_running_loop(), Loop):
            kinds = [type(child.stdin), type(child.stdout), type(child.stderr)]
            plain = [asyncio.StreamWriter, asyncio.StreamReader, asyncio.StreamReader]
            for kind, one in zip(kinds, plain, strict=True):
                self.assertIs(kind is not one, native)

    @compared
    async def test_lines_to_and_fro(self):
        child, results = await start(ECHO), []
        self.assert_native(child)
        for line in (b"first\n", b"second\n", b"x" * 50_000 + b"\n"):
            child.stdin.write(line)
            await child.stdin.drain()
            results.append((await child.stdout.readline() == line, await child.stderr.readexactly(1)))
        child.stdin.writelines([b"one\n", b"two\n"])
        results += [await child.stdout.readuntil(b"two"), await child.stdout.read(10)]
        child.stdin.close()
        await child.stdin.wait_closed()
        results += [await child.stdout.read(), await child.stderr.read(), await child.wait()]
        return [*results, child.stdout.at_eof(), child.stdin.is_closing()]

    @compared
    async def test_communicate(self):
        program = (
            "import sys; data = sys.stdin.buffer.read(); sys.stdout.buffer.write(data[::-1]); sys.exit(len(data) % 7)"
        )
        data = bytes(range(256)) * 4000
        results = []
        for given in (data, b""):
            child = await start(program)
            out, err = await child.communicate(given)
            results.append((out == given[::-1], err, child.returncode))
        return results

    @compared
    async def test_a_reader_that_is_full_pauses_the_pipe(self):
        child = await start("import sys; sys.stdout.buffer.write(bytes(range(250)) * 4000)", limit=1000)
        await until(lambda: "paused" in repr(child.stdout))
        received = await child.stdout.readexactly(10)
        while len(received) < 500_000:
            received += await child.stdout.read(10_000)
        received += await child.stdout.read()
        return received == bytes(range(250)) * 4000, await child.communicate(), child.returncode

    @compared
    async def test_a_line_that_exceeds_the_limit(self):
        # Each piece is one write, so that no reader sees a part of it.
        pieces = "os.write(1, b'x' * 5000)", r"os.write(1, b'x' * 5000 + b'\n')", "os.write(1, b'y')"
        program = "import os; " + "; os.read(0, 1); ".join(pieces)
        child = await start(program, limit=1000)
        results = []
        for _ in range(2):
            results.append(await outcome(child.stdout.readline()))
            child.stdin.write(b"!")
        return results, await child.stdout.read(), await child.wait()

    @compared
    async def test_drain_waits_while_the_child_does_not_read(self):
        child = await start(SILENT)
        await child.stdout.readline()
        child.stdin.write(b"x" * 1_000_000)
        task = asyncio.ensure_future(child.stdin.drain())
        await turns(10)
        results = [task.done(), await outcome(asyncio.wait_for(child.stdin.drain(), 0.01))]
        child.kill()
        results.append((await outcome(task))[0])
        await child.wait()
        results.append((await outcome(child.stdin.drain()))[0])
        await ended(child)
        return results

    @compared
    async def test_a_task_that_is_cancelled_leaves_everything_in_place(self):
        child = await start(ECHO)
        results = []
        for _ in range(3):
            task = asyncio.ensure_future(child.stdout.readline())
            await turns(3)
            task.cancel()
            results.append(await outcome(task))
        child.stdin.write(b"whole\n")
        results.append(await child.stdout.readline())
        await ended(child)
        return results

    @compared
    async def test_private_attributes(self):
        child, results = await start(ECHO), []
        child.stdin.write(b"some bytes\n")
        await until(lambda: " bytes" in repr(child.stdout))
        results += [bytes(child.stdout._buffer).strip(), child.stdout._eof, child.stdout._paused]
        del child.stdout._buffer[:5]
        results.append((await child.stdout.readline()).strip())
        waiting = asyncio.ensure_future(child.stdout.readline())
        child.stdin.write(b"more\n")
        results.append((await waiting).strip())
        child.stdin.other = 5
        child.stdin.write(b"last\n")
        await child.stdin.drain()
        results.append((await child.stdout.readline()).strip())
        await ended(child)
        return results

    @compared
    async def test_methods_that_a_program_replaces(self):
        child, fed = await start(ECHO), []
        child.stdout.feed_data = fed.append
        child.stdin.write(b"x\n")
        await until(lambda: fed)
        await child.stderr.readexactly(1)
        del child.stdout.feed_data
        protocol = child._protocol
        protocol.pipe_data_received = lambda fd, data: fed.append((fd, data.strip()))
        child.stdin.write(b"y\n")
        await until(lambda: len(fed) == 3)
        await ended(child)
        return fed[0].strip(), sorted(fed[1:])

    @on_each_port
    async def test_debug_mode(self):
        asyncio.get_running_loop().set_debug(True)
        child = await start(ECHO)
        self.assert_native(child, native=False)
        child.stdin.write(b"x\n")
        self.assertEqual((await child.stdout.readline()).strip(), b"x")
        await ended(child)

    @on_each_port
    async def test_nothing_of_a_child_stays(self):
        child = await start(ECHO)
        child.stdin.write(b"x\n")
        await child.stdin.drain()
        await child.stdout.readline()
        await ended(child)
        alive = [weakref.ref(one) for one in (child, child.stdout, child.stdin, child._protocol)]
        del child
        await until(lambda: gc.collect() >= 0 and not any(reference() for reference in alive))


if __name__ == "__main__":
    unittest.main()
