//! Waitable objects that the program owns. What they share with its sockets: the end of a watch.

use std::collections::HashMap;
use std::io;
use std::os::windows::io::{AsHandle, OwnedHandle};

use super::Iocp;
use super::directory::Directories;
use super::pending::Pending;
use super::wait::Wait;
use super::watch_socket::SocketWatches;
use crate::os::duplicate;
use crate::port::chunks::Chunks;
use crate::port::table::Key;
use crate::port::{
    Completion, Failure, Operation, Outcome, RawDescriptor, Readiness, RequestKind, Token,
};

/// The objects and sockets that the program has the port watch.
#[derive(Default)]
pub(super) struct Watches {
    pub(super) sockets: SocketWatches,
    pub(super) directories: Directories,
    /// Our handles for the objects, by operation.
    objects: HashMap<Key, OwnedHandle>,
    /// Watches that have been reported and do not wait at the moment.
    signalled: Vec<Key>,
}

impl Watches {
    /// The number of records of watches that Windows holds.
    pub(super) fn lent(&self) -> usize {
        self.sockets.lent_polls() + self.directories.lent_reads()
    }

    pub(super) fn contains(&self, operation: Key) -> bool {
        self.objects.contains_key(&operation)
    }
}

impl Iocp {
    pub(super) fn begin_watch(
        &mut self,
        handle: RawDescriptor,
        token: Token,
    ) -> io::Result<Operation> {
        let object = duplicate(handle)?;
        let pending = Pending::new(Key::from_u64(0), token, RequestKind::Watch);
        let operation = self.operations.insert(pending);
        let started = Wait::start(
            self.functions.packets,
            &self.queue,
            object.as_handle(),
            operation,
        );
        match started {
            Ok(wait) => {
                let pending = self.operations.get_mut(operation);
                pending.expect("inserted above").wait = Some(wait);
            }
            Err(error) => {
                self.operations.remove(operation);
                return Err(error);
            }
        }
        self.watches.objects.insert(operation, object);
        self.in_flight += 1;
        Ok(Operation(operation))
    }

    /// Reports that the object is signalled. The port waits for it again after delivering the
    /// report.
    pub(super) fn signalled(&mut self, operation: Key) {
        let pending = self
            .operations
            .get_mut(operation)
            .expect("looked up before");
        pending.wait = None;
        if pending.ending.is_some() {
            return self.end_watch(operation, Err(Failure::Cancelled));
        }
        self.watches.signalled.push(operation);
        let readiness = Readiness {
            readable: true,
            ..Readiness::default()
        };
        self.report(operation, Outcome::Ready(readiness));
    }

    /// Waits again for the reported objects.
    pub(super) fn resume_watches(&mut self) {
        for operation in std::mem::take(&mut self.watches.signalled) {
            // The watch may have been cancelled meanwhile.
            let (Some(pending), Some(object)) = (
                self.operations.get_mut(operation),
                self.watches.objects.get(&operation),
            ) else {
                continue;
            };
            match Wait::start(
                self.functions.packets,
                &self.queue,
                object.as_handle(),
                operation,
            ) {
                Ok(wait) => pending.wait = Some(wait),
                Err(error) => {
                    self.end_watch(operation, Err(Failure::os("wait for a handle", error)));
                }
            }
        }
    }

    pub(super) fn cancel_watch(&mut self, operation: Key) {
        let Some(pending) = self.operations.get_mut(operation) else {
            return;
        };
        if pending.ending.is_some() {
            return;
        }
        pending.ending = Some(Failure::Cancelled);
        // If the packet has already been posted, it arrives and ends the operation.
        if pending.wait.as_mut().is_none_or(Wait::cancel) {
            self.end_watch(operation, Err(Failure::Cancelled));
        }
    }

    /// Queues the last completion of a watch.
    pub(super) fn end_watch(&mut self, operation: Key, result: Result<Outcome, Failure>) {
        // Dropping the operation ends the wait, before the wait's handle is closed.
        let pending = self.operations.remove(operation).expect("it ends once");
        let token = pending.token;
        drop(pending);
        self.watches.objects.remove(&operation);
        self.done.push_back(Completion {
            token,
            operation: Operation(operation),
            kind: RequestKind::Watch,
            result,
            more: false,
            unsent: Chunks::new(),
        });
    }
}
