"""Starts a child, prints what it writes, and how it ended. Run: python examples/python/spawn.py python --version"""

import os
import shutil
import sys

import tidewaiter.twisted

tidewaiter.twisted.install()

from twisted.internet import protocol, reactor


class Child(protocol.ProcessProtocol):
    def connectionMade(self):
        self.transport.closeStdin()

    def outReceived(self, data):
        print("output:", data.decode(errors="replace").rstrip(), flush=True)

    def errReceived(self, data):
        print("error:", data.decode(errors="replace").rstrip(), flush=True)

    def processEnded(self, reason):
        print("ended with code", reason.value.exitCode, flush=True)
        reactor.stop()


program = shutil.which(sys.argv[1]) or sys.argv[1]
reactor.callWhenRunning(reactor.spawnProcess, Child(), program, sys.argv[1:], os.environ)
reactor.run()
