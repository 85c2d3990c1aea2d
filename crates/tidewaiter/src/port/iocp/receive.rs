//! Receiving: with memory where bytes are likely, and otherwise by a wait for them that holds none.
//!
//! A wait and a fetch are two calls into the system, a receive with memory is one. So some receives have
//! memory before there are bytes: a few of any kind, and those that are busy, up to a bound in bytes. Idle
//! ones make room for others.

use std::collections::VecDeque;
use std::io;
use std::rc::Rc;

use windows_sys::Win32::Foundation::ERROR_OPERATION_ABORTED;

use super::entry::Body;
use super::operation::{Finish, Record};
use super::{Iocp, pipe, socket};
use crate::port::buffer::{Lease, Pool};
use crate::port::table::Key;
use crate::port::{Failure, Outcome, PortOptions};

/// How many receives may hold memory before there are bytes, be they busy or not.
const FEW: usize = 64;
/// How many bytes all that hold memory before there are bytes may hold: 1024 of the usual pieces.
const EAGER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// One that has waited for so many turns is idle, and may lose its memory.
pub(super) const IDLE_TURNS: u64 = 1024;
/// What brought bytes so many times without being idle is busy; what brought little so many times goes on so.
const TIMES: u8 = 4;
/// Those that bring less than this get no more memory in advance: a page.
const LITTLE_BYTES: usize = 4096;
/// What surges no longer does when it has brought no more than this, so many times in a row.
const CALM_BYTES: usize = 16 * 1024;
const CALM_TIMES: u8 = 8;
/// How many pieces of memory for what surges are kept for reuse.
const WIDE_SPARE_MAX: usize = 4;

/// What a receive came to.
#[derive(Debug)]
pub(super) enum Came {
    /// The memory has this many bytes; none, if the receive only waited for them.
    Bytes(usize),
    /// No more will come.
    End,
    Failed(io::Error),
}

/// What a handle brought lately.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Habit {
    /// It fills the usual memory; and how many times in a row it was calm since.
    wide: bool,
    calm: u8,
    /// The turn in which it brought bytes, how many times in a row it was not idle before, and how many of
    /// the last it brought little.
    turn: u64,
    busy: u8,
    little: u8,
}

impl Habit {
    fn is_busy(self) -> bool {
        self.busy == TIMES
    }

    /// Whether it gets little memory in advance.
    fn is_little(self) -> bool {
        self.little == TIMES && !self.wide
    }

    /// Takes note of `bytes` received in a turn; with `full`, they filled the memory.
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

/// A receive that holds memory before there are bytes.
#[derive(Clone, Copy, Debug)]
struct Eager {
    operation: Key,
    since: u64,
    bytes: usize,
}

/// The memory to receive into, who has it in advance, and who goes on later.
pub(super) struct Receiving {
    /// A little more than is usual, so that a message of just that size does not fill it.
    pool: Rc<Pool>,
    /// For what surges.
    wide: Rc<Pool>,
    /// For those that bring little.
    little: Rc<Pool>,
    /// Each entry knows its place here.
    eager: Vec<Eager>,
    eager_bytes: usize,
    pub(super) eager_bytes_max: usize,
    few: usize,
    /// Which of them was looked at last.
    hand: usize,
    turns: u64,
    /// Those that have delivered bytes, and go on once everything else at hand is done.
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

    fn lease(&self, habit: Habit) -> Lease {
        match habit.wide {
            true => self.wide.lease(),
            false => self.pool.lease(),
        }
    }

    /// Memory before there are bytes, if such a one may have it.
    fn lease_in_advance(&self, habit: Habit) -> Option<Lease> {
        let room = self.eager_bytes < self.eager_bytes_max;
        if self.eager.len() >= self.few && !(habit.is_busy() && room) {
            return None;
        }
        Some(match habit.is_little() {
            true => self.little.lease(),
            false => self.lease(habit),
        })
    }

    /// Takes note of a receive with memory; returns its place.
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

    /// Frees a place; returns who stands there now.
    fn dismiss(&mut self, place: usize) -> Option<Key> {
        self.eager_bytes -= self.eager.swap_remove(place).bytes;
        self.eager.get(place).map(|moved| moved.operation)
    }

    /// Looks at the next of those with memory: returned if it is idle.
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
    /// Receives, with memory if it may have it in advance.
    pub(super) fn receive(&mut self, mut record: Box<Record>) {
        let operation = record.operation;
        let habit = self.entry_of(operation).habit;
        if let Some(lease) = self.receiving.lease_in_advance(habit) {
            let place = self.receiving.admit(operation, lease.capacity());
            self.entry_of_mut(operation).place = Some(place);
            record.lease = Some(lease);
        } else if habit.is_busy()
            && let Some(idle) = self.receiving.next_idle()
        {
            self.dismiss(idle);
            self.entry_of(idle).cancel(idle);
        }
        self.start_receive(record);
    }

    /// Takes its place from `operation`; returns whether it had one.
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
        let started = match self.body_of(operation) {
            (Body::Stream(socket), skip) => socket::start_receive(socket, record, skip),
            (Body::PipeReader(pipe), skip) => pipe::start_read(pipe, record, skip),
            _ => unreachable!("nothing else receives"),
        };
        self.started(operation, started);
    }

    /// Goes on with the receives that have delivered bytes.
    pub(super) fn receive_on(&mut self) {
        self.receiving.turns += 1;
        for _ in 0..self.receiving.resting.len() {
            let record = self
                .receiving
                .resting
                .pop_front()
                .expect("counted just now");
            let operation = record.operation;
            // It may have been cancelled meanwhile, or have ended.
            let live = self.operations.get(operation);
            if live.is_some_and(|live| live.ending.is_none()) {
                self.receive(record);
            } else {
                self.records.put(record);
                self.end_if_idle(operation);
            }
        }
    }

    /// Bytes have come or an end, or a wait for them is over; or it lost the place that it had.
    pub(super) fn received(&mut self, mut record: Box<Record>, finish: Finish, had_place: bool) {
        let operation = record.operation;
        let lease = record.lease.take();
        let waited = lease.is_none();
        if !waited && !had_place && finish.code == ERROR_OPERATION_ABORTED {
            // It lost its place, and waits without memory.
            return self.start_receive(record);
        }
        let (call, came) = match self.body_of(operation) {
            (Body::PipeReader(_), _) => ("ReadFile", pipe::finish_read(finish)),
            _ => ("WSARecv", socket::finish_receive(finish, waited)),
        };
        match came {
            Came::Bytes(bytes) => {
                if let Some(lease) = lease
                    && bytes > 0
                {
                    let turn = self.receiving.turns;
                    let full = bytes == lease.capacity();
                    self.entry_of_mut(operation).habit.note(turn, bytes, full);
                    self.report(operation, Outcome::Received(lease.filled(bytes)));
                }
            }
            // Another operation will find it.
            Came::End if self.is_ending(operation) => {}
            Came::End => return self.end_with(record, Ok(Outcome::EndOfFile)),
            Came::Failed(error) => return self.end_with(record, Err(Failure::os(call, error))),
        }
        if self.is_ending(operation) {
            self.records.put(record);
            return self.end_if_idle(operation);
        }
        if waited {
            record.lease = Some(self.receiving.lease(self.entry_of(operation).habit));
            return self.start_receive(record);
        }
        self.receiving.resting.push_back(record);
    }
}

#[cfg(test)]
mod tests {
    use super::{CALM_BYTES, CALM_TIMES, Habit, IDLE_TURNS, LITTLE_BYTES, TIMES};

    #[test]
    fn what_pauses_is_not_busy_until_it_comes_often_again() {
        let mut habit = Habit::default();
        for turn in 0..100 {
            habit.note(turn * (IDLE_TURNS + 1), 1, false);
            assert!(!habit.is_busy(), "it is idle in between");
        }
        let from = habit.turn;
        for time in 1..=u64::from(TIMES) {
            assert!(!habit.is_busy());
            habit.note(from + time * IDLE_TURNS, 1, false);
        }
        assert!(habit.is_busy());
        habit.note(habit.turn + IDLE_TURNS + 1, 1, false);
        assert!(!habit.is_busy());
    }

    #[test]
    fn little_memory_is_for_what_brings_little() {
        let mut habit = Habit::default();
        for _ in 0..TIMES {
            assert!(!habit.is_little());
            habit.note(0, LITTLE_BYTES - 1, false);
        }
        assert!(habit.is_little());
        habit.note(0, LITTLE_BYTES, true);
        assert!(!habit.is_little() && !habit.wide, "there was little memory");
    }

    #[test]
    fn what_fills_the_usual_memory_gets_more_until_it_is_calm() {
        let mut habit = Habit::default();
        habit.note(0, CALM_BYTES, false);
        assert!(!habit.wide);
        habit.note(0, CALM_BYTES + 1, true);
        for _ in 0..100 {
            for _ in 1..CALM_TIMES {
                habit.note(0, CALM_BYTES, false);
            }
            habit.note(0, CALM_BYTES + 1, false);
            assert!(habit.wide, "it brings much now and then");
        }
        for _ in 0..CALM_TIMES {
            assert!(habit.wide);
            habit.note(0, 1, false);
        }
        assert!(!habit.wide);
    }
}
