//! Receiving from connections and pipes.

use std::io;
use std::rc::Rc;

use super::entry::Source;
use super::faults::{Call, Faults};
use super::world::World;
use super::world::pipes::PipeInput;
use crate::port::Outcome;
use crate::port::buffer::{Buffer, Pool};
use crate::port::table::Key;

/// Receives bytes or the end of file, if there are any.
pub(super) fn attempt_receive(
    world: &mut World,
    source: Source,
    pool: &Rc<Pool>,
) -> io::Result<Option<Outcome>> {
    if let Some(error) = world.requested_failures.take(Call::Receive) {
        return Err(error);
    }
    let channel = match source {
        Source::Stream(end) => world.receive_from(end)?,
        Source::Reader(channel) | Source::Duplex(channel, _) => {
            Some(channel).filter(|&key| world.channel(key).is_readable())
        }
        Source::NamedPipe(end) => match world.receive_from_pipe(end)? {
            Some(PipeInput::Message(message)) => {
                return Ok(Some(Outcome::Received(message.into())));
            }
            Some(PipeInput::Bytes(channel)) => Some(channel),
            None => None,
        },
        _ => return Err(io::Error::from(io::ErrorKind::NotConnected)),
    };
    Ok(channel.map(|channel| match read(world, channel, pool) {
        Some(buffer) => Outcome::Received(buffer),
        None => Outcome::EndOfFile,
    }))
}

/// Reads the available bytes into memory from the pool; leases none if there are no bytes.
fn read(world: &mut World, channel: Key, pool: &Rc<Pool>) -> Option<Buffer> {
    let available = world.channel(channel).len();
    if available == 0 {
        return None;
    }
    let mut lease = pool.lease();
    let most = available.min(lease.capacity());
    let most = Faults::shorten(most, world.faults.short_receives, &mut world.random);
    let count = world.read_channel(channel, &mut lease.as_mut_slice()[..most]);
    Some(lease.filled(count))
}
