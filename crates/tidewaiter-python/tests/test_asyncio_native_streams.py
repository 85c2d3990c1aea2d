"""
Readers and writers of asyncio's streams, whose hot methods are native on our loop: each scenario runs on asyncio's own
loop, too, and has the same outcome there.
"""

import asyncio
import contextvars
import os
import socket
import unittest
import warnings

from scenarios.asyncio_pairs import ADDRESS, until
from scenarios.asyncio_readers import ReaderTestCase, compared, outcome, shown, turns
from tidewaiter.asyncio import Loop

POSIX = os.name == "posix"
SEPARATORS = [b"\n", b"--", bytearray(b"-"), b"", 5, None, "-", ["-"], (), (b"--", b"-"), (b"", b"-"), memoryview(b"-")]
# Python for Windows has its library in a file, compiled without them.
HAS_ASSERTIONS = "feed_data after feed_eof" in asyncio.StreamReader.feed_data.__code__.co_consts
SIZES = [0, 1, 5, 100, -1, True, None, "1", 1.0, 2**70, -(2**70)]


def reset_or_end(result):
    """The name of the exception that tells of a reset. Wine may tell an end of file instead."""
    told = result[0] if isinstance(result, tuple) else result
    return told if POSIX else told in (b"", None, "ConnectionAbortedError", "ConnectionResetError")


class Reading(ReaderTestCase):
    @compared()
    async def test_each_method_takes_what_it_should(self, ends):
        reader, results = ends.reader, []
        await ends.send(b"a line\nanother\n-one-two--three\n rest")
        results += [await reader.readline(), await reader.readline(), await reader.read(3)]
        results += [await reader.readuntil(b"--"), await reader.readuntil()]
        results += [await reader.readexactly(2), reader.at_eof(), reader.exception()]
        await ends.send(b"!" * 10)
        await ends.end()
        results += [await reader.readexactly(4), reader.at_eof(), await reader.read(), reader.at_eof()]
        return [*results, await reader.read(), await reader.read(5), await reader.readline(), repr(type(reader))]

    @compared()
    async def test_sizes_of_each_kind(self, ends):
        results = []
        await ends.send(b"x" * 300)
        await ends.end()
        for size in SIZES:
            results.append((size, await outcome(ends.reader.read(size))))
            if not isinstance(size, float):
                results.append((size, await outcome(ends.reader.readexactly(size)), ends.held()))
        return results

    def test_separators_of_each_kind(self):
        for separator in SEPARATORS:

            async def scenario(ends, separator=separator):
                await ends.send(b"a-b--c\n-\n")
                await ends.end()
                results = [await outcome(ends.reader.readuntil(separator)) for _ in range(6)]
                return results, await ends.reader.read()

            with self.subTest(separator):
                self.compare(scenario)

    @compared()
    async def test_wrong_arguments(self, ends):
        reader, results = ends.reader, []
        calls = [reader.readline, reader.readexactly, reader.read, reader.readuntil, reader.at_eof, ends.writer.drain]
        for call in calls:
            for arguments in ([], [1, 2], [1, 2, 3]):
                try:
                    made = call(*arguments)
                except TypeError:
                    results.append("TypeError")
                else:
                    results.append(asyncio.iscoroutine(made))
                    if asyncio.iscoroutine(made):
                        made.close()
        return results

    @compared(limit=8)
    async def test_limits(self, ends):
        reader, results = ends.reader, []
        for data in (b"12345678\n", b"123456789\nmore\n", b"x" * 9, b"x" * 15 + b"\n", b"x" * 16):
            await ends.send(data)
            results.append((await outcome(reader.readuntil()), ends.held()))
            if ends.held():
                results.append((await outcome(reader.readline()), ends.held()))
            results.append(await reader.readexactly(ends.held()))
        for data in (b"0123456-" * 2, b"--------=-=", b"1234567890123"):
            await ends.send(data)
            results.append((await outcome(reader.readuntil(b"=-=")), ends.held()))
            results.append(await reader.readexactly(ends.held()))
        return results

    @compared()
    async def test_the_end_leaves_something_incomplete(self, ends):
        reader, results = ends.reader, []
        calls = [reader.readline, reader.readuntil, lambda: reader.readexactly(5), lambda: reader.read(5)]
        waiting = asyncio.ensure_future(reader.readexactly(5))
        await ends.send(b"abc")
        await ends.end()
        results.append(await outcome(waiting))
        for call in calls:
            results += [await outcome(call()), reader.at_eof()]
        return results

    @compared()
    async def test_lines_by_iteration(self, ends):
        ends.client.sendall(b"one\n\ntwo\nthree")
        ends.client.shutdown(socket.SHUT_WR)
        return [line async for line in ends.reader]

    @compared(limit=1000)
    async def test_a_reader_that_is_full_pauses_the_connection(self, ends):
        reader, transport = ends.reader, ends.writer.transport
        sent = bytes(range(250)) * 4000
        ends.client.setblocking(False)
        loop = asyncio.get_running_loop()
        sending = loop.create_task(loop.sock_sendall(ends.client, sent))
        received, states = b"", []
        await until(lambda: "paused" in repr(reader))
        states.append(transport.is_reading())
        received += await reader.readexactly(1)
        states.append(transport.is_reading())
        while len(received) < 500_000:
            received += await reader.read(10_000)
        received += await reader.readexactly(len(sent) - len(received))
        await sending
        return states, received == sent, "paused" in repr(reader), transport.is_reading()

    @compared(limit=100)
    async def test_more_than_the_limit_to_the_end(self, ends):
        loop = asyncio.get_running_loop()
        ends.client.setblocking(False)

        async def send():
            for _ in range(200):
                await loop.sock_sendall(ends.client, b"0123456789" * 30)
            ends.client.shutdown(socket.SHUT_WR)

        sending = loop.create_task(send())
        received = await ends.reader.read()
        await sending
        return received == b"0123456789" * 6000

    @compared()
    async def test_bytes_that_the_program_feeds(self, ends):
        reader, results = ends.reader, []
        reader.feed_data(b"")
        for data in (b"bytes", bytearray(b"array"), memoryview(b"view"), [1, 2, 3]):
            reader.feed_data(data)
            results.append(await reader.read(3))
        waiting = asyncio.ensure_future(reader.readuntil(b"!"))
        await turns(3)
        for wrong in ("text", 5, None, [1000]):
            try:
                reader.feed_data(wrong)
            except Exception as problem:
                results.append(type(problem).__name__)
        reader.feed_data(b"...!")
        results.append(await waiting)
        reader.feed_eof()
        reader.feed_eof()
        return [*results, repr(reader).split(" transport")[0], await reader.read(), reader.at_eof()]

    @unittest.skipUnless(HAS_ASSERTIONS, "asyncio was compiled without its assertions")
    @compared()
    async def test_nothing_is_fed_after_the_end(self, ends):
        ends.reader.feed_eof()
        try:
            ends.reader.feed_data(b"more")
        except AssertionError as problem:
            return shown(problem)


class Waiting(ReaderTestCase):
    @compared()
    async def test_two_tasks_cannot_wait(self, ends):
        reader = ends.reader
        calls = [reader.read, reader.readline, reader.readuntil, lambda: reader.readexactly(5), lambda: reader.read(5)]
        first = asyncio.ensure_future(reader.readexactly(3))
        await turns(2)
        results = [await outcome(call()) for call in calls]
        ends.client.sendall(b"abc")
        return [*results, await first]

    @compared()
    async def test_a_cancelled_task_leaves_everything_in_place(self, ends):
        reader, results = ends.reader, []
        for call in (reader.readline, reader.read, lambda: reader.readexactly(9), lambda: reader.readuntil(b"..")):
            for steps in range(4):
                task = asyncio.ensure_future(call())
                await turns(steps)
                task.cancel()
                results.append(await outcome(task))
        await ends.send(b"whole")
        results.append(await outcome(asyncio.wait_for(reader.readline(), 0.01)))
        return [*results, await reader.read(100)]

    @compared()
    async def test_cancelled_at_each_moment(self, ends):
        """Nothing is lost or told twice, wherever a cancellation meets the bytes."""
        reader, received, sent = ends.reader, b"", b""
        for number in range(60):
            task = asyncio.ensure_future(reader.readexactly(3))
            await turns(number % 4)
            if number % 3:
                ends.client.sendall(b"%3d" % number)
                sent += b"%3d" % number
            await turns(number % 7)
            task.cancel()
            result = await outcome(task)
            received += result if isinstance(result, bytes) else b""
        ends.client.shutdown(socket.SHUT_WR)
        received += await reader.read()
        return received == sent, sent

    @compared()
    async def test_an_exception_of_the_program_wakes_the_task(self, ends):
        reader, writer, results = ends.reader, ends.writer, []
        waiting = asyncio.ensure_future(reader.readline())
        await turns(2)
        reader.set_exception(ValueError("mine"))
        results.append(await outcome(waiting))
        for call in (reader.read, reader.readline, reader.readuntil, lambda: reader.readexactly(1), writer.drain):
            results.append(await outcome(call()))
        return [*results, shown(reader.exception()), repr(reader).split(" transport")[0]]

    @compared()
    async def test_a_reset_wakes_the_task(self, ends):
        waiting = asyncio.ensure_future(ends.reader.readline())
        await turns(3)
        ends.reset()
        results = [await outcome(waiting)]
        # An end of file would leave the connection open.
        for call in (ends.reader.read, ends.writer.drain, ends.writer.wait_closed) if POSIX else ():
            results.append(await outcome(call()))
        return [reset_or_end(result) for result in results]

    @compared()
    async def test_a_task_that_waits_shows_it(self, ends):
        task = asyncio.ensure_future(ends.reader.readexactly(5))
        task.set_name("a task")
        await turns(2)
        waiter = task._fut_waiter
        told = [asyncio.isfuture(waiter), isinstance(waiter, asyncio.Future), waiter.done(), waiter.cancelled()]
        told += [waiter.get_loop() is asyncio.get_running_loop(), repr(waiter), task.get_coro().__qualname__]
        for call in (waiter.result, waiter.exception):
            try:
                call()
            except asyncio.InvalidStateError as problem:
                told.append(str(problem))
        calls = []
        for callback in (calls.append, print, print):
            waiter.add_done_callback(callback)
        told += [waiter.remove_done_callback(print), "waiter=<Future pending" in repr(ends.reader)]
        told += [waiter.cancel("why"), waiter.cancel(), waiter.cancelled(), waiter.done()]
        told.append(await outcome(task))
        return [*told, calls == [waiter], repr(waiter)]

    @compared()
    async def test_in_the_context_of_the_task(self, ends):
        variable = contextvars.ContextVar("variable", default="none")

        async def read(value):
            variable.set(value)
            return await ends.reader.read(10), variable.get()

        results = []
        for value in ("first", "second"):
            task = asyncio.ensure_future(read(value))
            await turns(2)
            ends.client.sendall(b"x")
            results.append(await task)
        return results, variable.get()

    @compared()
    async def test_a_coroutine_by_hand(self, ends):
        reader, results = ends.reader, []
        ends.client.sendall(b"abc")
        await until(lambda: ends.held() == 3)
        call = reader.readexactly(2)
        for make in (lambda: call.send(1), lambda: call.send(None), lambda: call.send(None), call.close):
            try:
                results.append(make())
            except Exception as problem:
                results.append((type(problem).__name__, getattr(problem, "value", None)))
        for thrown in (KeyError, KeyError("one")):
            call = reader.readexactly(2)
            try:
                call.throw(thrown)
            except Exception as problem:
                results.append(shown(problem))
        call.close()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            reader.readline()
            ends.writer.drain()
        results += [str(warning.message) for warning in caught]
        waiting = reader.readexactly(2)
        future = waiting.send(None)
        results.append(repr(future))
        try:
            waiting.send(None)
        except RuntimeError as problem:
            results.append(str(problem))
        return [*results, await reader.read(1)]


class Writing(ReaderTestCase):
    @compared()
    async def test_drain_waits_while_the_peer_does_not_read(self, ends):
        writer = ends.writer
        writer.transport.set_write_buffer_limits(1000)
        writer.write(b"x" * 10_000_000)
        task = asyncio.ensure_future(writer.drain())
        await turns(10)
        states = [task.done(), await outcome(asyncio.wait_for(writer.drain(), 0.01))]
        ends.client.setblocking(False)
        loop, received = asyncio.get_running_loop(), 0
        while received < 10_000_000:
            received += len(await loop.sock_recv(ends.client, 1 << 20))
        await task
        return states, await writer.drain()

    @compared()
    async def test_drain_of_a_closed_connection(self, ends):
        writer = ends.writer
        writer.close()
        results = [await outcome(writer.drain()), await outcome(writer.drain()), writer.is_closing()]
        await outcome(writer.wait_closed())
        return [*results, await outcome(writer.drain())]

    @compared()
    async def test_drain_tells_of_the_end_of_what_it_waits_for(self, ends):
        writer = ends.writer
        writer.write(b"x" * 10_000_000)
        task = asyncio.ensure_future(writer.drain())
        await turns(5)
        ends.reset()
        return reset_or_end(await outcome(task))

    @compared()
    async def test_all_that_is_written_arrives(self, ends):
        writer, expected = ends.writer, b""
        for piece in (b"one", bytearray(b"two"), memoryview(b"three")):
            writer.write(piece)
            await writer.drain()
            expected += piece
        writer.writelines([b"four", b"five"])
        writer.write_eof()
        received = b""
        ends.client.setblocking(False)
        while data := await asyncio.get_running_loop().sock_recv(ends.client, 100):
            received += data
        try:
            writer.write(b"more")
        except RuntimeError as problem:
            return received, shown(problem)


class Clients(ReaderTestCase):
    """The reader and the writer of `asyncio.open_connection`."""

    async def dial(self, ends):
        listener = socket.create_server((ADDRESS, 0))
        reader, writer = await asyncio.open_connection(*listener.getsockname())
        peer = listener.accept()[0]
        listener.close()
        ends.client.close()
        ends.writer.transport.abort()
        ends.reader, ends.writer, ends.client = reader, writer, peer
        return ends

    @compared()
    async def test_messages_to_and_fro(self, ends):
        ends, results = await self.dial(ends), []
        for number in range(3):
            ends.writer.write(b"message %d" % number)
            await ends.writer.drain()
            await ends.send(b"answer %d\n" % number)
            results.append(await ends.reader.readline())
        if isinstance(asyncio.get_running_loop(), Loop):
            self.assertIsNot(type(ends.writer), asyncio.StreamWriter)
        ends.writer.writelines([b"!", b"!"])
        ends.writer.write_eof()
        received = b""
        ends.client.setblocking(False)
        while data := await asyncio.get_running_loop().sock_recv(ends.client, 100):
            received += data
        return results, received

    @compared()
    async def test_drain_waits_while_the_peer_does_not_read(self, ends):
        ends = await self.dial(ends)
        writer = ends.writer
        await writer.drain()
        writer.transport.set_write_buffer_limits(1000)
        writer.write(b"x" * 10_000_000)
        task = asyncio.ensure_future(writer.drain())
        await turns(10)
        states = [task.done(), await outcome(asyncio.wait_for(writer.drain(), 0.01))]
        ends.reset()
        return states, (await outcome(task))[0], (await outcome(writer.drain()))[0]

    @compared()
    async def test_what_a_program_replaces(self, ends):
        ends, written = await self.dial(ends), []
        ends.writer.write = written.append
        await ends.writer.drain()
        ends.writer.write(b"mine")
        del ends.writer.write
        self.assertIs(type(ends.writer), asyncio.StreamWriter)
        await ends.writer.drain()
        ends.writer.other = 1
        self.assertIs(type(ends.writer), asyncio.StreamWriter)
        ends.writer.write(b"theirs")
        await ends.writer.drain()
        return written, await asyncio.get_running_loop().run_in_executor(None, ends.client.recv, 100)

    @compared()
    async def test_an_exception_of_the_reader_is_raised_by_drain(self, ends):
        ends = await self.dial(ends)
        ends.reader.set_exception(ValueError("mine"))
        return await outcome(ends.writer.drain()), shown(ends.reader.exception()), await outcome(ends.writer.drain())


if __name__ == "__main__":
    unittest.main()
