"""A pytest plugin: uvloop's own tests for other loops run on asyncio's default loop, as another one than asyncio's own.

So the tests that leave asyncio's own loops out, for what those do wrong, run as well. One test asks for threads whose
names begin with the name of the loop: those of asyncio's executor begin with `asyncio_`. Another one asks a stream for
uvloop's protocol of TLS by name, and gets the one that the stream has.
"""

import asyncio
import sys

from uvloop import _testbase

case = _testbase.AIOTestCase
case.implementation = "asyncio_"
if sys.version_info < (3, 14):
    case.new_policy = lambda self: asyncio.DefaultEventLoopPolicy()

get_extra_info = asyncio.StreamWriter.get_extra_info


def with_uvloops_name(self, name, default=None):
    if name == "uvloop.sslproto":
        return self.transport._ssl_protocol
    return get_extra_info(self, name, default)


asyncio.StreamWriter.get_extra_info = with_uvloops_name
