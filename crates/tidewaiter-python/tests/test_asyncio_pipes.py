"""Transports of the asyncio loop for pipes, terminals and other descriptors of the application's."""

import asyncio
import gc
import os
import socket
import tempfile
import unittest

from support import WINDOWS, needs_posix, ports
from test_asyncio_loop import LoopTestCase


class Reader(asyncio.Protocol):
    """Records what it is told."""

    def __init__(self, loop):
        self.ended = loop.create_future()
        self.data = bytearray()
        self.told = []

    def connection_made(self, transport):
        self.transport = transport
        self.told.append("made")

    def data_received(self, data):
        self.data += data

    def eof_received(self):
        self.told.append("eof")
        return True

    def pause_writing(self):
        self.told.append("pause")

    def resume_writing(self):
        self.told.append("resume")

    def connection_lost(self, exc):
        self.told.append(None if exc is None else type(exc))
        self.ended.set_result(None)


def pipe():
    """Both ends of a pipe, as objects that asyncio takes on this system."""
    if WINDOWS:
        from asyncio.windows_utils import PipeHandle
        from asyncio.windows_utils import pipe as overlapped_pipe

        reader, writer = overlapped_pipe(overlapped=(True, True))
        return PipeHandle(reader), PipeHandle(writer)
    reader, writer = os.pipe()
    return open(reader, "rb", 0), open(writer, "wb", 0)


class Pipes(LoopTestCase):
    def setUp(self):
        super().setUp()
        self.reader, self.writer = pipe()
        self.addCleanup(self.reader.close)
        self.addCleanup(self.writer.close)

    def wait(self, awaitable):
        return self.loop.run_until_complete(asyncio.wait_for(awaitable, 10))

    def until(self, what):
        async def turns():
            while not what():
                await asyncio.sleep(0.001)

        self.wait(turns())

    def read(self, pipe=None):
        pipe = self.reader if pipe is None else pipe
        return self.wait(self.loop.connect_read_pipe(lambda: Reader(self.loop), pipe))

    def write(self, pipe=None):
        pipe = self.writer if pipe is None else pipe
        return self.wait(self.loop.connect_write_pipe(lambda: Reader(self.loop), pipe))

    def test_bytes_and_the_end_come_through(self):
        reading, reader = self.read()
        writing, writer = self.write()
        self.assertIsInstance(reading, asyncio.ReadTransport)
        self.assertIsInstance(writing, asyncio.WriteTransport)
        self.assertIs(reading.get_extra_info("pipe"), self.reader)
        self.assertIs(writing.get_extra_info("pipe"), self.writer)
        data = os.urandom(1_000_000)
        writing.write(data[:10])
        writing.writelines([data[10:1000], data[1000:]])
        writing.close()
        self.wait(writer.ended)
        self.wait(reader.ended)
        self.assertEqual(reader.data, data)
        self.assertEqual([told for told in writer.told if told not in ("pause", "resume")], ["made", None])
        self.assertEqual(reader.told, ["made", "eof", None])
        self.assertIn("closed", repr(reading))
        self.assertIn("closed", repr(writing))

    def test_closing_the_transport_closes_the_pipe(self):
        reading, reader = self.read()
        self.assertIn("open", repr(reading))
        reading.close()
        self.assertTrue(reading.is_closing())
        self.wait(reader.ended)
        self.assertEqual(reader.told, ["made", None])
        if WINDOWS:
            self.assertIsNone(self.reader.handle)
        else:
            self.assertTrue(self.reader.closed)

    def test_a_pause_holds_back_what_comes(self):
        reading, reader = self.read()
        writing, _ = self.write()
        reading.pause_reading()
        self.assertFalse(reading.is_reading())
        writing.write(b"held")
        self.run_turns(10)
        self.assertEqual(reader.data, b"")
        reading.resume_reading()
        self.until(lambda: reader.data == b"held")
        writing.abort()
        reading.close()
        self.run_turns(10)

    def test_the_writer_learns_that_nobody_reads(self):
        writing, writer = self.write()
        self.reader.close()
        self.until(lambda: writing.write(b"x") or writer.ended.done())
        self.assertIn(writer.told[-1], (None, BrokenPipeError))
        for _ in range(10):
            writing.write(b"x")

    def test_a_slow_reader_pauses_the_writer(self):
        writing, writer = self.write()
        data = bytes(1_000_000)
        writing.write(data)
        self.assertEqual(writer.told, ["made", "pause"])
        self.assertGreater(writing.get_write_buffer_size(), 0)
        reading, reader = self.read()
        self.until(lambda: len(reader.data) == len(data))
        self.until(lambda: "resume" in writer.told)
        writing.write_eof()
        self.wait(reader.ended)

    def test_what_a_protocol_raises_is_reported_and_the_transport_goes_on(self):
        reading, reader = self.read()
        writing, _ = self.write()

        def fail(data):
            reader.data += data
            raise ValueError("no")

        reader.data_received = fail
        writing.write(b"x")
        self.until(lambda: reader.data == b"x")
        writing.write(b"y")
        self.until(lambda: reader.data == b"xy")
        self.assertEqual([str(report["exception"]) for report in self.reports], ["no", "no"])
        writing.close()
        self.wait(reader.ended)

    def test_a_loop_may_be_closed_with_open_transports(self):
        reading, _ = self.read()
        writing, _ = self.write()
        self.loop.close()
        self.assertIn("open", repr(reading))
        self.assertIn("open", repr(writing))
        reading.close()
        reading._pipe = writing._pipe = None
        del reading, writing
        gc.collect()


@needs_posix
class UnixPipes(Pipes):
    def test_a_file_is_refused(self):
        for connect in (self.loop.connect_read_pipe, self.loop.connect_write_pipe):
            with tempfile.TemporaryFile() as file, self.assertRaises(ValueError):
                self.wait(connect(lambda: Reader(self.loop), file))

    def test_a_terminal_is_read_and_written(self):
        import tty

        master, slave = os.openpty()
        tty.setraw(slave)
        reading, reader = self.read(open(master, "rb", 0))
        writing, _ = self.write(open(slave, "wb", 0))
        writing.write(b"typed")
        self.until(lambda: reader.data == b"typed")
        writing.close()
        self.wait(reader.ended)

    def test_a_socket_is_read_and_written(self):
        ours, theirs = socket.socketpair()
        reading, reader = self.read(ours)
        writing, writer = self.write(theirs)
        writing.write(b"sent")
        self.until(lambda: reader.data == b"sent")
        reading.close()
        self.wait(writer.ended)

    def test_closing_one_direction_of_a_socket_leaves_the_other(self):
        ours, theirs = socket.socketpair()
        self.addCleanup(theirs.close)
        reading, reader = self.read(ours.dup())
        writing, writer = self.write(ours)
        reading.close()
        self.wait(reader.ended)
        writing.write(b"still")
        theirs.settimeout(10)
        self.assertEqual(theirs.recv(10), b"still")
        writing.close()
        self.wait(writer.ended)
        self.assertEqual(theirs.recv(10), b"")

    def test_other_users_of_the_pipe_are_not_made_to_wait_or_fail(self):
        os.set_blocking(self.reader.fileno(), True)
        reading, _ = self.read()
        self.assertTrue(os.get_blocking(self.reader.fileno()))
        reading.close()
        self.run_turns(5)


def load_tests(loader, tests, pattern):
    """Runs the tests on each port."""
    suite = unittest.TestSuite()
    for port in ports():
        kind = Pipes if WINDOWS else UnixPipes
        on_port = type(f"{kind.__name__}_{port}", (kind,), {"port": port})
        suite.addTests(loader.loadTestsFromTestCase(on_port))
    return suite


if __name__ == "__main__":
    unittest.main()
