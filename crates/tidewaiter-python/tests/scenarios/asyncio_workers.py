"""Workers of Gunicorn on our asyncio loop."""

import aiohttp.web
import tidewaiter.asyncio
from aiohttp.worker import GunicornWebWorker
from uvicorn_worker import UvicornWorker


class Worker(UvicornWorker):
    CONFIG_KWARGS = {"loop": "tidewaiter.asyncio:new_event_loop"}


class WebWorker(GunicornWebWorker):
    def init_process(self):
        tidewaiter.asyncio.install()
        super().init_process()


async def loop(request):
    import asyncio

    return aiohttp.web.json_response(type(asyncio.get_running_loop()).__module__)


app = aiohttp.web.Application()
app.router.add_get("/loop", loop)
