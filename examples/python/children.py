"""Runs a child on a terminal and one with pipes beside its standard streams. Run: python examples/python/children.py"""

import asyncio
import sys

import tidewaiter.asyncio

ON_A_TERMINAL = "import os; print('columns:', os.get_terminal_size(1).columns)"
WITH_PIPES = "import os; os.write(4, os.read(3, 100).upper())"


async def on_a_terminal():
    # The terminal takes the place of all three standard streams.
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", ON_A_TERMINAL, terminal=(24, 100))
    output = await child.stdout.read()
    await child.wait()
    print(output.decode(errors="replace").strip(), flush=True)


class Pipes(asyncio.SubprocessProtocol):
    def __init__(self):
        self.ended = asyncio.get_running_loop().create_future()

    def pipe_data_received(self, fd, data):
        print(f"from descriptor {fd}:", data.decode(), flush=True)

    def connection_lost(self, error):
        self.ended.set_result(error)


async def with_pipes():
    program = [sys.executable, "-c", WITH_PIPES]
    loop = asyncio.get_running_loop()
    # "w": we write, and the child reads.
    transport, protocol = await loop.subprocess_exec(Pipes, *program, descriptors={3: "w", 4: "r"})
    transport.get_pipe_transport(3).write(b"hello")
    await protocol.ended
    print("ended with code", transport.get_returncode(), flush=True)


async def main():
    await on_a_terminal()
    await with_pipes()


tidewaiter.asyncio.run(main())
