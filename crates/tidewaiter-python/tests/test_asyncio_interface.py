"""What asyncio's documents list: signatures, what transports tell of themselves, wrong arguments, reports."""

import asyncio
import contextlib
import inspect
import io
import os
import socket
import subprocess
import sys
import tempfile
import unittest

from scenarios.asyncio_pairs import (
    ADDRESS,
    ComparedTestCase,
    LoopTestCase,
    Side,
    compared,
    connected,
    on_each_port,
    until,
)
from support import WINDOWS, needs_posix
from tidewaiter.asyncio import Loop

if WINDOWS:
    from asyncio.proactor_events import _ProactorSocketTransport as _Connection

    OWN_LOOP = asyncio.ProactorEventLoop
else:
    from asyncio.selector_events import _SelectorSocketTransport as _Connection

    OWN_LOOP = asyncio.SelectorEventLoop

# The names that asyncio's documents have for `get_extra_info`, and one that is nowhere.
KEYS = (
    *("peername", "socket", "sockname", "compression", "cipher", "peercert", "sslcontext", "ssl_object"),
    *("pipe", "subprocess", "addr", "unknown"),
)
# Asyncio's method takes any keyword from Python 3.13.4 on, as ours does on each: the task's class refuses the others.
ANY_KEYWORD = {"create_task"}


def parameters(method):
    """The parameters of a method without `self`, as a program may give them."""
    found = inspect.signature(method).parameters.values()
    return [(one.name, one.kind.name, one.default) for one in found if one.name != "self"]


def public(kind):
    return [name for name in dir(kind) if not name.startswith("_")]


def given(transport, key):
    """What a transport tells under a key, as two loops can be compared."""
    value = transport.get_extra_info(key, "default")
    if value is None or isinstance(value, str):
        return value
    return isinstance(value, subprocess.Popen) if key == "subprocess" else type(value).__name__


async def raised(awaitable):
    """The exception of an awaitable, as two loops can be compared. Sockets that it names have their own numbers."""
    try:
        return await awaitable
    except Exception as exception:
        return type(exception).__name__, str(exception).partition("<socket.socket")[0]


class Signatures(LoopTestCase):
    """They are those of asyncio's own classes in this version of Python, and so are the kinds of methods."""

    def assert_as(self, ours, theirs, names):
        self.assertTrue(names)
        for name in names:
            method = getattr(theirs, name)
            if not callable(method) or name in ANY_KEYWORD:
                continue
            with self.subTest(theirs.__name__, name=name):
                self.assertEqual(parameters(getattr(ours, name)), parameters(method))
                is_coroutine = inspect.iscoroutinefunction
                self.assertEqual(is_coroutine(getattr(ours, name)), is_coroutine(method))

    def test_the_loop_has_all_methods_of_asyncios(self):
        names = [*public(asyncio.AbstractEventLoop), *public(OWN_LOOP)]
        self.assert_as(Loop, OWN_LOOP, sorted(set(names)))
        own = Loop.__mro__[: Loop.__mro__.index(asyncio.AbstractEventLoop)]
        inherited = {name for name in public(asyncio.AbstractEventLoop) if not any(name in vars(one) for one in own)}
        # Windows has no UNIX sockets in Python.
        missing = {"create_unix_connection", "create_unix_server"} if WINDOWS else set()
        self.assertEqual(inherited, missing)

    def test_tasks_take_each_keyword(self):
        keywords = {name for name, kind, _ in parameters(OWN_LOOP.create_task) if kind == "KEYWORD_ONLY"}
        values = {"name": "mine", "context": None}
        self.assertLessEqual(keywords, set(values))

        async def main():
            loop = asyncio.get_running_loop()
            for keyword in keywords:
                await loop.create_task(asyncio.sleep(0), **{keyword: values[keyword]})
            coroutine = asyncio.sleep(0)
            with self.assertRaises(TypeError):
                loop.create_task(coroutine, unheard_of=1)
            coroutine.close()

        self.run_on(Loop(), main)

    @on_each_port
    async def test_handles_and_transports_have_all_methods_of_asyncios(self):
        loop = asyncio.get_running_loop()
        _, client, _ = await connected()
        udp, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=(ADDRESS, 0))
        soon, later = loop.call_soon(int), loop.call_later(0, int)
        self.assert_as(type(soon), asyncio.Handle, public(asyncio.Handle))
        self.assert_as(type(later), asyncio.TimerHandle, public(asyncio.TimerHandle))
        # The real class of the object, not the one that `isinstance` sees.
        self.assert_as(
            type(client.transport), _Connection, [name for name in public(_Connection) if name != "max_size"]
        )
        self.assert_as(type(udp), asyncio.DatagramTransport, public(asyncio.DatagramTransport))
        child, _ = await loop.subprocess_exec(asyncio.SubprocessProtocol, sys.executable, "-S", "-c", "input()")
        self.assert_as(type(child), asyncio.SubprocessTransport, public(asyncio.SubprocessTransport))
        for fd, kind in ((0, asyncio.WriteTransport), (1, asyncio.ReadTransport)):
            self.assert_as(type(child.get_pipe_transport(fd)), kind, public(kind))
        for transport in (client.transport, udp, child):
            transport.close()


class Information(ComparedTestCase):
    """What `get_extra_info` tells under each key that asyncio's documents name."""

    @compared
    async def test_of_connections(self):
        server, client, _ = await connected()
        told = [given(side.transport, key) for side in (server, client) for key in KEYS]
        client.transport.close()
        await client.lost
        return told, [given(client.transport, key) for key in KEYS]

    @compared
    async def test_of_datagrams(self):
        loop = asyncio.get_running_loop()
        told = []
        for remote in (None, (ADDRESS, 9)):
            transport, _ = await loop.create_datagram_endpoint(
                asyncio.DatagramProtocol, local_addr=(ADDRESS, 0), remote_addr=remote
            )
            told += [given(transport, key) for key in KEYS]
            transport.close()
            await asyncio.sleep(0)
        return told

    @needs_posix
    @compared
    async def test_of_unix_sockets(self):
        loop = asyncio.get_running_loop()
        accepted = []
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "socket")
            server = await loop.create_unix_server(lambda: accepted.append(Side()) or accepted[0], path)
            transport, client = await loop.create_unix_connection(Side, path)
            await until(lambda: accepted and accepted[0].transport)
            told = [given(one, key) for one in (transport, accepted[0].transport) for key in KEYS]
            names = [str(name).replace(path, "path") for name in told]
            transport.close()
            await client.lost
            server.close()
            await server.wait_closed()
        return names

    @needs_posix
    @compared
    async def test_of_pipes(self):
        loop = asyncio.get_running_loop()
        ours, theirs = os.pipe()
        ends = open(ours, "rb", 0), open(theirs, "wb", 0)
        reading, _ = await loop.connect_read_pipe(asyncio.Protocol, ends[0])
        writing, _ = await loop.connect_write_pipe(asyncio.Protocol, ends[1])
        told = [given(one, key) for one in (reading, writing) for key in KEYS]
        same = [one.get_extra_info("pipe") is end for one, end in zip((reading, writing), ends, strict=True)]
        writing.close()
        reading.close()
        await asyncio.sleep(0.01)
        return told, same

    @needs_posix
    @compared
    async def test_of_children(self):
        with _children_on_any_loop():
            loop = asyncio.get_running_loop()
            child, _ = await loop.subprocess_exec(asyncio.SubprocessProtocol, sys.executable, "-S", "-c", "input()")
            pipes = [child.get_pipe_transport(fd) for fd in range(3)]
            names = [[given(one, key) for key in KEYS if key != "pipe"] for one in (child, *pipes)]
            modes = [pipe.get_extra_info("pipe").mode for pipe in pipes]
            child.kill()
            await child._wait()
            child.close()
            await asyncio.sleep(0.01)
        return names, modes


@contextlib.contextmanager
def _children_on_any_loop():
    """Asyncio's own loop needs a watcher of children up to Python 3.11, which is there for the running loop."""
    if sys.version_info < (3, 12):
        watcher = asyncio.ThreadedChildWatcher()
        asyncio.set_child_watcher(watcher)
    yield


class WrongArguments(ComparedTestCase):
    """They raise what they raise in asyncio's own loop."""

    @compared
    async def test_of_connections_and_servers(self):
        loop = asyncio.get_running_loop()
        told = []
        with socket.socket(type=socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
            for call in (
                loop.create_connection(Side),
                loop.create_connection(Side, "host", 1, sock=tcp),
                loop.create_connection(Side, "host", 1, server_hostname="name"),
                loop.create_connection(Side, "host", 1, ssl_handshake_timeout=1),
                loop.create_connection(Side, sock=udp),
                loop.connect_accepted_socket(Side, udp),
                loop.create_server(Side),
                loop.create_server(Side, "host", 1, sock=tcp),
                loop.create_server(Side, ADDRESS, 0, ssl=True),
                loop.create_server(Side, sock=udp),
                loop.create_datagram_endpoint(Side),
                loop.create_datagram_endpoint(Side, "text"),
                loop.create_datagram_endpoint(Side, sock=tcp),
                loop.create_datagram_endpoint(Side, (ADDRESS, 0), sock=udp),
                loop.start_tls(None, None, None),
                loop.sock_connect(udp, None),
                loop.sock_recv(5, 5),
            ):
                told.append(await raised(call))
        return told

    @needs_posix
    @compared
    async def test_of_unix_sockets(self):
        loop = asyncio.get_running_loop()
        missing = "/no/such/directory/socket"
        with socket.socket() as tcp:
            calls = (
                loop.create_unix_server(Side),
                loop.create_unix_server(Side, missing),
                loop.create_unix_server(Side, missing, sock=tcp),
                loop.create_unix_server(Side, sock=tcp),
                loop.create_unix_connection(Side),
                loop.create_unix_connection(Side, missing),
                loop.create_unix_connection(Side, missing, sock=tcp),
                loop.create_unix_connection(Side, sock=tcp),
            )
            return [await raised(call) for call in calls]

    @compared
    async def test_of_children(self):
        loop = asyncio.get_running_loop()
        protocol = asyncio.SubprocessProtocol
        calls = (
            loop.subprocess_exec(protocol, "true", universal_newlines=True),
            loop.subprocess_exec(protocol, "true", shell=True),
            loop.subprocess_exec(protocol, "true", bufsize=3),
            loop.subprocess_exec(protocol, "true", text=True),
            loop.subprocess_exec(protocol, "true", encoding="utf-8"),
            loop.subprocess_exec(protocol, "true", errors="strict"),
            loop.subprocess_shell(protocol, 5),
            loop.subprocess_shell(protocol, "true", shell=False),
            loop.subprocess_shell(protocol, "true", text=True),
        )
        return [await raised(call) for call in calls]

    @compared
    async def test_of_sending_files(self):
        loop = asyncio.get_running_loop()
        _, client, _ = await connected()
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        told = []
        with open(__file__, "rb") as file, open(__file__) as text, ours, theirs:
            for options in ({"offset": -1}, {"offset": "x"}, {"count": 0}, {"count": -1}, {"count": "x"}):
                told.append(await raised(loop.sendfile(client.transport, file, **options)))
                told.append(await raised(loop.sock_sendfile(ours, file, **options)))
            told.append(await raised(loop.sendfile(client.transport, text)))
            told.append(await raised(loop.sock_sendfile(ours, text)))
            memory = io.BytesIO(b"some bytes")
            for sending in (
                loop.sendfile(client.transport, memory, fallback=False),
                loop.sock_sendfile(ours, memory, fallback=False),
            ):
                told.append((await raised(sending))[0])
            client.transport.close()
            told.append(await raised(loop.sendfile(client.transport, file)))
        return told

    @compared
    async def test_of_factories_and_handlers(self):
        loop = asyncio.get_running_loop()
        told = []
        calls = [loop.set_task_factory, loop.set_exception_handler]
        if sys.version_info >= (3, 11):
            calls.append(loop.set_default_executor)
        for call in calls:
            try:
                told.append(call(5))
            except TypeError as error:
                told.append(str(error))
        loop.call_soon(5)
        await asyncio.sleep(0)
        return told


class Fallbacks(ComparedTestCase):
    """What is no file is read and written by asyncio's own code."""

    @compared
    async def test_of_sending_files(self):
        loop = asyncio.get_running_loop()
        server, client, _ = await connected()
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.settimeout(10)
        memory = io.BytesIO(b"0123456789")
        told = [await loop.sendfile(client.transport, memory, 2, 5), memory.tell()]
        await until(lambda: server.received == b"23456")
        told += [await loop.sock_sendfile(ours, memory, 3, 4), memory.tell(), theirs.recv(100)]
        ours.close()
        theirs.close()
        client.transport.close()
        return told


class Reports(LoopTestCase):
    """Exceptions are told to the handler of the loop, or to the logger of asyncio if that fails."""

    async def failing(self):
        """Has a call and a protocol fail."""
        asyncio.get_running_loop().call_soon(lambda: 1 / 0)
        server, client, _ = await connected()
        server.on["data_received"] = lambda _: 1 / 0
        client.transport.write(b"x")
        self.assertIsInstance(await server.lost, ZeroDivisionError)
        return server

    @on_each_port
    async def test_a_handler_that_fails_is_reported_with_what_it_was_told(self):
        def fail(loop, context):
            raise ValueError("the handler's own")

        asyncio.get_running_loop().set_exception_handler(fail)
        with self.assertLogs("asyncio", "ERROR") as logged:
            await self.failing()
        self.assertEqual(len(logged.records), 2)
        for record in logged.records:
            self.assertIn("Unhandled error in exception handler", record.getMessage())
            exception = record.exc_info[1]
            self.assertIsInstance(exception, ValueError)
            self.assertIsInstance(exception.__context__, ZeroDivisionError)

    @on_each_port
    async def test_a_handler_may_ask_for_the_exception_that_is_handled(self):
        seen = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: seen.append((sys.exc_info()[1], context)))
        await self.failing()
        self.assertEqual(len(seen), 2)
        for handled, context in seen:
            self.assertIs(handled, context["exception"])
            # The traceback is that of the program's mistake, not of ours.
            traceback = handled.__traceback__
            while traceback.tb_next is not None:
                traceback = traceback.tb_next
            self.assertIn("<lambda>", traceback.tb_frame.f_code.co_name)

    @on_each_port
    async def test_a_handler_of_a_child_may_ask_for_the_exception_that_is_handled(self):
        seen = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: seen.append((sys.exc_info()[1], context["exception"])))

        class Failing(asyncio.SubprocessProtocol):
            def process_exited(self):
                raise ZeroDivisionError

        transport, _ = await loop.subprocess_exec(Failing, sys.executable, "-S", "-c", "pass")
        await until(lambda: seen)
        transport.close()
        ((handled, told),) = seen
        self.assertIs(handled, told)

    @on_each_port
    async def test_an_exit_in_a_handler_leaves_the_loop(self):
        loop = Loop(self.port_of_the_running_loop())

        def leave(*_):
            raise SystemExit(3)

        loop.set_exception_handler(leave)
        loop.call_soon(lambda: 1 / 0)
        running, ends = asyncio.get_running_loop(), []

        def run():
            try:
                loop.run_forever()
            except SystemExit as end:
                ends.append(end.code)

        await running.run_in_executor(None, run)
        self.assertEqual(ends, [3])
        loop.close()

    def port_of_the_running_loop(self):
        return asyncio.get_running_loop().metrics()["port"]

    @on_each_port
    async def test_a_method_that_was_replaced_gets_all_reports(self):
        loop, messages = asyncio.get_running_loop(), []
        loop.call_exception_handler = lambda context: messages.append(context["message"])
        await self.failing()
        self.assertIn("Exception in callback", messages[0])
        self.assertEqual(messages[1:], ["Fatal error: protocol.data_received() call failed."])
        self.assertEqual(self.contexts, [])


class Replaced(LoopTestCase):
    """Connections call what a program gives the loop, as asyncio's do."""

    async def called(self, loop):
        """What a connection asks of `call_soon` for its beginning and its end."""
        server, client, _ = await connected()
        client.transport.write(b"question")
        await until(lambda: server.received == b"question")
        client.transport.close()
        await asyncio.gather(server.lost, client.lost)
        self.assertEqual(server.events[0], "connection_made")

    def assert_asked(self, names):
        for name in ("_call_connection_made", "_call_connection_lost"):
            self.assertGreaterEqual(names.count(name), 2, names)

    @on_each_port
    async def test_call_soon_of_a_loop(self):
        loop = asyncio.get_running_loop()
        original, names = loop.call_soon, []

        def call_soon(callback, *args, **options):
            names.append(getattr(callback, "__name__", None))
            return original(callback, *args, **options)

        loop.call_soon = call_soon
        await self.called(loop)
        self.assert_asked(names)
        del loop.call_soon
        names.clear()
        await self.called(loop)
        self.assertEqual(names, [])

    def test_call_soon_of_a_subclass(self):
        names = []

        class Observed(Loop):
            def call_soon(self, callback, *args, context=None):
                names.append(getattr(callback, "__name__", None))
                return super().call_soon(callback, *args, context=context)

        loop = Observed()
        self.run_on(loop, lambda: self.called(loop))
        self.assert_asked(names)


if __name__ == "__main__":
    unittest.main()
