"""A pytest plugin: the server of httpx's tests gets a free port, in place of uvicorn's default one.

Test modules run in several processes at once, each with a server of its own.
"""

import functools
import socket

import uvicorn

initialize = uvicorn.Config.__init__


@functools.wraps(initialize)
def initialize_with_free_port(config, *arguments, **options):
    if "port" not in options:
        with socket.create_server(("127.0.0.1", 0)) as found:
            options["port"] = found.getsockname()[1]
    initialize(config, *arguments, **options)


uvicorn.Config.__init__ = initialize_with_free_port
