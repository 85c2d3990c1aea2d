//! Receiving from connections and pipes.

use std::io;
use std::rc::Rc;

use super::entry::Source;
use super::faults::{Call, Faults};
use super::world::World;
use super::world::pipes::PipeInput;
use crate::port::Outcome;
use crate::port::buffer::{Buffer, Pool};
use crate::port::completion::{PassedDescriptors, ReceivedWithDescriptors};
use crate::port::table::Key;

/// How a port receives.
pub(super) struct Receiving<'a> {
    pub(super) pool: &'a Rc<Pool>,
    /// The most bytes of a sequenced packet.
    pub(super) packet_max: usize,
    /// Whether descriptors that were passed are taken. Otherwise they are closed.
    pub(super) with_descriptors: bool,
}

/// Receives bytes or the end of file, if there are any.
pub(super) fn attempt_receive(
    world: &mut World,
    source: Source,
    receiving: &Receiving<'_>,
) -> io::Result<Option<Outcome>> {
    if let Some(error) = world.requested_failures.take(Call::Receive) {
        return Err(error);
    }
    let channel = match source {
        Source::Stream(end) => {
            let Some(channel) = world.receive_from(end)? else {
                return Ok(None);
            };
            return receive_from_socket(world, channel, receiving).map(Some);
        }
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
    Ok(
        channel.map(|channel| match read(world, channel, receiving.pool) {
            Some(buffer) => Outcome::Received(buffer),
            None => Outcome::EndOfFile,
        }),
    )
}

/// Receives bytes or a packet, with the descriptors that came with one of them.
fn receive_from_socket(
    world: &mut World,
    channel: Key,
    receiving: &Receiving<'_>,
) -> io::Result<Outcome> {
    let packet = world.channel(channel).first_message();
    let data = match packet {
        Some(length) => {
            let mut packet = vec![0; length];
            world.read_channel(channel, &mut packet);
            Some(packet.into())
        }
        None => read(world, channel, receiving.pool),
    };
    let Some(data) = data else {
        return Ok(Outcome::EndOfFile);
    };
    let descriptors = world.take_passed(channel);
    if packet.is_some_and(|length| length > receiving.packet_max) {
        let message = format!(
            "a packet is longer than `surge_bytes` of the world ({})",
            receiving.packet_max
        );
        return Err(io::Error::new(io::ErrorKind::InvalidData, message));
    }
    if descriptors.is_empty() || !receiving.with_descriptors {
        return Ok(Outcome::Received(data));
    }
    let passed = PassedDescriptors {
        descriptors,
        some_lost: false,
    };
    let received = ReceivedWithDescriptors { data, passed };
    Ok(Outcome::ReceivedWithDescriptors(Box::new(received)))
}

/// Reads the available bytes into memory from the pool; leases none if there are no bytes.
fn read(world: &mut World, channel: Key, pool: &Rc<Pool>) -> Option<Buffer> {
    let available = world.channel(channel).receivable();
    if available == 0 {
        return None;
    }
    let mut lease = pool.lease();
    let most = available.min(lease.capacity());
    let most = Faults::shorten(most, world.faults.short_receives, &mut world.random);
    let count = world.read_channel(channel, &mut lease.as_mut_slice()[..most]);
    Some(lease.filled(count))
}
