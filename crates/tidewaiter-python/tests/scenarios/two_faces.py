"""Twisted and asyncio on one port: in Twisted's reactor, and in an asyncio program."""

import asyncio
import contextvars
import os
import threading

import tidewaiter.asyncio
import tidewaiter.twisted
from scenario import LOG
from twisted.internet import defer, protocol, task
from twisted.python import log
from twisted.python.log import ILogContext

from scenarios.pairs import python


def _run(reactor, main):
    """Runs a coroutine function as a Twisted program, and returns its result."""
    results = []

    def begin():
        deferred = defer.Deferred.fromCoroutine(main())
        deferred.addCallbacks(results.append, lambda failure: results.append(failure.getTraceback()))
        deferred.addBoth(lambda _: reactor.stop())

    reactor.callLater(0, begin)
    reactor.run()
    return results[0]


def _awaited(work):
    """A deferred for the result of a coroutine of asyncio's, for one of Twisted's to await."""
    return defer.Deferred.fromFuture(asyncio.ensure_future(work))


def both_ways(reactor):
    """Deferreds and futures become one another, and the loop is the running one."""
    loop = reactor.asyncio_loop

    async def asyncios():
        assert asyncio.get_running_loop() is loop
        await asyncio.sleep(0.01)
        later = task.deferLater(reactor, 0.01, lambda: "deferred")
        return [await later.asFuture(loop), await asyncio.wait_for(asyncio.to_thread(lambda: "thread"), 20)]

    async def main():
        assert asyncio.get_running_loop() is loop
        results = await _awaited(asyncios())
        failing = asyncio.get_running_loop().create_future()
        loop.call_later(0.01, failing.set_exception, ValueError("future"))
        try:
            await defer.Deferred.fromFuture(failing)
        except ValueError as error:
            results.append(str(error))
        cancelled = asyncio.ensure_future(asyncio.sleep(60))
        deferred = defer.Deferred.fromFuture(cancelled)
        deferred.cancel()
        try:
            await deferred
        except asyncio.CancelledError:
            results.append("cancelled")
        async with asyncio.Lock():
            results.append("lock")
        return results

    before = loop.is_running()
    results = _run(reactor, main)
    return [results, before, loop.is_running(), isinstance(loop, tidewaiter.asyncio.Loop), LOG.failures]


def late_face(reactor):
    """A loop that a callback asks for first is the running one from then on."""

    async def main():
        before = asyncio._get_running_loop()
        loop = reactor.asyncio_loop
        await _awaited(asyncio.sleep(0))
        return [before, asyncio.get_running_loop() is loop, reactor.asyncio_loop is loop]

    outcome = _run(reactor, main)
    return [*outcome, asyncio._get_running_loop()]


def nested_runs(reactor):
    """Another loop is refused inside of the reactor once it has its face, and the loop's stop stops the reactor."""
    loop = reactor.asyncio_loop
    outcome = []

    async def nothing():
        return None

    def begin():
        for attempt in (lambda: loop.run_until_complete(nothing()), loop.run_forever, loop.close):
            try:
                attempt()
                outcome.append("done")
            except RuntimeError as error:
                outcome.append(str(error))
        loop.call_soon(loop.stop)

    reactor.callWhenRunning(begin)
    reactor.addSystemEventTrigger("during", "shutdown", outcome.append, "shutdown")
    reactor.run()
    return outcome


def streams_and_protocols(reactor, count):
    """An asyncio server talks with clients of Twisted's, and the other way round."""
    loop = reactor.asyncio_loop

    async def echo(reader, writer):
        while data := await reader.read(1000):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def ask(number):
        reader, writer = await asyncio.open_connection("127.0.0.1", number)
        writer.write(b"hello")
        writer.write_eof()
        data = await reader.read()
        writer.close()
        return data.decode()

    class Echo(protocol.Protocol):
        def dataReceived(self, data):
            self.transport.write(data)

    class Ask(protocol.Protocol):
        def connectionMade(self):
            self.received = b""
            self.transport.write(b"hello")

        def dataReceived(self, data):
            self.received += data
            if len(self.received) == 5:
                self.transport.loseConnection()

        def connectionLost(self, reason):
            self.factory.over.append(self.received.decode())
            if len(self.factory.over) == count:
                self.factory.all.callback(self.factory.over)

    async def main():
        server = await _awaited(asyncio.start_server(echo, "127.0.0.1", 0))
        factory = protocol.ClientFactory.forProtocol(Ask)
        factory.over, factory.all = [], defer.Deferred()
        for _ in range(count):
            reactor.connectTCP("127.0.0.1", server.sockets[0].getsockname()[1], factory)
        twisteds = await factory.all
        server.close()
        port = reactor.listenTCP(0, protocol.ServerFactory.forProtocol(Echo), interface="127.0.0.1")
        asyncios = await _awaited(asyncio.gather(*(ask(port.getHost().port) for _ in range(count))))
        await port.stopListening()
        return [set(twisteds) == {"hello"}, set(asyncios) == {"hello"}]

    return [_run(reactor, main), loop.metrics()["port"] == reactor.metrics()["port"], LOG.failures]


def web(reactor, count):
    """aiohttp's server and client, and Twisted's web client, in a Twisted program."""
    import aiohttp
    import treq
    from aiohttp import web

    loop = reactor.asyncio_loop

    async def page(request):
        await asyncio.sleep(0.001)
        return web.Response(text=f"page {request.match_info['number']}")

    async def serve():
        application = web.Application()
        application.router.add_get("/{number}", page)
        runner = web.AppRunner(application)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return runner, site._server.sockets[0].getsockname()[1]

    async def fetch(number):
        async with aiohttp.ClientSession() as session:

            async def one(page):
                async with session.get(f"http://127.0.0.1:{number}/{page}") as response:
                    return await response.text()

            return await asyncio.gather(*(one(page) for page in range(count)))

    async def main():
        runner, number = await _awaited(serve())
        pages = await _awaited(fetch(number))
        response = await treq.get(f"http://127.0.0.1:{number}/treq", persistent=False)
        pages.append(await response.text())
        await _awaited(runner.cleanup())
        return pages

    assert loop is reactor.asyncio_loop
    return [_run(reactor, main), LOG.failures]


def contexts(reactor):
    """Log contexts hold in Twisted's callbacks, and context variables in asyncio's, side by side."""
    loop = reactor.asyncio_loop
    variable = contextvars.ContextVar("variable", default="none")
    seen = {}

    def note(name):
        seen[name] = [variable.get(), (log.context.get(ILogContext) or {}).get("system", "-")]

    async def asyncios(name):
        variable.set(name)
        await asyncio.sleep(0.01)
        note(name)
        loop.call_soon(note, f"{name}, soon")

    class Noting(protocol.Protocol):
        def dataReceived(self, data):
            note("twisted")
            self.factory.received.callback(None)
            self.transport.loseConnection()

        def logPrefix(self):
            return "Noting"

    async def main():
        variable.set("main")
        factory = protocol.ServerFactory.forProtocol(Noting)
        factory.received = defer.Deferred()
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        tasks = [asyncio.ensure_future(asyncios(name)) for name in ("one", "two")]
        _, writer = await _awaited(asyncio.open_connection("127.0.0.1", port.getHost().port))
        writer.write(b"x")
        await factory.received
        await _awaited(asyncio.wait(tasks))
        await _awaited(asyncio.sleep(0))
        note("main")
        writer.close()
        await port.stopListening()

    _run(reactor, main)
    seen["twisted"][1] = seen["twisted"][1].partition(",")[0]
    return [seen, LOG.failures]


def children(reactor):
    """Children of both faces at the same time."""

    class Child(protocol.ProcessProtocol):
        def __init__(self):
            self.over, self.output = defer.Deferred(), b""

        def outReceived(self, data):
            self.output += data

        def processEnded(self, reason):
            self.over.callback([self.output.decode().strip(), reason.value.exitCode])

    async def asyncios():
        arguments = python("print('asyncio'); raise SystemExit(4)")
        child = await asyncio.create_subprocess_exec(*arguments, stdout=-1)
        output, _ = await child.communicate()
        return [output.decode().strip(), child.returncode]

    async def main():
        arguments = python("print('twisted'); raise SystemExit(5)")
        ours = [Child() for _ in range(3)]
        for child in ours:
            reactor.spawnProcess(child, arguments[0], arguments, os.environ)
        theirs = asyncio.gather(*(asyncios() for _ in range(3)))
        return [await defer.Deferred.fromFuture(theirs), [await child.over for child in ours]]

    assert reactor.asyncio_loop
    return [_run(reactor, main), LOG.failures]


def failing_faces(reactor):
    """Exceptions in callbacks of either face are reported by that face, and both go on."""
    heard = []
    loop = reactor.asyncio_loop
    loop.set_exception_handler(lambda _, context: heard.append(str(context["exception"])))

    def fail(name):
        raise ValueError(name)

    async def main():
        loop.call_soon(fail, "call_soon")
        loop.call_later(0.001, fail, "call_later")
        reactor.callLater(0.001, fail, "callLater")
        reactor.callFromThread(fail, "callFromThread")
        loop.call_soon_threadsafe(fail, "threadsafe")
        await _awaited(asyncio.sleep(0.05))

    _run(reactor, main)
    return [sorted(heard), sorted(LOG.failures)]


# These bring their own reactor or loop.


def inside_asyncio(_):
    """A reactor that runs in `tidewaiter.asyncio.run`, until its block ends."""
    happened = []

    class Echo(protocol.Protocol):
        def dataReceived(self, data):
            self.transport.write(data)

    async def main():
        async with tidewaiter.twisted.running() as reactor:
            loop = asyncio.get_running_loop()
            happened.append(reactor.asyncio_loop is loop and reactor.running)
            reactor.callWhenRunning(happened.append, "running")
            reactor.addSystemEventTrigger("during", "shutdown", happened.append, "shutdown")
            port = reactor.listenTCP(0, protocol.ServerFactory.forProtocol(Echo), interface="127.0.0.1")
            reader, writer = await asyncio.open_connection("127.0.0.1", port.getHost().port)
            writer.write(b"hello")
            happened.append((await reader.readexactly(5)).decode())
            writer.close()
            happened.append(await defer.ensureDeferred(_later(reactor)).asFuture(loop))
            from twisted.internet.threads import deferToThread

            happened.append(await deferToThread(lambda: "thread").asFuture(loop))
        happened.append(reactor.running)
        await asyncio.sleep(0.01)
        return "done"

    async def _later(reactor):
        await task.deferLater(reactor, 0.01, lambda: None)
        return "later"

    happened.append(tidewaiter.asyncio.run(main()))
    left = [thread.name for thread in threading.enumerate() if not thread.daemon]
    return [happened, left == ["MainThread"]]


def twisteds_own(_):
    """Twisted's own reactor for asyncio runs on our loop, as Daphne installs it."""
    from twisted.internet import asyncioreactor

    tidewaiter.asyncio.install()
    asyncioreactor.install(asyncio.new_event_loop())
    from twisted.internet import reactor

    async def main():
        await asyncio.sleep(0.01)
        child = await asyncio.create_subprocess_exec(*python("print(7)"), stdout=-1)
        return (await child.communicate())[0].decode().strip()

    async def twisteds():
        first = await defer.Deferred.fromFuture(asyncio.ensure_future(main()))
        return [first, await task.deferLater(reactor, 0.01, lambda: type(reactor._asyncioEventloop).__name__)]

    return _run(reactor, twisteds)


def one_that_is_asked_for(_):
    """The reactor that satisfies programs that ask for the class of Twisted's."""
    from tidewaiter.twisted import asyncioreactor
    from twisted.internet import asyncioreactor as twisteds

    reactor = asyncioreactor.install()
    from twisted.internet import reactor as installed

    loop = reactor._asyncioEventloop

    async def main():
        return asyncio.get_running_loop() is loop

    outcome = [
        isinstance(reactor, twisteds.AsyncioSelectorReactor),
        isinstance(reactor, tidewaiter.twisted.Reactor),
        installed is reactor,
        asyncio.get_event_loop_policy().get_event_loop() is loop,
        reactor.asyncio_loop is loop,
        _run(reactor, main),
    ]
    try:
        asyncioreactor.AsyncioReactor(asyncio.SelectorEventLoop())
    except TypeError:
        outcome.append("refused")
    return outcome
