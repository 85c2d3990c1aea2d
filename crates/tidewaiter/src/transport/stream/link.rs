//! A record of what the handle below a stream can do. A stream asks the record, never for the kind of handle.

use std::fmt;

use crate::os::Address;
use crate::port::Handle;

/// The directions in which bytes go over a handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Both,
    /// We only receive.
    In,
    /// We only send.
    Out,
}

/// What the other end of a handle sees of the writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// The bytes alone, in their order.
    Bytes,
    /// Each piece of the queue as a message, so that no write may become a part of another one's piece.
    Pieces,
    /// Each write as a packet, which one receive takes.
    Packets,
}

/// The handle below a stream, as the stream has to know it. The code that opened the handle picks the row.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    /// The address of the other end, if it has one.
    pub(super) peer: Option<Address>,
    pub(super) direction: Direction,
    /// The handle that sends, if it is not the one that receives: two pipes, for example, that are one stream.
    pub(super) output: Option<Handle>,
    /// Whether a hang-up is awaited. A file has none.
    pub(super) hangs_up: bool,
    /// Whether our sending side can be ended alone. If not, ending it closes the handle.
    pub(super) half_closes: bool,
    /// Whether what the peer sent can still be received after a send has failed. On TCP, both directions fail together.
    pub(super) fails_by_half: bool,
    /// Whether bytes may be sent by a plain system call, outside of an operation.
    pub(super) sends_now: bool,
    /// Whether the OS can hold back the last partial segment of a send.
    pub(super) holds_ends: bool,
    /// What of the writes the other end sees.
    pub(super) keeps: Kept,
    /// Whether descriptors can be passed, if the port does that.
    pub(super) passes_descriptors: bool,
    /// Whether the OS resets the connection if it is closed while the peer is still sending, so that a close in order
    /// has to linger.
    pub(super) lingers: bool,
}

impl Link {
    /// A TCP connection to or from `peer`.
    pub(crate) fn tcp(peer: Address) -> Link {
        Link {
            peer: Some(peer),
            direction: Direction::Both,
            output: None,
            hangs_up: true,
            half_closes: true,
            fails_by_half: false,
            sends_now: true,
            holds_ends: true,
            keeps: Kept::Bytes,
            passes_descriptors: false,
            lingers: true,
        }
    }

    /// A connection of a UNIX socket to or from `peer`. What differs from TCP is as in a [duplex pipe](Link::duplex).
    fn unix(peer: Address, packets: bool) -> Link {
        Link {
            peer: Some(peer),
            sends_now: !packets,
            keeps: if packets { Kept::Packets } else { Kept::Bytes },
            passes_descriptors: true,
            ..Link::duplex(true)
        }
    }

    /// A connection to or from `peer`, of a stream or of packets.
    pub(crate) fn to(peer: Address, packets: bool) -> Link {
        match peer {
            Address::Ip(_) => Link::tcp(peer),
            Address::Unix(_) => Link::unix(peer, packets),
            Address::Pipe(_) => Link {
                peer: Some(peer),
                keeps: if packets { Kept::Pieces } else { Kept::Bytes },
                ..Link::duplex(false)
            },
        }
    }

    /// One end of a pipe, whose bytes go one way only: [`In`](Direction::In) or [`Out`](Direction::Out).
    pub(crate) fn pipe(direction: Direction) -> Link {
        Link {
            peer: None,
            direction,
            output: None,
            hangs_up: true,
            half_closes: false,
            fails_by_half: false,
            sends_now: false,
            holds_ends: false,
            keeps: Kept::Bytes,
            passes_descriptors: false,
            lingers: false,
        }
    }

    /// One end of a pipe that goes both ways. It lingers if it can half-close: the peer sees an error in place of the end
    /// if a socket is closed with bytes that we have not received.
    pub(crate) fn duplex(half_closes: bool) -> Link {
        Link {
            half_closes,
            fails_by_half: true,
            lingers: half_closes,
            ..Link::pipe(Direction::Both)
        }
    }

    /// A serial port. The OS tells of its end only to a receive or a send.
    pub(crate) fn serial() -> Link {
        Link {
            hangs_up: false,
            ..Link::pipe(Direction::Both)
        }
    }

    /// A handle that only sends. `hangs_up`: whether it can hang up.
    pub(crate) fn writer(hangs_up: bool) -> Link {
        Link {
            hangs_up,
            ..Link::pipe(Direction::Out)
        }
    }

    /// Two handles, of which one receives and `output` sends. That nobody reads what we send does not end what we
    /// receive, so no hang-up is awaited: the next send reports it.
    pub(crate) fn pair(output: Handle) -> Link {
        Link {
            direction: Direction::Both,
            output: Some(output),
            hangs_up: false,
            half_closes: true,
            ..Link::pipe(Direction::Both)
        }
    }

    /// Whether a stream that is leaving receives and drops: the peer may take nothing before it has sent all of its own.
    pub(super) fn drops_while_leaving(&self) -> bool {
        self.receives() && self.sends() && self.output.is_none()
    }

    /// Whether bytes can arrive.
    pub(super) fn receives(&self) -> bool {
        self.direction != Direction::Out
    }

    /// Whether bytes can be sent.
    pub(super) fn sends(&self) -> bool {
        self.direction != Direction::In
    }
}

/// Writes the peer's address, or which end of a pipe this is.
impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.peer, self.direction) {
            (Some(peer), _) => peer.fmt(f),
            (None, Direction::In) => f.write_str("pipe reader"),
            (None, Direction::Out) => f.write_str("pipe writer"),
            (None, Direction::Both) if self.output.is_none() => f.write_str("duplex pipe"),
            (None, Direction::Both) => f.write_str("pair of pipes"),
        }
    }
}
