//! Sending to connections and pipes.

use std::io;

use super::entry::Source;
use super::faults::Call;
use super::pending::{Pending, Work};
use super::world::World;
use super::world::network::End;
use crate::port::table::Key;
use crate::port::{Chunks, Outcome};

/// Sends as many bytes as there is room for; none while there is no room.
pub(super) fn attempt_send(
    world: &mut World,
    pending: &mut Pending,
    source: Source,
) -> io::Result<Option<Outcome>> {
    if let Some(error) = world.requested_failures.take(Call::Send) {
        return Err(error);
    }
    let Work::Send(chunks) = &mut pending.work else {
        unreachable!("the caller found a send");
    };
    let sent = match source {
        Source::Stream(end) => {
            let sent = send_messages(world, end, chunks)?;
            return Ok(sent.map(|bytes| Outcome::Sent { bytes }));
        }
        Source::Writer(channel) | Source::Duplex(_, Some(channel)) => {
            send_to_pipe(world, channel, chunks)?
        }
        Source::NamedPipe(end) => world.send_to_pipe(end, chunks)?,
        Source::Duplex(_, None) => return Err(io::Error::from(io::ErrorKind::BrokenPipe)),
        _ => return Err(io::Error::from(io::ErrorKind::NotConnected)),
    };
    Ok(sent.map(|bytes| {
        chunks.note_sent(bytes);
        Outcome::Sent { bytes }
    }))
}

/// Sends the bytes of one message after another, as far as there is room, and takes them off the queue.
fn send_messages(world: &mut World, end: End, chunks: &mut Chunks) -> io::Result<Option<usize>> {
    let mut sent = 0;
    loop {
        let length = chunks.first_message().map_or(0, |(length, _)| length);
        match world.send(end, chunks) {
            Ok(Some(bytes)) => {
                chunks.note_sent(bytes);
                sent += bytes;
                if bytes < length || chunks.is_empty() {
                    return Ok(Some(sent));
                }
            }
            // The next attempt has the error again.
            Ok(None) | Err(_) if sent > 0 => return Ok(Some(sent)),
            other => return other,
        }
    }
}

fn send_to_pipe(world: &mut World, channel: Key, chunks: &Chunks) -> io::Result<Option<usize>> {
    let state = world.channel(channel);
    if state.has_reader() && state.room() == 0 {
        return Ok(None);
    }
    world.send_into(channel, chunks).map(Some)
}
