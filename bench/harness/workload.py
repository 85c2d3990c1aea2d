"""What a catalogue is made of: workloads with their figures and aims, and peers."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Figure:
    """A column of the table: the name of what a run tells, and how it is shown."""

    name: str
    head: str
    # The figure is divided by so much to be shown.
    divisor: float = 1.0
    more_is_better: bool = False


RATE = Figure("rate", "rate/s", more_is_better=True)
PEAK = Figure("peak_kib", "peak MiB", 1024)
LATENCIES = (Figure("p50_us", "p50 us"), Figure("p99_us", "p99 us"), Figure("p999_us", "p99.9 us"))


# In an `Aim`: all that are neither floors nor ours.
EVERY_PEER = ("every peer",)


@dataclass(frozen=True)
class Aim:
    """What one of ours is to reach: at most so much, or at least if more is better.

    The bound is in the unit that is shown or, where `by` names others, times what each of those has.
    """

    ours: str
    bound: float
    by: tuple[str, ...] = ()
    # The value of the workload if it is none of the figures.
    figure: Figure | None = None


@dataclass(frozen=True)
class Workload:
    """One table.

    Where `load` is given, the peer is a server that the load program drives with these arguments; `per`
    says what its value is: CPU per "message", CPU per "gib" that passes, or "memory" per connection. Else
    the peer measures itself and tells its value, unless that is the CPU per "operation", seen from outside.
    """

    name: str
    # What the peers call it.
    task: str
    # Of the value.
    unit: str
    figures: tuple[Figure, ...]
    load: tuple[str, ...] = ()
    per: str = "message"
    more_is_better: bool = False
    # Whether the process is held to the first core; the load program always has the second.
    pinned: bool = True
    aims: tuple[Aim, ...] = ()

    @property
    def connections(self) -> int:
        """What the load program is told."""
        return int(self.load[self.load.index("--connections") + 1])


@dataclass(frozen=True)
class Peer:
    """Who is measured: a program of bench/peers, where `package` is its name, or a package of Python's."""

    name: str
    package: str
    arguments: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    # It is no peer but what the kernel sets: the others are measured by it.
    floor: bool = False
    ours: bool = False
    # The crate whose version is the peer's; that of a library or header is the system's.
    crate: str | None = None
    # What must be installed, as pkg-config calls it, and Debian's name for it.
    library: tuple[str, str] | None = None
    # The same of C++: a header, the macro in it that tells the version, and Debian's name.
    header: tuple[str, str, str] | None = None
