//! Children: what their ends are awaited by.

use std::io;

use super::super::table::Key;
use super::super::{Spawned, SpawnedPipe};
use super::Uring;
use super::handle::Thing;
use super::operation::Work;
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
    /// Gives a pidfd to each child that is known by its number alone. In a copy of this process the number
    /// says nothing, as the child is none of the copy's: its parent reaps it, and others get the number.
    pub(super) fn name_children(&mut self) -> io::Result<()> {
        let keys: Vec<Key> = self.handles.iter().map(|(key, _)| key).collect();
        for key in keys {
            let state = self.handles.get_mut(key).expect("it was just listed");
            if let Thing::Process(process) = &mut state.thing
                && process.is_by_number()
            {
                process.name_by_descriptor()?;
                self.children.by_number -= usize::from(!process.is_by_number());
            }
        }
        Ok(())
    }

    /// Has the ends of children that have got pidfds awaited by these.
    pub(super) fn await_named(&mut self) {
        let keys: Vec<Key> = self.operations.iter().map(|(key, _)| key).collect();
        for key in keys {
            let pending = self.operations.get_mut(key).expect("it was just listed");
            if let Work::Exit(mark) = &mut pending.work
                && let Some(state) = self.handles.get(pending.handle)
            {
                *mark = state.process().mark();
                pending.descriptor = state.descriptor();
            }
        }
    }

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
