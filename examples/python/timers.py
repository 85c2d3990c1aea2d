"""Counts down in tenths of a second. Run: python examples/python/timers.py 5"""

import sys

import tidewaiter.twisted

tidewaiter.twisted.install()

from twisted.internet import reactor


def count(left):
    print(left, flush=True)
    if left:
        reactor.callLater(0.1, count, left - 1)
    else:
        reactor.stop()


if len(sys.argv) != 2 or not sys.argv[1].isdecimal():
    sys.exit("usage: python timers.py TENTHS")

reactor.callWhenRunning(count, int(sys.argv[1]))
reactor.run()
