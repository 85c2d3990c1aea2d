//! Descriptors that the program owns: the ring watches the epoll set that contains them.

use std::io;
use std::os::fd::AsRawFd;

use io_uring::types;

use super::super::directory::DirectoryOptions;
use super::super::foreign::Foreign;
use super::super::table::Key;
use super::super::{Completion, Interest, Operation, RawDescriptor, RequestKind, Token};
use super::Uring;
use super::pending::{Pending, Stage, Work};
use super::ring::poll;

/// The user data of the set's completions; it differs from every operation's key and from the
/// waker's.
pub(super) const FOREIGN: u64 = u64::MAX - 1;

/// The state of the ring's poll of the set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum ForeignPoll {
    /// The ring does not poll the set.
    #[default]
    Idle,
    /// The ring polls the set.
    UnderWay,
    /// The poll has completed: look at the set.
    Ready,
}

impl Uring {
    pub(super) fn begin_watch(
        &mut self,
        descriptor: RawDescriptor,
        interest: Interest,
        token: Token,
    ) -> io::Result<Operation> {
        self.start_watch(token, |foreign, operation| {
            foreign.add(operation, descriptor, interest, token)
        })
    }

    pub(super) fn begin_directory_watch(
        &mut self,
        options: &DirectoryOptions,
        token: Token,
    ) -> io::Result<Operation> {
        self.start_watch(token, |foreign, operation| {
            foreign.add_directory(operation, options, token)
        })
    }

    fn start_watch(
        &mut self,
        token: Token,
        add: impl FnOnce(&mut Foreign, Operation) -> io::Result<()>,
    ) -> io::Result<Operation> {
        self.foreign.open()?;
        let operation = Operation(self.operations.insert(Pending {
            handle: Key::from_u64(0),
            descriptor: -1,
            token,
            stage: Stage::Started,
            cancelled: false,
            lent: false,
            kind: RequestKind::Watch,
            work: Work::Watch,
        }));
        if let Err(error) = add(&mut self.foreign, operation) {
            self.operations.remove(operation.0);
            return Err(error);
        }
        Ok(operation)
    }

    /// Ends a watch; the kernel stops reporting it at once.
    pub(super) fn end_watch(&mut self, key: Key) {
        self.operations.remove(key);
        self.due.extend(self.foreign.remove(Operation(key)));
    }

    /// Polls the set once. Only a new poll tells whether something in it is still ready.
    pub(super) fn watch_foreign(&mut self) {
        let Some(set) = self.foreign.descriptor() else {
            return;
        };
        if self.foreign_poll != ForeignPoll::Idle {
            return;
        }
        let entry = poll(types::Fd(set.as_raw_fd()), libc::POLLIN).user_data(FOREIGN);
        // SAFETY: polling has no addresses.
        unsafe { self.ring_mut().push(entry) };
        self.foreign_poll = ForeignPoll::UnderWay;
    }

    pub(super) fn finish_foreign(&mut self) {
        self.foreign_poll = ForeignPoll::Ready;
    }

    pub(super) fn is_foreign_ready(&self) -> bool {
        self.foreign_poll == ForeignPoll::Ready || self.foreign.is_always_ready()
    }

    /// Delivers the ready descriptors, as far as there is room.
    pub(super) fn collect_foreign(
        &mut self,
        limit: usize,
        completions: &mut Vec<Completion>,
    ) -> io::Result<()> {
        if completions.len() < limit {
            self.foreign.collect(completions, limit)?;
            for ended in self.foreign.take_ended() {
                self.operations.remove(ended.operation.0);
                self.due.push_back(ended);
            }
            if self.foreign_poll == ForeignPoll::Ready {
                self.foreign_poll = ForeignPoll::Idle;
            }
        }
        Ok(())
    }
}
