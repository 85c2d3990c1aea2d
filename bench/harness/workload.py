"""The entries of a catalogue: workloads with their figures and aims, and peers."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Figure:
    """A column of the table: a value that a run reports, and how to show it."""

    name: str
    head: str
    # The table shows the value divided by this.
    divisor: float = 1.0
    more_is_better: bool = False


RATE = Figure("rate", "rate/s", more_is_better=True)
PEAK = Figure("peak_kib", "peak MiB", 1024)
LATENCIES = (Figure("p50_us", "p50 us"), Figure("p99_us", "p99 us"), Figure("p999_us", "p99.9 us"))


# For `Aim.by`: all peers that are neither floors nor ours.
EVERY_PEER = ("every peer",)


@dataclass(frozen=True)
class Aim:
    """A bound for one of our peers: an upper bound, or a lower bound if more is better.

    The bound has the unit that the table shows. If `by` names other peers, it is a ratio to each of them.
    """

    ours: str
    bound: float
    by: tuple[str, ...] = ()
    # The figure that the aim is about; None means the value of the workload.
    figure: Figure | None = None


@dataclass(frozen=True)
class Workload:
    """A task that peers are measured with, which makes one table.

    With `load`, the peer is a server, and the load program drives it with these arguments. The value is CPU
    per "message", CPU per "gib" transferred, or "memory" per connection, as `per` says. Without `load`, the
    peer measures itself and reports the value; for "operation", the value is its CPU time, which we read.

    With `beside`, the other workload is measured too, and the figure `by_beside` is the ratio to its value.
    """

    name: str
    # The name that the peers know.
    task: str
    # The unit of the value.
    unit: str
    figures: tuple[Figure, ...]
    load: tuple[str, ...] = ()
    per: str = "message"
    more_is_better: bool = False
    # Whether the process is pinned to the first core. The load program always has the second one.
    pinned: bool = True
    aims: tuple[Aim, ...] = ()
    beside: Workload | None = None

    @property
    def connections(self) -> int:
        """The number of connections that the load program opens."""
        return int(self.load[self.load.index("--connections") + 1])


@dataclass(frozen=True)
class Peer:
    """A program that is measured: `package` is a package in bench/peers, or one of Python."""

    name: str
    package: str
    arguments: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    # A floor: a minimal loop without a runtime, which the others are compared with.
    floor: bool = False
    ours: bool = False
    # The crate whose version the report shows.
    crate: str | None = None
    # A library that must be installed: its name for pkg-config, and its Debian package.
    library: tuple[str, str] | None = None
    # A C++ header that must be installed, the macro in it that has the version, and its Debian package.
    header: tuple[str, str, str] | None = None
    # A program that must be installed: its name, and its Debian package.
    program: tuple[str, str] | None = None
