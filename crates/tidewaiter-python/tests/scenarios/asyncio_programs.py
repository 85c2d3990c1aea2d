"""Programs of others' libraries on our asyncio loop: `asyncio_programs.py NAME [ARGUMENT]…` prints a result as JSON."""

import asyncio
import json
import sys

import tidewaiter.asyncio

if sys.platform == "win32":
    # `platform` asks it where there is one, and Wine ends programs that do.
    sys.modules["_wmi"] = None

HOST = "127.0.0.1"


async def aiohttp():
    """A server and a client with a WebSocket, a file, and a form that is uploaded."""
    import aiohttp
    from aiohttp import web

    async def upload(request):
        form = await request.post()
        return web.json_response(len(form["file"].file.read()))

    async def echo(request):
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(message.data[::-1])
        return socket

    async def file(request):
        return web.FileResponse(__file__)

    app = web.Application(client_max_size=2**24)
    app.add_routes([web.post("/upload", upload), web.get("/echo", echo), web.get("/file", file)])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, HOST, 0)
    await site.start()
    address = f"http://{HOST}:{runner.addresses[0][1]}"
    async with aiohttp.ClientSession() as session:
        form = aiohttp.FormData()
        form.add_field("file", b"x" * 5_000_000, filename="file")
        async with session.post(f"{address}/upload", data=form) as answer:
            uploaded = await answer.json()
        async with session.ws_connect(f"{address}/echo") as socket:
            await socket.send_str("abc")
            echoed = await socket.receive_str()
        async with session.get(f"{address}/file") as answer:
            same = await answer.read() == open(__file__, "rb").read()
        many = await asyncio.gather(*(_status(session, f"{address}/file") for _ in range(100)))
    await runner.cleanup()
    return {"uploaded": uploaded, "echoed": echoed, "same": same, "many": set(many) == {200}}


async def _status(session, address):
    async with session.get(address) as answer:
        await answer.read()
        return answer.status


async def tornado():
    """Tornado's server, client and timers; it watches sockets by `add_reader` and `add_writer`."""
    from tornado import httpclient, httpserver, ioloop, netutil, web, websocket

    class Hello(web.RequestHandler):
        async def get(self):
            await asyncio.sleep(0.01)
            self.write("x" * 1_000_000)

    class Echo(websocket.WebSocketHandler):
        def on_message(self, message):
            self.write_message(message[::-1])

    [listener] = netutil.bind_sockets(0, HOST)
    server = httpserver.HTTPServer(web.Application([("/", Hello), ("/echo", Echo)]))
    server.add_socket(listener)
    address = f"{HOST}:{listener.getsockname()[1]}"
    answer = await httpclient.AsyncHTTPClient().fetch(f"http://{address}/")
    client = await websocket.websocket_connect(f"ws://{address}/echo")
    await client.write_message("abc")
    echoed = await client.read_message()
    client.close()
    ticks = []
    timer = ioloop.PeriodicCallback(lambda: ticks.append(1), 5)
    timer.start()
    while len(ticks) < 3:
        await asyncio.sleep(0.005)
    timer.stop()
    server.stop()
    await server.close_all_connections()
    return {"size": len(answer.body), "echoed": echoed}


async def zmq():
    """Sockets of ZeroMQ, whose descriptor the loop watches."""
    import zmq
    import zmq.asyncio

    context = zmq.asyncio.Context()
    server, client = context.socket(zmq.REP), context.socket(zmq.REQ)
    number = server.bind_to_random_port(f"tcp://{HOST}")
    client.connect(f"tcp://{HOST}:{number}")

    async def serve():
        for _ in range(200):
            await server.send((await server.recv())[::-1])

    task = asyncio.create_task(serve())
    answers = []
    for turn in range(200):
        await client.send(b"%d" % turn)
        answers.append(await client.recv())
    await task
    context.destroy(linger=0)
    return {"right": answers == [(b"%d" % turn)[::-1] for turn in range(200)]}


async def websockets():
    """A server and fifty clients at once."""
    from websockets.asyncio.client import connect
    from websockets.asyncio.server import serve

    async def echo(socket):
        async for message in socket:
            await socket.send(message[::-1])

    async def talk(number):
        async with connect(f"ws://{HOST}:{number}") as client:
            await client.send(b"ab" * 100_000)
            return await client.recv() == b"ba" * 100_000

    async with serve(echo, HOST, 0) as server:
        number = server.sockets[0].getsockname()[1]
        return {"right": all(await asyncio.gather(*(talk(number) for _ in range(50))))}


async def uvicorn():
    """A server in this process, and a client; the manual's line for programs that serve beside other work."""
    import aiohttp
    import uvicorn

    async def app(scope, receive, send):
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"x" * 1_000_000})

    server = uvicorn.Server(uvicorn.Config(app, port=0, lifespan="off", log_level="error", http="h11"))
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    number = server.servers[0].sockets[0].getsockname()[1]
    async with aiohttp.ClientSession() as session, session.get(f"http://{HOST}:{number}/") as answer:
        size = len(await answer.read())
    server.should_exit = True
    await task
    return {"size": size}


async def psycopg(place):
    """Queries, pipelines, COPY, notifications and cancelling, on a PostgreSQL whose socket is in `place`."""
    import psycopg

    options = f"host={place} user=postgres dbname=postgres"
    async with await psycopg.AsyncConnection.connect(options, autocommit=True) as connection:
        await connection.execute("CREATE TABLE numbers (number int)")
        async with connection.cursor() as cursor, cursor.copy("COPY numbers FROM STDIN") as copy:
            for number in range(10_000):
                await copy.write_row([number])
        total = await (await connection.execute("SELECT sum(number) FROM numbers")).fetchone()
        async with connection.pipeline():
            cursors = [await connection.execute("SELECT %s::int", [number]) for number in range(50)]
        piped = [(await cursor.fetchone())[0] for cursor in cursors]
        told = await _told(connection, options)
        try:
            await asyncio.wait_for(connection.execute("SELECT pg_sleep(60)"), 0.1)
            cancelled = False
        except TimeoutError:
            cancelled = True
    return {"total": total[0], "piped": piped == list(range(50)), "told": told, "cancelled": cancelled}


async def _told(connection, options):
    import psycopg

    await connection.execute("LISTEN news")
    async with await psycopg.AsyncConnection.connect(options, autocommit=True) as other:
        await other.execute("NOTIFY news, 'text'")
    async for notice in connection.notifies(timeout=20, stop_after=1):
        return notice.payload


PROGRAMS = {one.__name__: one for one in (aiohttp, tornado, zmq, websockets, uvicorn, psycopg)}

if __name__ == "__main__":
    name, *arguments = sys.argv[1:]
    print(json.dumps(tidewaiter.asyncio.run(PROGRAMS[name](*arguments))))
