//! Children: what their ends are awaited by, and when they are reaped.

use super::super::table::Key;
use super::super::{Spawned, SpawnedPipe};
use super::Uring;
use super::handle::Thing;
use crate::process::{self, Command, OsChild, PipeDirection, SpawnError, SpawnStep};

/// How many children are awaited by their numbers: at each end of a child, the kernel asks all who wait
/// so. Those beyond have pidfds.
const BY_NUMBER_MAX: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Children {
    /// How many there are that were started without a pidfd.
    by_number: usize,
    /// Those that may have ended. They are reaped when they are closed, which mostly follows at once, or
    /// else at the next wait.
    pub(super) ended: Vec<Key>,
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
        self.children.by_number += 1;
        Ok(child)
    }

    /// Reaps those that have ended and were not closed.
    pub(super) fn settle_ended(&mut self) {
        if self.children.ended.is_empty() {
            return;
        }
        for key in self.children.ended.drain(..) {
            if let Some(state) = self.handles.get(key) {
                state.process().settle();
            }
        }
    }
}
