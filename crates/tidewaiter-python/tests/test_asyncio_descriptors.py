"""`add_reader` and `add_writer` on each kind of descriptor that can be watched."""

import asyncio
import ctypes
import os
import select
import socket
import sys
import time
import unittest

from scenarios.asyncio_pairs import LoopTestCase, on_each_port
from support import needs_posix

needs_linux = unittest.skipUnless(sys.platform == "linux", "Linux alone has this kind of descriptor")


class Kinds(LoopTestCase):
    async def assert_ready(self, fd, *, reads=True, make_ready=lambda: None):
        """A callback is called once the descriptor is ready, and not before."""
        loop = asyncio.get_running_loop()
        add, remove = (loop.add_reader, loop.remove_reader) if reads else (loop.add_writer, loop.remove_writer)
        ready = loop.create_future()
        add(fd, lambda: ready.done() or ready.set_result(None))
        if reads:
            await asyncio.sleep(0.01)
            self.assertFalse(ready.done())
        make_ready()
        await asyncio.wait_for(ready, 10)
        self.assertTrue(remove(fd))
        self.assertEqual(loop.metrics()["watches"], 0)

    def pipe(self):
        ours, theirs = os.pipe()
        self.addCleanup(os.close, ours)
        self.addCleanup(os.close, theirs)
        return ours, theirs

    @on_each_port
    async def test_sockets(self):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            await self.assert_ready(ours, reads=False)
            await self.assert_ready(ours, make_ready=lambda: theirs.send(b"x"))

    @on_each_port
    async def test_listening_and_datagram_sockets(self):
        with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket(type=socket.SOCK_DGRAM) as udp:
            with socket.socket() as client:
                await self.assert_ready(listener, make_ready=lambda: client.connect(listener.getsockname()))
            udp.bind(("127.0.0.1", 0))
            await self.assert_ready(udp, make_ready=lambda: udp.sendto(b"x", udp.getsockname()))

    @needs_posix
    @on_each_port
    async def test_pipes(self):
        ours, theirs = self.pipe()
        await self.assert_ready(theirs, reads=False)
        await self.assert_ready(ours, make_ready=lambda: os.write(theirs, b"x"))

    @needs_posix
    @on_each_port
    async def test_the_end_of_a_pipe(self):
        ours, theirs = os.pipe()
        self.addCleanup(os.close, ours)
        await self.assert_ready(ours, make_ready=lambda: os.close(theirs))
        ours, theirs = os.pipe()
        self.addCleanup(os.close, theirs)
        os.set_blocking(theirs, False)
        with self.assertRaises(BlockingIOError):
            while True:
                os.write(theirs, bytes(4096))
        loop = asyncio.get_running_loop()
        broken = loop.create_future()
        loop.add_writer(theirs, lambda: broken.done() or broken.set_result(None))
        os.close(ours)
        await asyncio.wait_for(broken, 10)
        self.assertTrue(loop.remove_writer(theirs))

    @needs_posix
    @on_each_port
    async def test_terminals(self):
        master, slave = os.openpty()
        self.addCleanup(os.close, master)
        self.addCleanup(os.close, slave)
        for number in (master, slave):
            await self.assert_ready(number, reads=False)
        await self.assert_ready(master, make_ready=lambda: os.write(slave, b"from the program"))
        await self.assert_ready(slave, make_ready=lambda: os.write(master, b"typed\n"))

    @needs_linux
    @on_each_port
    async def test_counters_timers_and_other_selectors(self):
        libc = ctypes.CDLL(None, use_errno=True)
        number = libc.eventfd(0, os.O_NONBLOCK)
        self.addCleanup(os.close, number)
        await self.assert_ready(number, reads=False)
        await self.assert_ready(number, make_ready=lambda: os.write(number, (1).to_bytes(8, sys.byteorder)))
        timer = libc.timerfd_create(time.CLOCK_MONOTONIC, 0)
        self.addCleanup(os.close, timer)
        soon = (ctypes.c_long * 4)(0, 0, 0, 1_000_000)
        await self.assert_ready(timer, make_ready=lambda: libc.timerfd_settime(timer, 0, soon, None))
        ours, theirs = self.pipe()
        with select.epoll() as selector:
            selector.register(ours, select.EPOLLIN)
            await self.assert_ready(selector, make_ready=lambda: os.write(theirs, b"x"))

    @needs_linux
    @on_each_port
    async def test_processes(self):
        pid = os.posix_spawn(sys.executable, [sys.executable, "-S", "-c", "import time; time.sleep(60)"], os.environ)
        number = os.pidfd_open(pid)
        self.addCleanup(os.close, number)
        await self.assert_ready(number, make_ready=lambda: os.kill(pid, 9))
        os.waitpid(pid, 0)


if __name__ == "__main__":
    unittest.main()
