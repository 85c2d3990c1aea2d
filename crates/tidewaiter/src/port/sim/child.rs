//! Children: starting them, and waiting for their exits.

use super::driver::SimDriver;
use super::entry::Source;
use super::world::World;
use crate::port::table::Key;
use crate::port::{Outcome, Spawned, SpawnedPipe};
use crate::process::{Command, PipeDirection, SpawnError};

impl SimDriver {
    pub(super) fn spawn_child(&mut self, command: &Command) -> Result<Spawned, SpawnError> {
        let started = self.shared.change(|world| world.start_child(command))?;
        let pipes = (0..).zip(started.pipes).filter_map(|(child_fd, channel)| {
            let (direction, end) = match child_fd {
                0 => (PipeDirection::ToChild, Source::Writer(channel?)),
                _ => (PipeDirection::FromChild, Source::Reader(channel?)),
            };
            Some(SpawnedPipe {
                child_fd,
                direction,
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
}

/// Reports a child's exit, once it has ended.
pub(super) fn attempt_exit(world: &World, child: Key) -> Option<Outcome> {
    world.child(child).status.map(Outcome::Exited)
}
