"""Makes the loop that `TEST_LOOP` names (`module:factory`) the one that asyncio gives to programs that name none.

Python imports this module at its start if this folder is in `PYTHONPATH`. So children of a test get the loop as well.
"""

import importlib
import importlib.abc
import importlib.util
import os
import sys


def new_event_loop():
    module, _, name = os.environ["TEST_LOOP"].partition(":")
    return getattr(importlib.import_module(module), name)()


def install():
    events = importlib.import_module("asyncio.windows_events" if os.name == "nt" else "asyncio.unix_events")
    policy = getattr(events, "_DefaultEventLoopPolicy", None) or events.DefaultEventLoopPolicy
    policy._loop_factory = staticmethod(new_event_loop)


class Finder(importlib.abc.MetaPathFinder):
    """Installs when asyncio is first imported: programs without it start as fast as ever."""

    def find_spec(self, name, path, target=None):
        if name != "asyncio":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec("asyncio")
        load = spec.loader.exec_module

        def load_and_install(module):
            load(module)
            # The loader of a zip file loads all modules in it.
            if module.__name__ == name:
                install()

        spec.loader.exec_module = load_and_install
        return spec


if os.environ.get("TEST_LOOP"):
    if "asyncio" in sys.modules:
        install()
    else:
        sys.meta_path.insert(0, Finder())
