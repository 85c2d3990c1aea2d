"""The asyncio loop and the application's own descriptors and sockets: `add_reader`, `sock_recv` and their kin."""

import asyncio
import errno
import gc
import os
import socket
import tempfile
import unittest
import weakref

from support import WINDOWS, needs_fork, needs_posix, ports
from test_asyncio_loop import LoopTestCase

ADDRESS = "127.0.0.1"
# The systems let a connection's buffers grow to some ten megabytes.
MORE_THAN_FITS = 64 << 20


def pair():
    """A pair of connected sockets that do not block."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    return ours, theirs


class SocketTestCase(LoopTestCase):
    def setUp(self):
        super().setUp()
        self.ours, self.theirs = pair()
        self.addCleanup(self.ours.close)
        self.addCleanup(self.theirs.close)

    def wait(self, awaitable):
        """The result of a coroutine that ends soon."""
        return self.loop.run_until_complete(asyncio.wait_for(awaitable, 10))

    def until(self, what):
        async def turns():
            while not what():
                await asyncio.sleep(0.001)

        self.wait(turns())

    def watches(self):
        return self.loop.metrics()["watches"]


class Watching(SocketTestCase):
    def test_a_reader_runs_as_long_as_there_is_something_to_read(self):
        got = []

        def read():
            got.append(self.ours.recv(1))
            if len(got) == 3:
                self.assertTrue(self.loop.remove_reader(self.ours))

        self.loop.add_reader(self.ours, read)
        self.theirs.send(b"abcd")
        self.until(lambda: len(got) == 3)
        self.run_turns(3)
        self.assertEqual(got, [b"a", b"b", b"c"])
        self.assertEqual(self.ours.recv(10), b"d")
        self.assertEqual(self.watches(), 0)

    def test_both_directions_of_one_descriptor_are_watched_and_ended_apart(self):
        ready = []
        number = self.ours.fileno()
        self.loop.add_reader(self.ours, ready.append, "read")
        self.loop.add_writer(number, ready.append, "write")
        self.assertEqual(self.watches(), 1)
        self.until(lambda: "write" in ready)
        self.assertNotIn("read", ready)
        self.assertTrue(self.loop.remove_writer(self.ours))
        self.assertFalse(self.loop.remove_writer(self.ours))
        ready.clear()
        self.theirs.send(b"x")
        self.until(lambda: ready)
        self.assertEqual(set(ready), {"read"})
        self.assertTrue(self.loop.remove_reader(number))
        self.assertFalse(self.loop.remove_reader(number))

    def test_a_new_callback_replaces_the_earlier_one(self):
        ready = []
        earlier = self.loop._add_reader(self.ours, ready.append, "earlier")
        self.loop.add_reader(self.ours, ready.append, "new")
        self.assertTrue(earlier.cancelled())
        self.theirs.send(b"x")
        self.until(lambda: ready)
        self.assertEqual(set(ready), {"new"})

    def test_callbacks_may_end_their_own_watch_and_those_of_others(self):
        ready = []
        other, others_peer = pair()
        self.addCleanup(other.close)
        self.addCleanup(others_peer.close)

        def end_both(name):
            ready.append(name)
            self.loop.remove_reader(self.ours)
            self.loop.remove_reader(other)

        self.loop.add_reader(self.ours, end_both, "first")
        self.loop.add_reader(other, end_both, "second")
        self.theirs.send(b"x")
        others_peer.send(b"x")
        self.until(lambda: ready)
        self.run_turns(3)
        self.assertEqual(len(ready), 1)
        self.assertEqual(self.watches(), 0)

    def test_the_end_of_the_stream_is_something_to_read(self):
        got = []
        self.loop.add_reader(self.ours, lambda: got.append(self.ours.recv(10)))
        self.theirs.close()
        self.until(lambda: got)
        self.assertEqual(got[0], b"")

    def test_an_exception_is_reported_and_the_callback_stays(self):
        def fail():
            raise ValueError(self.ours.recv(1))

        self.loop.add_reader(self.ours, fail)
        self.theirs.send(b"ab")
        self.until(lambda: len(self.reports) == 2)
        self.assertEqual([str(report["exception"]) for report in self.reports], ["b'a'", "b'b'"])

    def test_a_closed_socket_that_was_watched_can_be_removed(self):
        self.loop.add_reader(self.ours, self.fail)
        self.loop.add_writer(self.theirs, self.fail)
        self.ours.close()
        self.theirs.close()
        self.assertTrue(self.loop.remove_reader(self.ours))
        self.assertTrue(self.loop.remove_writer(self.theirs))
        stranger, other = pair()
        stranger.close()
        other.close()
        with self.assertRaises(ValueError):
            self.loop.remove_reader(stranger)

    def test_another_thread_adds_and_removes_while_the_loop_runs(self):
        got = self.loop.create_future()

        async def run():
            self.theirs.send(b"data")
            await asyncio.to_thread(self.loop.add_reader, self.ours, lambda: got.done() or got.set_result(None))
            await got
            return await asyncio.to_thread(self.loop.remove_reader, self.ours)

        self.assertTrue(self.wait(run()))
        self.run_turns(3)
        self.assertEqual(self.watches(), 0)

    def test_what_is_no_descriptor_is_refused_as_asyncio_does(self):
        for wrong in (-1, object(), "x", None):
            with self.assertRaises(ValueError):
                self.loop.add_reader(wrong, print)
            with self.assertRaises(ValueError):
                self.loop.remove_writer(wrong)
        number = self.ours.fileno()
        self.ours.close()
        with self.assertRaises(OSError):
            self.loop.add_reader(number, print)
        self.assertEqual(self.watches(), 0)

    @needs_posix
    def test_a_file_is_refused_as_epoll_does(self):
        with tempfile.TemporaryFile() as file:
            with self.assertRaises(PermissionError) as refused:
                self.loop.add_reader(file, print)
        self.assertEqual(refused.exception.errno, errno.EPERM)

    @needs_posix
    def test_a_number_that_was_closed_and_used_again_is_watched_anew(self):
        ready = []
        number = self.ours.detach()
        for direction in (self.loop.add_reader, self.loop.add_writer):
            direction(number, ready.append, "closed")
        os.close(number)
        again, peer = pair()
        self.addCleanup(peer.close)
        if again.fileno() != number:
            os.dup2(again.fileno(), number)
            again.close()
        else:
            again.detach()
        self.addCleanup(os.close, number)
        self.loop.add_reader(number, ready.append, "again")
        peer.send(b"x")
        self.until(lambda: ready)
        self.assertEqual(set(ready), {"again"})
        self.assertTrue(self.loop.remove_reader(number))

    def test_a_closed_loop_watches_nothing(self):
        self.loop.add_reader(self.ours, print)
        self.loop.close()
        self.assertFalse(self.loop.remove_reader(self.ours))
        with self.assertRaises(RuntimeError):
            self.loop.add_writer(self.ours, print)

    def test_a_removed_watch_lets_go_of_its_callback(self):
        class Callback:
            def __call__(self):
                pass

        alive = []
        for _ in range(3):
            callback = Callback()
            alive.append(callback)
            self.loop.add_reader(self.ours, callback)
        self.loop.remove_reader(self.ours)
        del callback
        gone = [weakref.ref(callback) for callback in alive]
        alive.clear()
        gc.collect()
        self.assertEqual([known() for known in gone], [None] * 3)


class Sockets(SocketTestCase):
    def test_what_is_there_is_received_at_once(self):
        self.theirs.send(b"there")
        self.assertEqual(self.wait(self.loop.sock_recv(self.ours, 10)), b"there")
        self.assertEqual(self.watches(), 0)

    def test_receiving_again_and_again_takes_one_watch(self):
        async def echo(times):
            while times:
                data = await self.loop.sock_recv(self.ours, 100)
                await self.loop.sock_sendall(self.ours, data)
                times -= 1

        async def ask():
            task = asyncio.ensure_future(echo(50))
            buffer = bytearray(10)
            for number in range(50):
                await self.loop.sock_sendall(self.theirs, b"%d" % number)
                size = await self.loop.sock_recv_into(self.theirs, buffer)
                self.assertEqual(bytes(buffer[:size]), b"%d" % number)
                self.assertLessEqual(self.watches(), 2)
            await task

        self.wait(ask())

    def test_a_kept_watch_ends_with_its_socket(self):
        async def receive():
            task = asyncio.ensure_future(self.loop.sock_recv(self.ours, 1))
            await asyncio.sleep(0)
            self.theirs.send(b"x")
            await task

        self.wait(receive())
        self.assertEqual(self.watches(), 1)
        self.doCleanups_of_pair()
        gc.collect()
        self.assertEqual(self.watches(), 0)

    def doCleanups_of_pair(self):
        self._cleanups = [known for known in self._cleanups if known[0] == self.loop.close]
        self.ours.close()
        self.theirs.close()
        self.ours = self.theirs = None

    def test_a_kept_watch_ends_when_nothing_waits_for_what_comes(self):
        async def receive():
            task = asyncio.ensure_future(self.loop.sock_recv(self.ours, 1))
            await asyncio.sleep(0)
            self.theirs.send(b"x")
            self.assertEqual(await task, b"x")
            self.theirs.send(b"y")
            while self.watches():
                await asyncio.sleep(0.001)
            self.assertEqual(await self.loop.sock_recv(self.ours, 1), b"y")

        self.wait(receive())

    def test_a_cancelled_receive_has_taken_nothing(self):
        async def receive():
            for number in range(20):
                task = asyncio.ensure_future(self.loop.sock_recv(self.ours, 10))
                await asyncio.sleep(0)
                self.theirs.send(b"%02d" % number)
                # Cancel it at each step on its way.
                for _ in range(number % 4):
                    await asyncio.sleep(0)
                if task.cancel():
                    with self.assertRaises(asyncio.CancelledError):
                        await task
                    data = await self.loop.sock_recv(self.ours, 10)
                else:
                    data = task.result()
                self.assertEqual(data, b"%02d" % number)

        self.wait(receive())

    def test_cancelled_waits_do_not_pile_up(self):
        async def receive():
            for _ in range(200):
                with self.assertRaises(asyncio.TimeoutError):
                    await asyncio.wait_for(self.loop.sock_recv(self.ours, 1), 0)
            self.assertLessEqual(self.watches(), 1)
            self.theirs.send(b"x")
            self.assertEqual(await self.loop.sock_recv(self.ours, 1), b"x")

        self.wait(receive())

    def test_several_may_wait_for_one_socket(self):
        async def receive():
            tasks = [asyncio.ensure_future(self.loop.sock_recv(self.ours, 1)) for _ in range(3)]
            await asyncio.sleep(0)
            for byte in (b"a", b"b", b"c"):
                self.theirs.send(byte)
                await asyncio.sleep(0.001)
            return sorted(await asyncio.gather(*tasks))

        self.assertEqual(self.wait(receive()), [b"a", b"b", b"c"])

    def test_a_callback_and_a_coroutine_may_watch_one_socket(self):
        called = []

        async def both():
            task = asyncio.ensure_future(self.loop.sock_recv(self.ours, 1))
            await asyncio.sleep(0)
            self.loop.add_reader(self.ours, called.append, True)
            self.theirs.send(b"x")
            self.assertEqual(await task, b"x")
            self.assertTrue(self.loop.remove_reader(self.ours))

        self.wait(both())
        self.assertTrue(called)

    def test_all_is_sent_to_a_slow_receiver(self):
        data = os.urandom(4_000_000)

        async def send():
            task = asyncio.ensure_future(self.loop.sock_sendall(self.ours, memoryview(data)))
            got = bytearray()
            while len(got) < len(data):
                await asyncio.sleep(0)
                got += await self.loop.sock_recv(self.theirs, 100_000)
            await task
            return got == data

        self.assertTrue(self.wait(send()))

    def test_a_cancelled_send_leaves_no_watch(self):
        async def send():
            task = asyncio.ensure_future(self.loop.sock_sendall(self.ours, bytes(MORE_THAN_FITS)))
            await asyncio.sleep(0.001)
            task.cancel()
            with self.assertRaises(asyncio.CancelledError):
                await task
            while self.watches():
                try:
                    self.theirs.recv(1 << 20)
                except BlockingIOError:
                    pass
                await asyncio.sleep(0.001)

        self.wait(send())

    def test_a_socket_with_the_number_of_a_closed_one_is_another_one(self):
        async def receive():
            task = asyncio.ensure_future(self.loop.sock_recv(self.ours, 1))
            await asyncio.sleep(0)
            number = self.ours.fileno()
            self.ours.close()
            again, peer = pair()
            if again.fileno() != number:
                peer, again = again, peer
            with again, peer:
                waiting = asyncio.ensure_future(self.loop.sock_recv(again, 10))
                await asyncio.sleep(0)
                peer.send(b"again")
                self.assertEqual(await waiting, b"again")
            task.cancel()
            results = await asyncio.gather(task, return_exceptions=True)
            self.assertIsInstance(results[0], (asyncio.CancelledError, OSError))

        self.wait(receive())

    def test_connections_are_made_and_accepted(self):
        async def connect():
            with socket.create_server((ADDRESS, 0)) as listener, socket.socket() as client:
                listener.setblocking(False)
                client.setblocking(False)
                accepting = asyncio.ensure_future(self.loop.sock_accept(listener))
                await self.loop.sock_connect(client, ("localhost", listener.getsockname()[1]))
                connection, address = await accepting
                with connection:
                    self.assertEqual(connection.gettimeout(), 0)
                    self.assertEqual(address, client.getsockname())

        self.wait(connect())

    def test_a_refused_connection_tells_why(self):
        with socket.socket() as closed:
            closed.bind((ADDRESS, 0))
            address = closed.getsockname()

        async def connect():
            with socket.socket() as client:
                client.setblocking(False)
                await self.loop.sock_connect(client, address)

        with self.assertRaises(ConnectionRefusedError):
            self.wait(connect())

    def test_datagrams_are_sent_and_received(self):
        async def exchange():
            with socket.socket(type=socket.SOCK_DGRAM) as one, socket.socket(type=socket.SOCK_DGRAM) as other:
                for skt in (one, other):
                    skt.setblocking(False)
                    skt.bind((ADDRESS, 0))
                receiving = asyncio.ensure_future(self.loop.sock_recvfrom(one, 100))
                await asyncio.sleep(0)
                self.assertEqual(await self.loop.sock_sendto(other, b"one", one.getsockname()), 3)
                self.assertEqual(await receiving, (b"one", other.getsockname()))
                buffer = bytearray(100)
                await self.loop.sock_sendto(one, b"other", other.getsockname())
                size, address = await self.loop.sock_recvfrom_into(other, buffer)
                self.assertEqual((bytes(buffer[:size]), address), (b"other", one.getsockname()))

        self.wait(exchange())

    def test_a_file_is_sent(self):
        data = os.urandom(1_000_000)

        async def send(file):
            with socket.create_server((ADDRESS, 0)) as listener, socket.socket() as client:
                client.setblocking(False)
                await self.loop.sock_connect(client, listener.getsockname())
                connection, _ = listener.accept()
                connection.setblocking(False)
                with connection:
                    sending = asyncio.ensure_future(self.loop.sock_sendfile(client, file, 10, 900_000))
                    got = bytearray()
                    while len(got) < 900_000:
                        got += await self.loop.sock_recv(connection, 100_000)
                    self.assertEqual(await sending, 900_000)
                self.assertEqual(got, data[10:900_010])
                self.assertEqual(file.tell(), 900_010)

        with tempfile.TemporaryFile() as file:
            file.write(data)
            file.flush()
            self.wait(send(file))

    def test_a_blocking_socket_is_refused_in_debug_mode(self):
        self.ours.setblocking(True)
        self.loop.set_debug(True)
        for call in (
            self.loop.sock_recv(self.ours, 1),
            self.loop.sock_sendall(self.ours, b"x"),
            self.loop.sock_accept(self.ours),
            self.loop.sock_connect(self.ours, ""),
        ):
            with self.assertRaises(ValueError):
                self.loop.run_until_complete(call)

    def test_the_error_of_a_socket_is_told(self):
        self.ours.close()
        with self.assertRaises(OSError):
            self.wait(self.loop.sock_recv(self.ours, 1))

    @needs_fork
    def test_a_forked_child_leaves_the_watches_to_its_parent(self):
        got = []
        self.loop.add_reader(self.ours, lambda: got.append(self.ours.recv(10)))

        async def fork():
            waiting = asyncio.ensure_future(self.loop.sock_recv(self.theirs, 10))
            await asyncio.sleep(0)
            child = os.fork()
            if child:
                self.ours.send(b"for one that waits")
                self.assertEqual(await waiting, b"for one th")
                return child
            try:
                self.loop.remove_reader(self.ours)
                self.loop._descriptors.close()
                os._exit(0)
            finally:
                os._exit(1)

        child = self.wait(fork())
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 0)
        self.theirs.send(b"x")
        self.until(lambda: got)
        self.assertEqual(got, [b"x"])
        self.assertTrue(self.loop.remove_reader(self.ours))

    @unittest.skipIf(WINDOWS, "Windows has no limit of descriptors")
    def test_without_descriptors_a_wait_fails_and_the_loop_goes_on(self):
        import resource

        async def receive():
            held = []
            limits = resource.getrlimit(resource.RLIMIT_NOFILE)
            highest = max(int(number) for number in os.listdir("/dev/fd"))
            resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, limits[1]))
            try:
                with self.assertRaises(OSError):
                    while True:
                        held.append(os.dup(0))
                # The first watch needs a descriptor for all of them.
                with self.assertRaises(OSError) as failed:
                    await self.loop.sock_recv(self.ours, 1)
                self.assertEqual(failed.exception.errno, errno.EMFILE)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)
                for number in held:
                    os.close(number)
            task = asyncio.ensure_future(self.loop.sock_recv(self.ours, 1))
            await asyncio.sleep(0)
            self.theirs.send(b"x")
            self.assertEqual(await task, b"x")

        self.wait(receive())


def load_tests(loader, tests, pattern):
    """Runs the tests on each port."""
    suite = unittest.TestSuite()
    for port in ports():
        for kind in (Watching, Sockets):
            on_port = type(f"{kind.__name__}_{port}", (kind,), {"port": port})
            suite.addTests(loader.loadTestsFromTestCase(on_port))
    return suite


if __name__ == "__main__":
    unittest.main()
