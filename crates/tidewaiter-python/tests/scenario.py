"""The child process of `support.scenario`: installs the reactor, runs one scenario and writes its result."""

import faulthandler
import gc
import importlib
import json
import os
import sys
import threading
import time

_MODULES = {
    "tidewaiter": ("tidewaiter.twisted", "Reactor"),
    "epoll": ("twisted.internet.epollreactor", "EPollReactor"),
    "poll": ("twisted.internet.pollreactor", "PollReactor"),
    "select": ("twisted.internet.selectreactor", "SelectReactor"),
    "iocp": ("twisted.internet.iocpreactor.reactor", "IOCPReactor"),
}
# "none": the scenario brings its own reactor or loop.
_REACTOR = os.environ.get("TEST_REACTOR", "tidewaiter")
MODULE, CLASS = _MODULES.get(_REACTOR, ("", ""))


def reactor_class():
    """The class of the reactor under test."""
    return getattr(importlib.import_module(MODULE), CLASS)


class Log:
    """Collects the messages of Twisted's log as text: storing failures would keep their frames alive."""

    def __init__(self):
        self.failures = []
        self.messages = []

    def __call__(self, event):
        failure = event.get("log_failure") or event.get("failure")  # as Twisted's newer and older code names it
        if failure is not None:
            self.failures.append(f"{failure.type.__name__}: {failure.getErrorMessage()}")
        elif len(self.messages) < 1000:
            from twisted.logger import formatEvent

            self.messages.append(formatEvent(event))

    def count(self, kind):
        """The number of logged failures whose exception class is named `kind`."""
        return sum(1 for failure in self.failures if failure.partition(":")[0] == kind)


LOG = Log()


def install():
    """Installs the reactor under test, and sends Twisted's log to `LOG`."""
    importlib.import_module(MODULE).install()
    from twisted.internet import reactor
    from twisted.logger import globalLogBeginner

    globalLogBeginner.beginLoggingTo([LOG], redirectStandardIO=False)
    assert type(reactor) is reactor_class(), f"{reactor} is not the reactor that was asked for"
    return reactor


def _show_where_it_hangs(seconds):
    """Ends the process before the parent's limit. faulthandler's timer cannot do this: it hangs in forked children."""
    time.sleep(seconds)
    faulthandler.dump_traceback(all_threads=True)
    os._exit(1)


def main():
    module, function, arguments, result_path, seconds = sys.argv[1:]
    threading.Thread(target=_show_where_it_hangs, args=(float(seconds),), daemon=True).start()
    sys.modules["scenario"] = sys.modules["__main__"]
    # An embedded Python does not search its program's folder.
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    reactor = install() if MODULE else None
    scenario = getattr(importlib.import_module(f"scenarios.{module}"), function)
    result = scenario(reactor, *json.loads(arguments))
    gc.collect()
    if result_path:
        with open(result_path, "w", encoding="utf-8") as file:
            json.dump(result, file)


if __name__ == "__main__":
    main()
