//! Children: what their ends are awaited by.

use super::super::{Spawned, SpawnedPipe};
use super::Uring;
use super::handle::Thing;
use crate::process::{self, Command, OsChild, PipeDirection, SpawnError, SpawnStep};

/// How many children are awaited by their numbers: at each end of a child, the kernel asks every operation
/// that waits so. Those beyond have pidfds, as those have that lead a group.
const BY_NUMBER_MAX: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Children {
    /// How many there are that were started without a pidfd.
    by_number: usize,
}

impl Children {
    pub(super) fn note_closed(&mut self, thing: &Thing) {
        if matches!(thing, Thing::Process(process) if process.is_by_number()) {
            self.by_number -= 1;
        }
    }
}

impl Uring {
    pub(super) fn spawn_child(&mut self, command: &Command) -> Result<Spawned, SpawnError> {
        // Asked before anything runs that would have to be ended again.
        self.ask_write_flags().map_err(|source| SpawnError {
            program: command.program().to_owned(),
            step: SpawnStep::Adopt,
            source,
        })?;
        let child = self.start_child(command)?;
        let pipes = child.pipes.into_iter().map(|pipe| SpawnedPipe {
            child_fd: pipe.child_fd,
            direction: pipe.direction,
            handle: self.keep(match pipe.direction {
                PipeDirection::ToChild => Thing::Writer(pipe.pipe),
                PipeDirection::FromChild => Thing::Reader(pipe.pipe),
            }),
        });
        let pipes = pipes.collect();
        Ok(Spawned {
            process: self.keep(Thing::Process(Box::new(child.process))),
            pid: child.pid,
            pipes,
        })
    }

    fn start_child(&mut self, command: &Command) -> Result<OsChild, SpawnError> {
        if !self.setup.abilities.wait_by_number || self.children.by_number >= BY_NUMBER_MAX {
            return process::spawn(command);
        }
        let child = process::spawn_by_number(command)?;
        self.children.by_number += usize::from(child.process.is_by_number());
        Ok(child)
    }
}
