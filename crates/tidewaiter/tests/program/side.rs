//! One side of a connection: a protocol, and a model of the calls it may receive.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use tidewaiter::{Address, Protocol, Reason, Transport};

use crate::support::reasons::kind_of;
use crate::world::{Probe, Stage, World, risky_callback};

/// The length of the head of a flow of bytes: the number of the side that sends it, and the id of its process.
const HEAD: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    Waiting,
    Made,
    Lost,
}

pub(crate) struct Side {
    pub(crate) number: usize,
    pub(crate) transport: RefCell<Option<Transport>>,
    pub(crate) life: Cell<Life>,
    /// Our address and the peer's.
    pub(crate) addresses: Cell<Option<(SocketAddr, SocketAddr)>>,
    pub(crate) written: Cell<usize>,
    /// The number of bytes written after it was clear that they would not be sent.
    late: Cell<usize>,
    pub(crate) unsent: Cell<usize>,
    pub(crate) received: Cell<usize>,
    head: RefCell<Vec<u8>>,
    pub(crate) paused: Cell<bool>,
    /// Whether it must receive nothing while it is congested.
    pub(crate) polite: Cell<bool>,
    /// Whether another transport pauses and resumes this one.
    pub(crate) driven: Cell<bool>,
    /// Whether it was told to close once everything is sent.
    pub(crate) leaving: Cell<bool>,
    /// Whether it was told to end its sending side.
    pub(crate) finishing: Cell<bool>,
    /// Whether it was told to close at once.
    pub(crate) closed_now: Cell<bool>,
    /// Whether it was told to release its connection, without an end of file.
    pub(crate) released: Cell<bool>,
    pub(crate) aborted: Cell<bool>,
    pub(crate) producer: Cell<Option<usize>>,
    pub(crate) read_ended: Cell<bool>,
    pub(crate) write_ended: Cell<bool>,
    pub(crate) panicked: Cell<bool>,
    pub(crate) reason: Cell<Option<&'static str>>,
}

impl Side {
    pub(crate) fn new(world: &World) -> Rc<Side> {
        let mut sides = world.sides.borrow_mut();
        let side = Rc::new(Side {
            number: sides.len(),
            transport: RefCell::new(None),
            life: Cell::new(Life::Waiting),
            addresses: Cell::new(None),
            written: Cell::new(0),
            late: Cell::new(0),
            unsent: Cell::new(0),
            received: Cell::new(0),
            head: RefCell::default(),
            paused: Cell::new(false),
            polite: Cell::new(false),
            driven: Cell::new(false),
            leaving: Cell::new(false),
            finishing: Cell::new(false),
            closed_now: Cell::new(false),
            released: Cell::new(false),
            aborted: Cell::new(false),
            producer: Cell::new(None),
            read_ended: Cell::new(false),
            write_ended: Cell::new(false),
            panicked: Cell::new(false),
            reason: Cell::new(None),
        });
        sides.push(Rc::clone(&side));
        side
    }

    pub(crate) fn is_made(&self) -> bool {
        self.life.get() == Life::Made
    }

    pub(crate) fn transport(&self) -> Option<Transport> {
        self.transport.borrow().clone()
    }

    /// The byte at a place of the flow that this side sends.
    fn byte_at(number: usize, place: usize) -> u8 {
        match place {
            0..4 => number.to_le_bytes()[place],
            4..HEAD => std::process::id().to_le_bytes()[place - 4],
            _ => ((place * 31) ^ (place >> 5) ^ (number * 7)).to_le_bytes()[0],
        }
    }

    /// Whether bytes written now will be sent, as far as the transport is open.
    pub(crate) fn takes_more(&self) -> bool {
        let ending = self.leaving.get() || self.finishing.get();
        !ending || self.producer.get().is_some()
    }

    /// Writes `count` bytes, as a copy or shared.
    pub(crate) fn write(&self, world: &World, count: usize, shared: bool) {
        let Some(transport) = self.transport() else {
            return;
        };
        let start = self.written.get();
        let bytes = (start..start + count).map(|place| Side::byte_at(self.number, place));
        let bytes: Vec<u8> = bytes.collect();
        if transport.is_open() && self.takes_more() {
            // Set before the call, because values dropped in it may write.
            self.written.set(start + count);
        } else {
            self.late.set(self.late.get() + count);
        }
        world.call(|| match shared {
            true => transport.write_bytes(Bytes::from_owner(Owned {
                bytes,
                _probe: Probe::new("bytes"),
            })),
            false => transport.write(&bytes),
        });
    }

    fn receive(&self, world: &World, data: &[u8]) {
        let place = self.received.get();
        self.received.set(place + data.len());
        let missing = HEAD.saturating_sub(place).min(data.len());
        self.head.borrow_mut().extend_from_slice(&data[..missing]);
        let Some(source) = self.source() else {
            return;
        };
        let start = place.max(HEAD);
        let wrong = data[start - place..]
            .iter()
            .zip(start..)
            .find(|&(&byte, place)| byte != Side::byte_at(source, place));
        world.check(wrong.is_none(), || {
            format!(
                "side {}: wrong byte from side {source}: {wrong:?}",
                self.number
            )
        });
    }

    /// The least and the most number of written bytes that the OS may have taken.
    pub(crate) fn sent(&self) -> (usize, usize) {
        let (written, unsent) = (self.written.get(), self.unsent.get());
        (
            written.saturating_sub(unsent),
            written.saturating_sub(unsent.saturating_sub(self.late.get())),
        )
    }

    /// The number of the side that sent the bytes received here, once that is known.
    ///
    /// There is none for bytes from another process: programs connect to addresses whose listeners are closed, and a
    /// program that runs beside this one may listen there.
    pub(crate) fn source(&self) -> Option<usize> {
        let head = self.head.borrow();
        let (number, process) = head.split_first_chunk()?;
        let process = u32::from_le_bytes(process.try_into().ok()?);
        let number = usize::try_from(u32::from_le_bytes(*number)).ok()?;
        (process == std::process::id()).then_some(number)
    }

    /// Checks that the protocol may be told of an arrival now.
    fn check_receives(&self, world: &World, what: &str) {
        let ended = self.read_ended.get() || self.leaving.get();
        let closed = self.closed_now.get() || self.aborted.get() || self.panicked.get();
        world.check(self.is_made() && !ended && !closed, || {
            format!(
                "side {}: {what} while {:?}, its end asked for or told: {ended}, closed: {closed}",
                self.number,
                self.life.get()
            )
        });
    }

    fn check_reason(&self, world: &World, reason: &'static str) {
        let fits = match reason {
            "panicked" => self.panicked.get(),
            "aborted" => self.aborted.get(),
            "stopped" => world.stage.get() == Stage::Draining,
            _ => !self.panicked.get(),
        };
        world.check(fits, || {
            format!("side {}: lost because {reason}", self.number)
        });
    }

    /// Reacts in one of several ways to the peer's end of file.
    fn react_to_end_of_file(&self, world: &World, transport: &Transport) {
        match world.below(4) {
            0 => {}
            1 => self.lose(world, transport),
            2 => {
                self.finishing.set(true);
                world.call(|| transport.lose_write_connection());
            }
            _ => {
                self.leaving.set(true);
                self.producer.set(None);
                Plain.read_connection_lost(transport);
            }
        }
    }

    pub(crate) fn lose(&self, world: &World, transport: &Transport) {
        self.leaving.set(true);
        world.call(|| transport.lose_connection());
    }
}

/// A protocol with the default for every event.
struct Plain;

impl Protocol for Plain {
    fn data_received(&mut self, _: &Transport, _: &[u8]) {}
}

/// Shared bytes that notice their drop.
struct Owned {
    bytes: Vec<u8>,
    _probe: Probe,
}

impl AsRef<[u8]> for Owned {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The protocol of a side.
pub(crate) struct SideProtocol {
    side: Rc<Side>,
    _probe: Probe,
}

impl SideProtocol {
    pub(crate) fn new(side: Rc<Side>) -> SideProtocol {
        SideProtocol {
            side,
            _probe: Probe::new("protocol"),
        }
    }

    fn told(&self, what: &str, body: impl FnOnce(&Side, &World)) {
        let side = &self.side;
        let what = format!("side {}: {what}", side.number);
        risky_callback(&what, |world| body(side, world), || side.panicked.set(true));
    }
}

impl Protocol for SideProtocol {
    fn connection_made(&mut self, transport: &Transport) {
        self.told("made", |side, world| {
            world.check(side.life.get() == Life::Waiting, || {
                format!("side {}: made while {:?}", side.number, side.life.get())
            });
            side.life.set(Life::Made);
            side.transport.replace(Some(transport.clone()));
            let ip = |address: Option<Address>| address.and_then(|address| address.socket_addr());
            let addresses = (ip(transport.local_addr().ok()), ip(transport.peer_addr()));
            // A stop ends a connection that is accepted only now, whatever its peer has sent.
            let in_time = matches!(world.stage.get(), Stage::Acting | Stage::Settling);
            if let (Some(local), Some(peer), true) = (addresses.0, addresses.1, in_time) {
                side.addresses.set(Some((local, peer)));
                world.note(format!("  it is {local}, its peer {peer}"));
            }
            if world.below(8) > 0 {
                side.write(world, HEAD + world.below(100), false);
            }
        });
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        self.told(&format!("{} bytes", data.len()), |side, world| {
            world.check(!data.is_empty(), || "nothing was received".to_owned());
            side.check_receives(world, "data");
            let held_back = side.paused.get() && !side.driven.get();
            world.check(!held_back, || {
                format!("side {}: data while paused", side.number)
            });
            world.check(!(side.polite.get() && transport.is_congested()), || {
                format!("side {}: data while congested", side.number)
            });
            side.receive(world, data);
        });
    }

    fn read_connection_lost(&mut self, transport: &Transport) {
        self.told("end of file", |side, world| {
            side.check_receives(world, "end of file");
            side.read_ended.set(true);
            side.react_to_end_of_file(world, transport);
        });
    }

    fn write_connection_lost(&mut self, transport: &Transport) {
        self.told("sent all", |side, world| {
            let due = side.is_made() && side.finishing.get() && side.producer.get().is_none();
            world.check(due && !side.write_ended.get(), || {
                format!("side {}: an end of sending that is not due", side.number)
            });
            world.check(transport.queued() == 0, || {
                format!(
                    "side {}: sent all, and {} bytes not",
                    side.number,
                    transport.queued()
                )
            });
            side.write_ended.set(true);
        });
    }

    fn connection_lost(&mut self, transport: &Transport, reason: Reason) {
        let reason = kind_of(&reason);
        self.told(&format!("lost: {reason}"), |side, world| {
            world.check(side.is_made(), || {
                format!("side {}: lost while {:?}", side.number, side.life.get())
            });
            side.check_reason(world, reason);
            side.life.set(Life::Lost);
            side.reason.set(Some(reason));
            side.unsent.set(transport.unsent());
            world.check(!transport.is_open(), || "lost, and open".to_owned());
        });
    }
}
