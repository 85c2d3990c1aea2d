//! Performs operations as far as the world's state allows.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use super::SimSocket;
use super::driver::{Decided, Pending, SimDriver, Source, Task};
use super::faults::{Call, Faults};
use super::network::Dialled;
use super::world::World;
use crate::port::buffer::{Buffer, Pool};
use crate::port::socket::SocketRepr;
use crate::port::table::Key;
use crate::port::{CloseMode, Failure, Outcome, Socket};

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
        let pending = self.operations.get(key).expect("it is under way");
        if pending.result.is_some() {
            return false;
        }
        let result = if pending.cancelled {
            Some(Err(Failure::Cancelled))
        } else {
            self.perform(world, key)
        };
        let Some(result) = result else {
            return false;
        };
        let due = world.delivery();
        let pending = self.operations.get_mut(key).expect("looked up above");
        let more = match result {
            Ok(Outcome::Accepted { .. }) => matches!(pending.task, Task::Accept),
            Ok(Outcome::Received(_)) => true,
            _ => false,
        };
        pending.result = Some(Decided { due, result, more });
        true
    }

    fn perform(&mut self, world: &mut World, key: Key) -> Attempt {
        let handle = self.operations.get(key).expect("looked up above").handle;
        if let Task::Close(mode) = self.operations.get(key).expect("looked up above").task {
            return self.perform_close(world, key, mode);
        }
        let pending = self.operations.get_mut(key).expect("looked up above");
        let entry = self.handles.get_mut(handle.0);
        let source = &mut entry.expect("a handle outlives its operations").source;
        match (&mut pending.task, *source) {
            (Task::Accept | Task::AcceptOne, Source::Listener(listener)) => {
                accept(world, listener, &self.shared).map(|result| named("accept", result))
            }
            (Task::Connect(peer), Source::Bound(local)) => {
                let peer = *peer;
                connect(world, pending, source, local, peer).map(|result| named("connect", result))
            }
            (Task::Connect(_), _) => {
                let error = io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "the socket is already connected",
                );
                Some(named("connect", Err(error)))
            }
            (Task::Receive, source) => receive(world, source, &self.pool)
                .transpose()
                .map(|result| named("recv", result)),
            (Task::Send(_), source) => send(world, pending, source)
                .transpose()
                .map(|result| named("send", result)),
            (Task::Exit, Source::Process(child)) => {
                let status = world.child(child).status?;
                Some(Ok(Outcome::Exited(status)))
            }
            (Task::HangUp, source) => hang_up(world, source)
                .transpose()
                .map(|result| named("poll", result)),
            (Task::Silence, _) => None,
            (task, source) => unreachable!("{task:?} was submitted on {source:?}"),
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
        let source = std::mem::replace(&mut entry.source, Source::Gone);
        SimDriver::close_source(world, source, mode);
        Some(Ok(Outcome::Closed))
    }
}

fn named(call: &'static str, result: io::Result<Outcome>) -> Result<Outcome, Failure> {
    result.map_err(|source| Failure::os(call, source))
}

fn accept(
    world: &mut World,
    listener: Key,
    shared: &Arc<super::Shared>,
) -> Option<io::Result<Outcome>> {
    let accepted = world.accept(listener)?;
    Some(accepted.map(|end| {
        let (_, peer) = world.addresses(end);
        let socket = SimSocket {
            shared: Arc::clone(shared),
            end: Some(end),
        };
        let socket = Socket(SocketRepr::Sim(Box::new(socket)));
        Outcome::Accepted { socket, peer }
    }))
}

fn connect(
    world: &mut World,
    pending: &mut Pending,
    source: &mut Source,
    local: SocketAddr,
    peer: SocketAddr,
) -> Option<io::Result<Outcome>> {
    match world.dial(local, peer) {
        Ok(Dialled::Connected(end)) => {
            *source = Source::Stream(end);
            Some(Ok(Outcome::Connected))
        }
        Ok(Dialled::Waiting) => None,
        Ok(Dialled::Silence) => {
            pending.task = Task::Silence;
            None
        }
        Err(error) => Some(Err(error)),
    }
}

fn receive(world: &mut World, source: Source, pool: &Rc<Pool>) -> io::Result<Option<Outcome>> {
    if let Some(error) = world.ordered.take(Call::Receive) {
        return Err(error);
    }
    let channel = match source {
        Source::Stream(end) => world.receive_from(end)?,
        Source::Reader(channel) => Some(channel).filter(|&key| world.channel(key).is_readable()),
        _ => return Err(io::Error::from(io::ErrorKind::NotConnected)),
    };
    Ok(channel.map(|channel| match read(world, channel, pool) {
        Some(buffer) => Outcome::Received(buffer),
        None => Outcome::EndOfFile,
    }))
}

/// Reads the available bytes into memory from the pool; leases none if there are no bytes.
fn read(world: &mut World, channel: Key, pool: &Rc<Pool>) -> Option<Buffer> {
    let there = world.channel(channel).len();
    if there == 0 {
        return None;
    }
    let mut lease = pool.lease();
    let most = there.min(lease.capacity());
    let most = Faults::shorten(most, world.faults.short_receives, &mut world.random);
    let count = world.read_channel(channel, &mut lease.as_mut_slice()[..most]);
    Some(lease.filled(count))
}

/// Whether both directions have ended.
fn hang_up(world: &World, source: Source) -> io::Result<Option<Outcome>> {
    let over = match source {
        Source::Stream(end) => world.is_over(end)?,
        Source::Writer(channel) => !world.channel(channel).has_reader(),
        _ => unreachable!("only connections and writable pipes hang up"),
    };
    Ok(over.then_some(Outcome::HungUp))
}

fn send(world: &mut World, pending: &mut Pending, source: Source) -> io::Result<Option<Outcome>> {
    if let Some(error) = world.ordered.take(Call::Send) {
        return Err(error);
    }
    let Task::Send(chunks) = &mut pending.task else {
        unreachable!("the caller found a send");
    };
    let sent = match source {
        Source::Stream(end) => world.send(end, chunks)?,
        Source::Writer(channel) => send_to_pipe(world, channel, chunks)?,
        _ => return Err(io::Error::from(io::ErrorKind::NotConnected)),
    };
    Ok(sent.map(|bytes| {
        chunks.note_sent(bytes);
        Outcome::Sent { bytes }
    }))
}

fn send_to_pipe(
    world: &mut World,
    channel: Key,
    chunks: &crate::port::Chunks,
) -> io::Result<Option<usize>> {
    let state = world.channel(channel);
    if state.has_reader() && state.room() == 0 {
        return Ok(None);
    }
    world.send_into(channel, chunks).map(Some)
}
