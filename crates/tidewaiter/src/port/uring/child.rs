//! Children: their start, and how the port waits for their exits.

use std::io;

use io_uring::{opcode, squeue, types};

use super::super::source::Source;
use super::super::table::{Key, Table};
use super::super::{Failure, Outcome, Spawned, SpawnedPipe};
use super::Uring;
use super::entry::Entry;
use super::next::{Next, errno, failed};
use super::pending::{Pending, Work};
use super::ring::{Cqe, poll};
use crate::process::{self, Command, Mark, OsChild, PipeDirection, Spawn, SpawnError, SpawnStep};

/// The most children that the port awaits by pid: each exit makes the kernel scan every waiter by
/// pid. Further children, and those that lead a group, get pidfds.
const BY_NUMBER_MAX: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Children {
    /// The number of open children that were started without a pidfd.
    by_number: usize,
}

impl Children {
    pub(super) fn note_closed(&mut self, source: &Source) {
        if matches!(source, Source::Process(process) if process.is_by_number()) {
            self.by_number -= 1;
        }
    }
}

impl Uring {
    /// Gives a pidfd to each child that is known only by its pid. In a copy of this process the pid
    /// is useless: the child is not the copy's own, so its parent reaps it and its pid may then be
    /// reused.
    pub(super) fn name_children(&mut self) -> io::Result<()> {
        let keys: Vec<Key> = self.handles.iter().map(|(key, _)| key).collect();
        for key in keys {
            let entry = self.handles.get_mut(key).expect("it was just listed");
            if let Source::Process(process) = &mut entry.source
                && process.is_by_number()
            {
                process.name_by_descriptor()?;
                self.children.by_number -= usize::from(!process.is_by_number());
            }
        }
        Ok(())
    }

    /// Makes waits for children that now have pidfds use these.
    pub(super) fn await_named(&mut self) {
        let keys: Vec<Key> = self.operations.iter().map(|(key, _)| key).collect();
        for key in keys {
            let pending = self.operations.get_mut(key).expect("it was just listed");
            if let Work::Exit(mark) = &mut pending.work
                && let Some(entry) = self.handles.get(pending.handle)
            {
                *mark = entry.process().mark();
                pending.descriptor = entry.descriptor();
            }
        }
    }

    pub(super) fn spawn_child(&mut self, spawn: Spawn<'_>) -> Result<Spawned, SpawnError> {
        // Done before the child starts or is taken, because a failure afterwards would mean killing it.
        let asked = self.ask_write_flags();
        let child = match spawn {
            Spawn::Command(command) => {
                asked.map_err(|source| command.failed((SpawnStep::Adopt, source)))?;
                self.start_child(command)?
            }
            Spawn::Started(started) => {
                asked.map_err(|source| started.failed(source))?;
                started.take().0
            }
        };
        let pipes = child.pipes.into_iter().map(|pipe| SpawnedPipe {
            child_fd: pipe.child_fd,
            direction: pipe.direction,
            half_closes: pipe.direction == PipeDirection::Both,
            handle: self.keep(Source::of_pipe(pipe.direction, pipe.pipe)),
        });
        let pipes = pipes.collect();
        Ok(Spawned {
            process: self.keep(Source::Process(Box::new(child.process))),
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

/// Waits until the process exits, without reaping it.
pub(super) fn start(descriptor: types::Fd, mark: Mark) -> squeue::Entry {
    match mark {
        Mark::Descriptor => poll(descriptor, libc::POLLIN),
        Mark::Number(number) => {
            let options = libc::WEXITED | libc::WNOWAIT | libc::__WALL;
            opcode::WaitId::new(libc::P_PID, number, options).build()
        }
        Mark::None => opcode::Nop::new().build(),
    }
}

pub(super) fn finish(pending: &Pending, handles: &Table<Entry>, cqe: Cqe) -> Next {
    match errno(cqe) {
        // Somebody else reaped the child, or we did for another request.
        None | Some(libc::ECHILD) => {}
        Some(errno) => return failed(pending, errno),
    }
    let entry = handles
        .get(pending.handle)
        .expect("a handle outlives its operations");
    match entry.process().try_wait() {
        Ok(Some(status)) => Next::End(Ok(Outcome::Exited(status))),
        // Process descriptors can wake spuriously.
        Ok(None) => Next::Again(None),
        Err(error) => Next::End(Err(Failure::os("waitid", error))),
    }
}
