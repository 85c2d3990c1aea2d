//! Receives: with memory in advance where bytes are likely, and otherwise by waiting for bytes
//! without memory.
//!
//! Waiting for bytes and fetching them takes two system calls; receiving with memory takes one. So
//! some receives hold memory before there are bytes: a few of any kind, and busy ones up to a bound
//! in bytes. Idle ones give way to others.

use std::collections::VecDeque;
use std::io;
use std::rc::Rc;

use windows_sys::Win32::Foundation::ERROR_OPERATION_ABORTED;

use super::entry::Source;
use super::operation::{Finish, Record};
use super::{Iocp, pipe, socket};
use crate::port::buffer::{Lease, Pool};
use crate::port::table::Key;
use crate::port::{Failure, Outcome, PortOptions};

/// The number of receives, busy or not, that may hold memory in advance.
const FEW: usize = 64;
/// The most bytes of memory that all receives may hold in advance: 1024 buffers of the usual size.
const EAGER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// A receive that has waited for this many turns is idle, and may lose its memory.
pub(super) const IDLE_TURNS: u64 = 1024;
/// A handle is busy after receiving this many times without being idle in between. It gets a small
/// buffer in advance after receiving few bytes this many times in a row.
const TIMES: u8 = 4;
/// A receive of fewer bytes than this counts as small; the small buffers have this size: a page.
const LITTLE_BYTES: usize = 4096;
/// A surge ends after receiving no more than this, so many times in a row.
const CALM_BYTES: usize = 16 * 1024;
const CALM_TIMES: u8 = 8;
/// The number of large buffers kept for reuse.
const WIDE_SPARE_MAX: usize = 4;

/// The result of a receive.
#[derive(Debug)]
pub(super) enum ReceiveResult {
    /// The number of bytes received; zero if the receive only waited for them.
    Bytes(usize),
    /// The end of file.
    End,
    Failed(io::Error),
}

/// A handle's recent traffic.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Traffic {
    /// Whether it fills the usual buffers, and the number of calm receives in a row.
    wide: bool,
    calm: u8,
    /// The turn of the last receive, the number of receives without being idle in between, and the
    /// number of small receives in a row (both up to `TIMES`).
    turn: u64,
    busy: u8,
    little: u8,
}

impl Traffic {
    fn is_busy(self) -> bool {
        self.busy == TIMES
    }

    /// Whether a small buffer in advance suffices.
    fn is_little(self) -> bool {
        self.little == TIMES && !self.wide
    }

    /// Records `bytes` received in a turn; with `full`, they filled the memory.
    pub(super) fn note(&mut self, turn: u64, bytes: usize, full: bool) {
        self.calm = if bytes <= CALM_BYTES {
            self.calm.saturating_add(1)
        } else {
            0
        };
        self.wide = match self.wide {
            true => self.calm < CALM_TIMES,
            false => full && !self.is_little(),
        };
        let idle = turn - self.turn > IDLE_TURNS;
        self.busy = if idle { 0 } else { TIMES.min(self.busy + 1) };
        let little = bytes < LITTLE_BYTES;
        self.little = if little {
            TIMES.min(self.little + 1)
        } else {
            0
        };
        self.turn = turn;
    }
}

/// A receive that holds memory in advance.
#[derive(Clone, Copy, Debug)]
struct Eager {
    operation: Key,
    since: u64,
    bytes: usize,
}

/// The memory to receive into, the receives that hold memory in advance, and those that are to
/// continue.
pub(super) struct Receiving {
    /// Usual buffers, somewhat larger than the usual size, so that a message of exactly that size
    /// does not fill one.
    pool: Rc<Pool>,
    /// Large buffers, for surges.
    wide: Rc<Pool>,
    /// Small buffers, for handles that receive little.
    little: Rc<Pool>,
    /// The receives that hold memory in advance; each handle's entry has its index here.
    eager: Vec<Eager>,
    eager_bytes: usize,
    pub(super) eager_bytes_max: usize,
    few: usize,
    /// The index of the receive that was last checked for being idle.
    hand: usize,
    turns: u64,
    /// Receives that have delivered bytes, and continue once all other work at hand is done.
    resting: VecDeque<Box<Record>>,
}

impl Receiving {
    pub(super) fn new(options: &PortOptions) -> Receiving {
        let wide_bytes = options.surge_bytes.max(options.receive_bytes);
        let little_bytes = options.receive_bytes.min(LITTLE_BYTES);
        let buffers = usize::from(options.receive_buffers);
        Receiving {
            pool: Pool::new(
                options
                    .receive_bytes
                    .saturating_add(options.receive_bytes / 16),
                buffers,
            ),
            wide: Pool::new(wide_bytes, WIDE_SPARE_MAX),
            little: Pool::new(little_bytes, buffers),
            eager: Vec::new(),
            eager_bytes: 0,
            eager_bytes_max: EAGER_BYTES_MAX,
            few: buffers.min(FEW),
            hand: 0,
            turns: 0,
            resting: VecDeque::new(),
        }
    }

    fn lease(&self, traffic: Traffic) -> Lease {
        match traffic.wide {
            true => self.wide.lease(),
            false => self.pool.lease(),
        }
    }

    /// Leases memory in advance, if a handle with this traffic may have it.
    fn lease_in_advance(&self, traffic: Traffic) -> Option<Lease> {
        let room = self.eager_bytes < self.eager_bytes_max;
        if self.eager.len() >= self.few && !(traffic.is_busy() && room) {
            return None;
        }
        Some(match traffic.is_little() {
            true => self.little.lease(),
            false => self.lease(traffic),
        })
    }

    /// Registers a receive with memory in advance; returns its index.
    fn admit(&mut self, operation: Key, bytes: usize) -> usize {
        let since = self.turns;
        self.eager_bytes += bytes;
        self.eager.push(Eager {
            operation,
            since,
            bytes,
        });
        self.eager.len() - 1
    }

    /// Removes the receive at `place`; returns the one that is now at that index.
    fn dismiss(&mut self, place: usize) -> Option<Key> {
        self.eager_bytes -= self.eager.swap_remove(place).bytes;
        self.eager.get(place).map(|moved| moved.operation)
    }

    /// Checks the next receive with memory in advance; returns it if it is idle.
    fn next_idle(&mut self) -> Option<Key> {
        self.hand = (self.hand + 1) % self.eager.len().max(1);
        let eager = self.eager.get(self.hand)?;
        (eager.since + IDLE_TURNS < self.turns).then_some(eager.operation)
    }

    #[cfg(test)]
    pub(super) fn has_place(&self, operation: Key) -> bool {
        (self.eager.iter()).any(|eager| eager.operation == operation)
    }
}

impl Iocp {
    /// Receives, with memory in advance if possible. Otherwise a busy receive makes an idle one
    /// give up its memory.
    pub(super) fn receive(&mut self, mut record: Box<Record>) {
        let operation = record.operation;
        let traffic = self.entry_of(operation).traffic;
        if let Some(lease) = self.receiving.lease_in_advance(traffic) {
            let place = self.receiving.admit(operation, lease.capacity());
            self.entry_of_mut(operation).place = Some(place);
            record.lease = Some(lease);
        } else if traffic.is_busy()
            && let Some(idle) = self.receiving.next_idle()
        {
            self.dismiss(idle);
            self.entry_of(idle).cancel(idle);
        }
        self.start_receive(record);
    }

    /// Removes `operation` from the receives with memory in advance; returns whether it was one.
    pub(super) fn dismiss(&mut self, operation: Key) -> bool {
        let Some(place) = self.entry_of_mut(operation).place.take() else {
            return false;
        };
        if let Some(moved) = self.receiving.dismiss(place) {
            self.entry_of_mut(moved).place = Some(place);
        }
        true
    }

    fn start_receive(&mut self, record: Box<Record>) {
        let operation = record.operation;
        let started = match self.source_of(operation) {
            (Source::Stream(socket), skip) => socket::start_receive(socket, record, skip),
            (Source::PipeReader(pipe), skip) => {
                if self.entry_of(operation).ends_when_empty {
                    pipe::disconnect_if_empty(pipe);
                }
                pipe::start_read(pipe, record, skip)
            }
            _ => unreachable!("nothing else receives"),
        };
        self.started(operation, started);
    }

    /// Continues the receives that have delivered bytes.
    pub(super) fn receive_on(&mut self) {
        self.receiving.turns += 1;
        for _ in 0..self.receiving.resting.len() {
            let record = self
                .receiving
                .resting
                .pop_front()
                .expect("counted just now");
            let operation = record.operation;
            // The receive may have been cancelled or have ended meanwhile.
            let pending = self.operations.get(operation);
            if pending.is_some_and(|pending| pending.ending.is_none()) {
                self.receive(record);
            } else {
                self.records.put(record);
                self.end_if_idle(operation);
            }
        }
    }

    /// Handles the end of a receive call: bytes, the end of file, a failure, the end of a wait for
    /// bytes, or the loss of its memory to another receive (`had_place` is false).
    pub(super) fn received(&mut self, mut record: Box<Record>, finish: Finish, had_place: bool) {
        let operation = record.operation;
        let lease = record.lease.take();
        let waited = lease.is_none();
        if !waited && !had_place && finish.code == ERROR_OPERATION_ABORTED {
            // Another receive has taken its memory: wait for bytes without memory.
            return self.start_receive(record);
        }
        let (call, result) = match self.source_of(operation) {
            (Source::PipeReader(_), _) => ("ReadFile", pipe::finish_read(finish)),
            _ => ("WSARecv", socket::finish_receive(finish, waited)),
        };
        match result {
            ReceiveResult::Bytes(bytes) => {
                if let Some(lease) = lease
                    && bytes > 0
                {
                    let turn = self.receiving.turns;
                    let full = bytes == lease.capacity();
                    self.entry_of_mut(operation).traffic.note(turn, bytes, full);
                    self.report(operation, Outcome::Received(lease.filled(bytes)));
                }
            }
            // The operation is ending; a later one will find the end of file.
            ReceiveResult::End if self.is_ending(operation) => {}
            ReceiveResult::End => return self.end_with(record, Ok(Outcome::EndOfFile)),
            ReceiveResult::Failed(error) => {
                return self.end_with(record, Err(Failure::os(call, error)));
            }
        }
        if self.is_ending(operation) {
            self.records.put(record);
            return self.end_if_idle(operation);
        }
        if waited {
            record.lease = Some(self.receiving.lease(self.entry_of(operation).traffic));
            return self.start_receive(record);
        }
        self.receiving.resting.push_back(record);
    }
}

#[cfg(test)]
mod tests {
    use super::{CALM_BYTES, CALM_TIMES, IDLE_TURNS, LITTLE_BYTES, TIMES, Traffic};

    #[test]
    fn what_pauses_is_not_busy_until_it_comes_often_again() {
        let mut traffic = Traffic::default();
        for turn in 0..100 {
            traffic.note(turn * (IDLE_TURNS + 1), 1, false);
            assert!(!traffic.is_busy(), "it is idle in between");
        }
        let from = traffic.turn;
        for time in 1..=u64::from(TIMES) {
            assert!(!traffic.is_busy());
            traffic.note(from + time * IDLE_TURNS, 1, false);
        }
        assert!(traffic.is_busy());
        traffic.note(traffic.turn + IDLE_TURNS + 1, 1, false);
        assert!(!traffic.is_busy());
    }

    #[test]
    fn little_memory_is_for_what_brings_little() {
        let mut traffic = Traffic::default();
        for _ in 0..TIMES {
            assert!(!traffic.is_little());
            traffic.note(0, LITTLE_BYTES - 1, false);
        }
        assert!(traffic.is_little());
        traffic.note(0, LITTLE_BYTES, true);
        assert!(
            !traffic.is_little() && !traffic.wide,
            "there was little memory"
        );
    }

    #[test]
    fn what_fills_the_usual_memory_gets_more_until_it_is_calm() {
        let mut traffic = Traffic::default();
        traffic.note(0, CALM_BYTES, false);
        assert!(!traffic.wide);
        traffic.note(0, CALM_BYTES + 1, true);
        for _ in 0..100 {
            for _ in 1..CALM_TIMES {
                traffic.note(0, CALM_BYTES, false);
            }
            traffic.note(0, CALM_BYTES + 1, false);
            assert!(traffic.wide, "it brings much now and then");
        }
        for _ in 0..CALM_TIMES {
            assert!(traffic.wide);
            traffic.note(0, 1, false);
        }
        assert!(!traffic.wide);
    }
}
