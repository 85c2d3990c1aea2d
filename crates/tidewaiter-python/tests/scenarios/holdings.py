"""Measures the resources that a process holds: objects, descriptors, memory."""

import gc
import os
import sys
from collections import Counter


def descriptors():
    """The number of descriptors (on Windows: handles) that this process has open."""
    if sys.platform != "win32":
        return len(os.listdir("/proc/self/fd"))
    import ctypes

    count = ctypes.c_ulong()
    kernel = ctypes.windll.kernel32
    kernel.GetCurrentProcess.restype = ctypes.c_void_p
    kernel.GetProcessHandleCount(ctypes.c_void_p(kernel.GetCurrentProcess()), ctypes.byref(count))
    return count.value


def resident():
    """The bytes of private memory that are not swapped out; None where the system does not report them."""
    return _status("RssAnon")


def resident_peak():
    """The peak of resident memory, including files, in bytes."""
    return _status("VmHWM")


def reset_peak():
    """Resets the peak."""
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def _status(name):
    try:
        with open("/proc/self/status") as file:
            lines = dict(line.split(":", 1) for line in file)
    except OSError:
        return None
    return int(lines[name].split()[0]) * 1024


class Holdings:
    """A snapshot of the resources, to compare with a later one."""

    def __init__(self):
        for _ in range(3):
            gc.collect()
        self.descriptors = descriptors()
        self.resident = resident()
        self.blocks = sys.getallocatedblocks()
        self.kinds = Counter(type(thing).__qualname__ for thing in gc.get_objects())

    def since(self, before):
        """The resources that grew since `before`."""
        more = dict(self.kinds - before.kinds)
        return {
            "descriptors": self.descriptors - before.descriptors,
            "resident": self.resident - before.resident if self.resident is not None else 0,
            "blocks": self.blocks - before.blocks,
            "objects": sum(more.values()),
            "kinds": dict(Counter(more).most_common(8)),
        }
