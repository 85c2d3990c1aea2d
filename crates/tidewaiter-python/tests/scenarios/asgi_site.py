"""An ASGI application, for the servers that `test_asyncio_servers.py` starts."""

import asyncio
import contextlib
import sys

from starlette.applications import Starlette
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute


async def loop(request):
    return JSONResponse(type(asyncio.get_running_loop()).__module__)


async def large(request):
    async def pieces():
        for _ in range(100):
            yield b"x" * 100_000

    return StreamingResponse(pieces())


async def upload(request):
    return JSONResponse(len(await request.body()))


async def child(request):
    code = "import sys; print(sys.stdin.read().upper())"
    pipes = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE}
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, **pipes)
    output, _ = await process.communicate(b"through a child")
    return JSONResponse([process.returncode, output.decode().strip()])


async def echo(websocket):
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(text[::-1])


@contextlib.asynccontextmanager
async def lifespan(app):
    print("begun", flush=True)
    yield
    print("ended", flush=True)


app = Starlette(
    routes=[
        Route("/loop", loop),
        Route("/large", large),
        Route("/upload", upload, methods=["POST"]),
        Route("/child", child),
        WebSocketRoute("/echo", echo),
    ],
    lifespan=lifespan,
)
