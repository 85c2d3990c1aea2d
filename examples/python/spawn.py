"""Starts a child, and prints its output and exit code. Run: python examples/python/spawn.py python --version"""

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
        self.show("output:", data)

    def errReceived(self, data):
        self.show("error:", data)

    def show(self, whence, data):
        # A piece of output can end anywhere, even before a line break that is then a piece of its own.
        text = data.decode(errors="replace").rstrip()
        if text:
            print(whence, text, flush=True)

    def processEnded(self, reason):
        print("ended with code", reason.value.exitCode, flush=True)
        reactor.stop()


if len(sys.argv) < 2:
    sys.exit("usage: python spawn.py PROGRAM [ARGUMENT]...")

program = shutil.which(sys.argv[1]) or sys.argv[1]
reactor.callWhenRunning(reactor.spawnProcess, Child(), program, sys.argv[1:], os.environ)
reactor.run()
