"""A pytest plugin: uvloop's own tests for other loops run on asyncio's default loop, as another one than asyncio's own.

So the tests that leave asyncio's own loops out, for what those do wrong, run as well.
"""

import asyncio
import os
import sys

from uvloop import _testbase

if os.environ.get("TEST_LOOP"):
    case = _testbase.AIOTestCase
    case.implementation = "another"
    # They would set a child watcher, which is for asyncio's own loops.
    case.setUp = _testbase.BaseTestCase.setUp
    case.tearDown = _testbase.BaseTestCase.tearDown
    if sys.version_info < (3, 14):
        case.new_policy = lambda self: asyncio.DefaultEventLoopPolicy()
