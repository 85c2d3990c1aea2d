//! Children: starting them, and waiting for their exits.

use std::io;
use std::sync::Arc;

use super::driver::SimDriver;
use super::entry::Source;
use super::faults::Call;
use super::shared_world::SharedWorld;
use super::world::World;
use super::world::channel::ChannelEnd;
use super::world::children::Stream;
use crate::port::table::Key;
use crate::port::{Outcome, Spawned, SpawnedPipe};
use crate::process::{Command, PipeDirection, SpawnError, SpawnStep, Stdio, TakenEnd, elsewhere};

impl SimDriver {
    pub(super) fn spawn_child(&mut self, command: &Command) -> Result<Spawned, SpawnError> {
        let (taken, shared) = self.take_shared(command)?;
        let started = self
            .shared
            .change(|world| world.start_child(command, shared))?;
        for end in taken {
            end.given();
        }
        let pipes = (0..).zip(started.pipes).filter_map(|(child_fd, pipe)| {
            let (direction, end) = match (pipe.reads, pipe.writes) {
                (Some(reads), Some(_)) => (PipeDirection::Both, Source::Duplex(reads, pipe.writes)),
                (None, Some(channel)) => (PipeDirection::ToChild, Source::Writer(channel)),
                (Some(channel), None) => (PipeDirection::FromChild, Source::Reader(channel)),
                (None, None) => return None,
            };
            Some(SpawnedPipe {
                child_fd,
                direction,
                half_closes: direction == PipeDirection::Both,
                handle: self.keep(end),
            })
        });
        let pipes = pipes.collect();
        Ok(Spawned {
            process: self.keep(Source::Process(started.child)),
            pid: started.pid,
            pipes,
        })
    }

    /// Takes the ends of pipes to other children that the standard streams are to be.
    fn take_shared(
        &self,
        command: &Command,
    ) -> Result<(Vec<TakenEnd<SharedEnd>>, [Stream; 3]), SpawnError> {
        let (mut taken, mut shared) = (Vec::new(), [Stream::default(); 3]);
        for (number, stream) in (0..).zip(&mut shared) {
            let Some(Stdio::SharedPipe(end)) = command.stdio(number) else {
                continue;
            };
            let end = end
                .take(|| Ok(SharedEnd::pair(&self.shared)))
                .and_then(|end| match Arc::ptr_eq(&end.end().world, &self.shared) {
                    true => Ok(end),
                    false => Err(elsewhere()),
                })
                .map_err(|source| command.failed((SpawnStep::Descriptor(number), source)))?;
            *stream = end.end().stream();
            taken.push(end);
        }
        Ok((taken, shared))
    }
}

/// An end of a pipe between two children, as long as no child has it.
struct SharedEnd {
    world: Arc<SharedWorld>,
    channel: Key,
    end: ChannelEnd,
}

impl SharedEnd {
    /// Opens a pipe; returns the reader and the writer.
    fn pair(world: &Arc<SharedWorld>) -> [SharedEnd; 2] {
        let channel = world.change(World::open_channel);
        [ChannelEnd::Reader, ChannelEnd::Writer].map(|end| SharedEnd {
            world: Arc::clone(world),
            channel,
            end,
        })
    }

    fn stream(&self) -> Stream {
        let channel = |end| (self.end == end).then_some(self.channel);
        Stream {
            reads: channel(ChannelEnd::Reader),
            writes: channel(ChannelEnd::Writer),
        }
    }
}

impl Drop for SharedEnd {
    fn drop(&mut self) {
        self.world
            .change(|world| world.release_channel(self.channel, self.end));
    }
}

/// Reports a child's exit, once it has ended.
pub(super) fn attempt_exit(world: &mut World, child: Key) -> io::Result<Option<Outcome>> {
    if let Some(error) = world.requested_failures.take(Call::Exit) {
        return Err(error);
    }
    Ok(world.child(child).status.map(Outcome::Exited))
}
