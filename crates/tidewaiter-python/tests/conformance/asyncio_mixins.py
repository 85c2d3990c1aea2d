"""CPython's own tests for every loop, which it binds to its own loops only. Here, asyncio's default loop takes them."""

import asyncio
import unittest

from test.test_asyncio import test_buffered_proto as buffered
from test.test_asyncio import test_events as events
from test.test_asyncio import test_sendfile as sendfile
from test.test_asyncio import test_server as server
from test.test_asyncio import test_sock_lowlevel as sock
from test.test_asyncio import test_sslproto as sslproto
from test.test_asyncio import test_subprocess as subprocess
from test.test_asyncio import utils


class EventLoopTests(events.EventLoopTestsMixin, events.SubprocessTestsMixin, utils.TestCase):
    def create_event_loop(self):
        return asyncio.new_event_loop()


class SockTests(sock.BaseSockTestsMixin, utils.TestCase):
    def create_event_loop(self):
        return asyncio.new_event_loop()


class SendfileTests(sendfile.SendfileTestsBase, utils.TestCase):
    def create_event_loop(self):
        return asyncio.new_event_loop()


class StartServerTests(server.BaseStartServer, unittest.TestCase):
    def new_loop(self):
        return asyncio.new_event_loop()


class BufferedProtocolTests(buffered.BaseTestBufferedProtocol, unittest.TestCase):
    def new_loop(self):
        return asyncio.new_event_loop()


class StartTLSTests(sslproto.BaseStartTLS, unittest.TestCase):
    def new_loop(self):
        return asyncio.new_event_loop()


class SubprocessTests(subprocess.SubprocessMixin, utils.TestCase):
    def setUp(self):
        super().setUp()
        self.loop = asyncio.new_event_loop()
        self.set_event_loop(self.loop)
