//! Waiting for hang-ups.

use std::io;

use super::entry::Source;
use super::world::World;
use crate::port::Outcome;

/// Reports a hang-up, once both directions have ended or the pipe has no reader.
pub(super) fn attempt_hang_up(world: &World, source: Source) -> io::Result<Option<Outcome>> {
    let over = match source {
        Source::Stream(end) => world.is_over(end)?,
        Source::Writer(channel) => !world.channel(channel).has_reader(),
        Source::Duplex(reads, writes) => {
            let takes_more = writes.is_some_and(|writes| world.channel(writes).has_reader());
            !world.channel(reads).has_writer() && !takes_more
        }
        Source::NamedPipe(end) => world.pipe_is_over(end),
        // As on Linux.
        Source::Unconnected(_) => true,
        _ => unreachable!("only connections and writable pipes hang up"),
    };
    Ok(over.then_some(Outcome::HungUp))
}
