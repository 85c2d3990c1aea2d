//! One turn of the port: performing operations as far as the world's state allows, and delivering
//! their completions.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::accept::{attempt_accept, attempt_accept_on_pipe};
use super::child::attempt_exit;
use super::connect::attempt_connect;
use super::driver::SimDriver;
use super::entry::Source;
use super::file::{attempt_file, attempt_open};
use super::hang_up::attempt_hang_up;
use super::pending::{DueCompletion, Pending, Work};
use super::receive::{Receiving, attempt_receive};
use super::receive_datagrams::attempt_receive_datagrams;
use super::send::attempt_send;
use super::send_datagrams::attempt_send_datagrams;
use super::world::World;
use crate::port::table::Key;
use crate::port::{
    BATCH_MAX, Chunks, CloseMode, Completion, Failure, Operation, Outcome, RequestKind,
};

/// The result of an attempt; `None` if it must be repeated later.
type Attempt = Option<Result<Outcome, Failure>>;

impl SimDriver {
    /// Attempts each operation that is not decided yet; returns whether any of them now is.
    pub(super) fn attempt_all(&mut self, keys: &[Key]) -> bool {
        let shared = Arc::clone(&self.shared);
        shared.change(|world| {
            let mut progress = false;
            for &key in keys {
                let decided = self.attempt(world, key);
                progress |= decided;
                if decided {
                    // Let the programs react, so that their output can be received in the same
                    // round.
                    world.run_programs();
                }
            }
            progress
        })
    }

    fn attempt(&mut self, world: &mut World, key: Key) -> bool {
        let pending = self.operations.get_mut(key).expect("it is under way");
        if pending.completion.is_some() {
            return false;
        }
        let result = if pending.cancelled {
            Some(cancelled(&mut pending.work))
        } else {
            self.perform(world, key)
        };
        let Some(result) = result else {
            return false;
        };
        let due = world.delivery();
        let pending = self.operations.get_mut(key).expect("looked up above");
        let more = match result {
            Ok(Outcome::Accepted { .. }) => matches!(pending.work, Work::Accept),
            Ok(
                Outcome::Received(_)
                | Outcome::ReceivedWithDescriptors(_)
                | Outcome::Datagrams(_)
                | Outcome::DatagramError(_),
            ) => true,
            _ => false,
        };
        pending.completion = Some(DueCompletion { due, result, more });
        true
    }

    fn perform(&mut self, world: &mut World, key: Key) -> Attempt {
        let pending = self.operations.get_mut(key).expect("looked up above");
        if let Work::Close(mode) = pending.work {
            return self.perform_close(world, key, mode);
        }
        let entry = self.handles.get_mut(pending.handle.0);
        let source = &mut entry.expect("a handle outlives its operations").source;
        match (&mut pending.work, *source) {
            (Work::Accept | Work::AcceptOne, Source::Listener(listener)) => {
                attempt_accept(world, listener, &self.shared).map(|result| named("accept", result))
            }
            (Work::Accept | Work::AcceptOne, Source::PipeListener(listener)) => {
                attempt_accept_on_pipe(world, listener, &self.shared)
                    .map(|result| named("accept", result))
            }
            (Work::Connect(peer), _) => {
                let peer = peer.clone();
                attempt_connect(world, pending, source, &peer)
                    .map(|result| named("connect", result))
            }
            (&mut Work::Receive { with_descriptors }, source) => {
                let receiving = Receiving {
                    pool: &self.pool,
                    packet_max: self.shared.surge_bytes,
                    with_descriptors,
                };
                attempt_receive(world, source, &receiving)
                    .transpose()
                    .map(|result| named("recv", result))
            }
            (Work::Send(_), source) => attempt_send(world, pending, source)
                .transpose()
                .map(|result| named("send", result)),
            (Work::ReceiveDatagrams, Source::Datagrams(socket)) => Some(Ok(
                attempt_receive_datagrams(world, socket, &self.spare_datagrams)?,
            )),
            (Work::SendDatagrams(_), Source::Datagrams(socket)) => {
                attempt_send_datagrams(world, pending, socket).map(Ok)
            }
            (Work::Exit, Source::Process(child)) => attempt_exit(world, child)
                .transpose()
                .map(|result| named("wait", result)),
            (Work::HangUp, source) => attempt_hang_up(world, source)
                .transpose()
                .map(|result| named("poll", result)),
            (Work::OpenFile(file), _) => {
                let opened = attempt_open(world, source, file);
                Some(named("open", opened))
            }
            (Work::File(request), Source::File(file, access)) => {
                let call = request.call().name();
                let done = attempt_file(world, file, access, request);
                Some(named(call, done))
            }
            (Work::UnansweredConnect, _) => None,
            (work, source) => unreachable!("{work:?} was submitted on {source:?}"),
        }
    }

    /// Closes the handle, once every other operation on it has been delivered.
    fn perform_close(&mut self, world: &mut World, key: Key, mode: CloseMode) -> Attempt {
        let handle = self
            .operations
            .get(key)
            .expect("looked up by the caller")
            .handle;
        let mut operations = self.operations.iter();
        if operations.any(|(other, pending)| other != key && pending.handle == handle) {
            return None;
        }
        let entry = self.handles.get_mut(handle.0);
        let entry = entry.expect("a handle outlives its operations");
        let source = std::mem::replace(&mut entry.source, Source::Closed);
        source.close(world, mode);
        Some(Ok(Outcome::Closed))
    }

    /// Moves completions that are due by now to `completions`.
    pub(super) fn deliver(&mut self, completions: &mut Vec<Completion>) -> usize {
        let (now, mut due) = {
            let mut world = self.shared.lock();
            let now = world.elapsed;
            let is_due =
                |pending: &Pending| pending.completion.as_ref().is_some_and(|r| r.due <= now);
            let due = self
                .operations
                .iter()
                .filter(|(_, pending)| is_due(pending));
            let mut due: Vec<(Duration, Key)> = due
                .map(|(key, pending)| (pending.completion.as_ref().map_or(now, |r| r.due), key))
                .collect();
            due.sort_unstable();
            if world.faults.reorder {
                world.random.shuffle(&mut due);
            }
            (now, due)
        };
        due.truncate(BATCH_MAX);
        for &(due, key) in &due {
            debug_assert!(due <= now, "nothing is delivered before its time");
            completions.push(self.take(key));
        }
        due.len()
    }

    /// Takes the completion of an operation that is decided.
    fn take(&mut self, key: Key) -> Completion {
        let pending = self.operations.get_mut(key).expect("it is under way");
        let DueCompletion { result, more, .. } = pending.completion.take().expect("it is decided");
        let (token, kind, handle) = (pending.token, pending.kind, pending.handle);
        let mut unsent = Chunks::new();
        if !more && let Some(ended) = self.operations.remove(key) {
            unsent = match ended.work {
                Work::Send(chunks) => chunks,
                Work::File(request) => request.into_unsent(),
                _ => unsent,
            };
        }
        if kind == RequestKind::Close {
            self.handles.remove(handle.0);
        } else if !more && let Some(entry) = self.handles.get_mut(handle.0) {
            entry.under_way.remove(kind);
        }
        Completion {
            token,
            operation: Operation(key),
            kind,
            result,
            more,
            unsent,
        }
    }

    /// Acknowledges the waker; returns whether it was used.
    pub(super) fn take_wake_up(&self) -> bool {
        let woken = self.notify.take();
        if woken {
            self.waker.acknowledge();
        }
        woken
    }

    /// The time of the next scheduled event, for this port or in the world.
    pub(super) fn next_due(&self) -> Option<Duration> {
        let decided = self.operations.iter();
        let decided = decided.filter_map(|(_, pending)| Some(pending.completion.as_ref()?.due));
        decided.chain(self.shared.lock().next_event()).min()
    }

    pub(super) fn deadlock(&self) -> io::Error {
        let count = self.operations.len();
        let message = format!(
            "nothing can complete: {count} operations are under way, and no event, timeout or wake-up \
             will come (if another thread is to bring one: `Sim::builder(seed).patience(…)`)"
        );
        io::Error::new(io::ErrorKind::Deadlock, message)
    }
}

/// The completion of a cancelled operation. It returns the datagrams that were to be sent.
fn cancelled(work: &mut Work) -> Result<Outcome, Failure> {
    match work {
        Work::SendDatagrams(batch) => Ok(Outcome::DatagramsSent(std::mem::take(batch))),
        _ => Err(Failure::Cancelled),
    }
}

fn named(call: &'static str, result: io::Result<Outcome>) -> Result<Outcome, Failure> {
    result.map_err(|source| Failure::os(call, source))
}
