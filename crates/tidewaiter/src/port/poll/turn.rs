//! The steps of a wait: asking the kernel which handles are ready, and attempting their operations.

use std::io;
use std::time::Duration;

use super::super::table::{Key, Table};
use super::super::{Completion, Failure, Outcome, RequestKind, control};
use super::accept::ACCEPTS_MAX;
use super::attempt::{Attempt, Tools};
use super::entry::{Direction, Entry};
use super::pending::Work;
use super::selector::Ended;
use super::watch::FOREIGN;
use super::{
    Place, PollPort, accept, child, connect, hang_up, messages, receive, receive_datagrams, send,
    send_datagrams, send_file,
};

/// A round ends after receiving this many bytes, so that the program processes them while they are
/// in the processor's cache, and the next round can reuse the memory.
const RECEIVED_MAX: usize = 128 * 1024;

/// While there is other work, the kernel is asked in one of this many waits: the question costs a small share of them,
/// and a new report waits for little.
const WAITS_FOR_A_QUESTION: u8 = 4;

impl PollPort {
    /// Whether to ask the kernel although there is other work: not before the end of a round over the queue, which is
    /// where new reports would go.
    pub(super) fn is_to_ask(&mut self) -> bool {
        self.unasked = self.unasked.saturating_add(1);
        let is_due = self.unasked >= WAITS_FOR_A_QUESTION;
        let is_round_over = self.ready.is_empty() || self.round == 0;
        is_due && is_round_over || self.foreign.descriptor().is_some()
    }

    /// Whether there is work that needs no question to the kernel.
    pub(super) fn has_work(&self) -> bool {
        !self.fresh.is_empty()
            || !self.ready.is_empty()
            || !self.finished.is_empty()
            || self.foreign_ready
            || self.foreign.is_always_ready()
    }

    /// Asks the kernel which handles are ready.
    pub(super) fn poll(&mut self, timeout: Option<Duration>) -> io::Result<Ended> {
        let (handles, ready, stale) = (&mut self.handles, &mut self.ready, &mut self.stale);
        let foreign_ready = &mut self.foreign_ready;
        let ended = self.selector.wait(timeout, |readiness| {
            if readiness.key == FOREIGN {
                *foreign_ready = true;
                return;
            }
            let Some(entry) = handles.get_mut(readiness.key) else {
                *stale += 1;
                return;
            };
            entry.note(readiness);
            if !entry.queued && entry.wants_attempt() {
                entry.queued = true;
                ready.push_back(readiness.key);
            }
        })?;
        self.round = self.ready.len();
        self.unasked = 0;
        if ended == Ended::Woken {
            self.waker.acknowledge();
        }
        Ok(ended)
    }

    /// Attempts newly submitted operations until there are `limit` completions.
    pub(super) fn visit_fresh(&mut self, completions: &mut Vec<Completion>, limit: usize) {
        if self.fresh.is_empty() {
            return;
        }
        let mut tools = Tools::new(&self.pools);
        while completions.len() < limit
            && let Some(key) = self.fresh.pop_front()
        {
            let Some(entry) = self.handles.get_mut(key) else {
                continue;
            };
            visit(entry, &mut self.operations, &mut tools, completions, limit);
            if !entry.queued && entry.wants_attempt() {
                entry.queued = true;
                self.ready.push_back(key);
            }
        }
    }

    /// Makes one round over the queue. Each handle is visited at most once, in turn, so that one
    /// that is always ready does not starve the others.
    pub(super) fn visit_ready(&mut self, completions: &mut Vec<Completion>, limit: usize) {
        if self.ready.is_empty() {
            return;
        }
        let mut tools = Tools::new(&self.pools);
        for _ in 0..self.ready.len() {
            if completions.len() >= limit || tools.received >= RECEIVED_MAX {
                return;
            }
            self.round = self.round.saturating_sub(1);
            let key = self.ready.pop_front().expect("counted above");
            let Some(entry) = self.handles.get_mut(key) else {
                continue;
            };
            visit(entry, &mut self.operations, &mut tools, completions, limit);
            entry.queued = entry.wants_attempt();
            if entry.queued {
                self.ready.push_back(key);
            }
        }
    }

    /// Delivers completions that need no attempt.
    pub(super) fn deliver_finished(&mut self, completions: &mut Vec<Completion>, limit: usize) {
        while completions.len() < limit
            && let Some(completion) = self.finished.pop_front()
        {
            if completion.kind == RequestKind::Close {
                self.closing -= 1;
            }
            if !completion.more {
                self.forget_finished(completion.operation.0, completion.kind);
            }
            completions.push(completion);
        }
    }

    fn forget_finished(&mut self, operation: Key, kind: RequestKind) {
        let Some(place) = self.operations.remove(operation) else {
            self.inherited -= 1;
            return;
        };
        if let Some(entry) = self.handles.get_mut(place.handle) {
            entry.under_way.remove(kind);
        }
    }
}

/// Attempts the operations of a handle that may succeed now, until there are `limit` completions.
#[inline(always)]
fn visit(
    entry: &mut Entry,
    operations: &mut Table<Place>,
    tools: &mut Tools,
    completions: &mut Vec<Completion>,
    limit: usize,
) {
    // Input first: the kernel reports a connection's error once, and the receiver needs it most.
    for direction in [Direction::Input, Direction::Output, Direction::HangUp] {
        if !entry.is_due(direction) {
            continue;
        }
        let mut attempts = attempts_max(entry, direction);
        while attempts > 0
            && completions.len() < limit
            && attempt(entry, direction, operations, tools, completions)
            && entry.is_due(direction)
        {
            attempts -= 1;
        }
    }
}

/// The number of attempts that one visit may make.
fn attempts_max(entry: &Entry, direction: Direction) -> usize {
    match (direction, &entry.input) {
        (Direction::Input, Some(pending)) if matches!(pending.work, Work::Accept) => ACCEPTS_MAX,
        _ => 1,
    }
}

/// Attempts the operation in `direction`, and appends its completion if there is one; returns whether there is.
#[inline(never)]
fn attempt(
    entry: &mut Entry,
    direction: Direction,
    operations: &mut Table<Place>,
    tools: &mut Tools,
    completions: &mut Vec<Completion>,
) -> bool {
    match entry.slot(direction) {
        None => false,
        Some(pending) if matches!(pending.work, Work::Receive) => {
            let attempt = receive::attempt(entry, tools);
            report(entry, direction, operations, attempt, completions)
        }
        Some(_) => {
            let attempt = attempt_other(entry, direction, tools);
            report(entry, direction, operations, attempt, completions)
        }
    }
}

/// Appends the completion that comes of an attempt; returns whether there is one. If the operation ends, the next waiting one
/// takes its place.
#[inline(always)]
fn report(
    entry: &mut Entry,
    direction: Direction,
    operations: &mut Table<Place>,
    attempt: Attempt,
    completions: &mut Vec<Completion>,
) -> bool {
    let Some(pending) = entry.slot(direction) else {
        return false;
    };
    match attempt {
        Attempt::NotReady => return false,
        Attempt::More(outcome) => completions.push(pending.completion(outcome)),
        Attempt::Last(result) => completions.extend(end(entry, direction, operations, result)),
    }
    true
}

/// Ends the operation in `direction`. The next waiting one takes its place.
#[inline(never)]
fn end(
    entry: &mut Entry,
    direction: Direction,
    operations: &mut Table<Place>,
    result: Result<Outcome, Failure>,
) -> Option<Completion> {
    let pending = entry.slot(direction).take()?;
    operations.remove(pending.operation.0);
    entry.under_way.remove(pending.kind());
    entry.promote();
    Some(pending.into_last(result))
}

/// Attempts an operation that is no receive of a stream. It stays out of line, so that these do not pay for it.
#[inline(never)]
fn attempt_other(entry: &mut Entry, direction: Direction, tools: &mut Tools) -> Attempt {
    let Some(pending) = entry.slot(direction) else {
        return Attempt::NotReady;
    };
    match &mut pending.work {
        Work::Accept => accept::attempt(entry),
        Work::AcceptOne => match accept::attempt(entry) {
            Attempt::More(accepted) => Attempt::Last(Ok(accepted)),
            other => other,
        },
        Work::Receive => receive::attempt(entry, tools),
        Work::ReceiveMessages(how) => {
            let how = *how;
            messages::receive(entry, how, tools)
        }
        Work::Exit => child::attempt(entry),
        Work::HangUp => hang_up::attempt(entry),
        Work::Connect(peer) => {
            let peer = control::os_address(peer);
            pending.work = Work::Connecting;
            connect::start(entry, peer)
        }
        Work::Connecting => connect::finish(entry),
        Work::Send(_) => send::attempt(entry, tools),
        Work::ReceiveDatagrams(_) => receive_datagrams::attempt(entry, tools),
        Work::SendDatagrams(_) => send_datagrams::attempt(entry, tools),
        Work::SendFile(_) => send_file::attempt(entry, tools),
        Work::SendMessages(_) => messages::send(entry),
    }
}
