//! Descriptors that the program owns: the selector watches the set that contains them.

use std::io;

use super::super::directory::DirectoryOptions;
use super::super::foreign::Foreign;
use super::super::table::Key;
use super::super::{Completion, Interest, Operation, RawDescriptor, Token};
use super::{Place, PollPort};

/// The key of the set's events; no handle has it.
pub(super) const FOREIGN: Key = Key {
    index: u32::MAX - 1,
    generation: u32::MAX,
};

/// The place of a watch, which has no handle.
pub(super) const NO_PLACE: Place = Place {
    handle: Key {
        index: 0,
        generation: 0,
    },
    direction: None,
};

impl PollPort {
    pub(super) fn begin_watch(
        &mut self,
        descriptor: RawDescriptor,
        interest: Interest,
        token: Token,
    ) -> io::Result<Operation> {
        self.start_watch(|foreign, operation| foreign.add(operation, descriptor, interest, token))
    }

    pub(super) fn begin_directory_watch(
        &mut self,
        options: &DirectoryOptions,
        token: Token,
    ) -> io::Result<Operation> {
        self.start_watch(|foreign, operation| foreign.add_directory(operation, options, token))
    }

    fn start_watch(
        &mut self,
        add: impl FnOnce(&mut Foreign, Operation) -> io::Result<()>,
    ) -> io::Result<Operation> {
        if self.foreign.open()?
            && let Err(error) = self.watch_foreign()
        {
            self.foreign = Foreign::default();
            return Err(error);
        }
        let operation = Operation(self.operations.insert(NO_PLACE));
        if let Err(error) = add(&mut self.foreign, operation) {
            self.operations.remove(operation.0);
            return Err(error);
        }
        Ok(operation)
    }

    /// Delivers the ready descriptors of the program.
    pub(super) fn visit_foreign(
        &mut self,
        completions: &mut Vec<Completion>,
        limit: usize,
    ) -> io::Result<()> {
        let ready = std::mem::take(&mut self.foreign_ready) || self.foreign.is_always_ready();
        if !ready {
            return Ok(());
        }
        let replaced = self.foreign.collect(completions, limit)?;
        self.finished.extend(self.foreign.take_ended());
        if replaced {
            self.watch_foreign()?;
        }
        Ok(())
    }

    pub(super) fn watch_foreign(&mut self) -> io::Result<()> {
        let set = self.foreign.descriptor();
        set.map_or(Ok(()), |set| self.selector.add_level(set, FOREIGN))
    }
}
