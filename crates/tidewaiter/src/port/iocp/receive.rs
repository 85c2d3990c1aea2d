//! Receiving: with memory where bytes are likely, and otherwise by a wait for them that holds none.
//!
//! A wait and a fetch are two calls into the system, a receive with memory is one. So some receives have
//! memory before there are bytes: a bounded number, whose idle members make room for others.

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

/// How many receives may hold memory before there are bytes.
const EAGER_MAX: usize = 64;
/// One of them that has waited for so many turns may lose its place.
pub(super) const IDLE_TURNS: u64 = 1024;
/// How many pieces of memory for full pipes are kept for reuse.
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

/// A receive that holds memory before there are bytes.
#[derive(Clone, Copy, Debug)]
struct Eager {
    operation: Key,
    since: u64,
}

/// The memory to receive into, who has it in advance, and who goes on later.
pub(super) struct Receiving {
    pool: Rc<Pool>,
    /// For pipes that were full.
    wide: Rc<Pool>,
    eager: Vec<Eager>,
    eager_max: usize,
    turns: u64,
    /// Those that have delivered bytes, and go on once everything else at hand is done.
    resting: VecDeque<Box<Record>>,
}

impl Receiving {
    pub(super) fn new(options: &PortOptions) -> Receiving {
        let wide_bytes = options.surge_bytes.max(options.receive_bytes);
        let buffers = usize::from(options.receive_buffers);
        Receiving {
            pool: Pool::new(options.receive_bytes, buffers),
            wide: Pool::new(wide_bytes, WIDE_SPARE_MAX),
            eager: Vec::new(),
            eager_max: buffers.min(EAGER_MAX),
            turns: 0,
            resting: VecDeque::new(),
        }
    }

    fn lease(&self, wide: bool) -> Lease {
        match wide {
            true => self.wide.lease(),
            false => self.pool.lease(),
        }
    }

    /// Whether `operation` may have memory in advance. If not, another one may be idle: it is returned, has
    /// lost its place, and is to be interrupted.
    fn admit(&mut self, operation: Key) -> Result<(), Option<Key>> {
        let since = self.turns;
        if self.eager.len() < self.eager_max {
            self.eager.push(Eager { operation, since });
            return Ok(());
        }
        let mut members = self.eager.iter().enumerate();
        // They stand in no order, but there are few.
        let idle = members.find(|(_, member)| member.since + IDLE_TURNS < since);
        let idle = idle.map(|(at, _)| at);
        Err(idle.map(|at| self.eager.swap_remove(at).operation))
    }

    #[cfg(test)]
    pub(super) fn has_place(&self, operation: Key) -> bool {
        (self.eager.iter()).any(|member| member.operation == operation)
    }

    /// Takes note that `operation` is back; returns whether it had a place.
    fn dismiss(&mut self, operation: Key) -> bool {
        let place = (self.eager.iter()).position(|member| member.operation == operation);
        place.map(|at| self.eager.swap_remove(at)).is_some()
    }
}

impl Iocp {
    /// Receives, with memory if a place is free for that.
    pub(super) fn receive(&mut self, mut record: Box<Record>) {
        let operation = record.operation;
        match self.receiving.admit(operation) {
            Ok(()) => record.lease = Some(self.lease_for(operation)),
            Err(Some(idle)) => {
                let live = self.operations.get(idle);
                let entry = live.and_then(|live| self.handles.get(live.handle));
                entry.inspect(|entry| entry.cancel(idle));
            }
            Err(None) => {}
        }
        self.start_receive(record);
    }

    fn lease_for(&self, operation: Key) -> Lease {
        self.receiving.lease(self.entry_of(operation).wide)
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

    /// Bytes have come or an end, or a wait for them is over.
    pub(super) fn received(&mut self, mut record: Box<Record>, finish: Finish) {
        let operation = record.operation;
        let had_place = self.receiving.dismiss(operation);
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
                    let full = bytes == lease.capacity();
                    self.entry_of_mut(operation).note_full(full);
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
            record.lease = Some(self.lease_for(operation));
            return self.start_receive(record);
        }
        self.receiving.resting.push_back(record);
    }
}
