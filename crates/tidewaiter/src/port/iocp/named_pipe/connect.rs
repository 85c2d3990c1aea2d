//! Connecting to a named pipe. While all its instances have clients, the port waits for a free one.

use std::io;
use std::sync::Arc;

use windows_sys::Win32::Foundation::{ERROR_SEM_TIMEOUT, ERROR_SUCCESS};
use windows_sys::Win32::System::IO::OVERLAPPED;

use super::NamedPipe;
use super::client::{Opening, Target, Unopened, is_busy};
use super::vacancy::error_of;
use crate::os::PipeName;
use crate::port::iocp::Iocp;
use crate::port::iocp::entry::Source;
use crate::port::table::Key;
use crate::port::{Failure, Outcome};

impl Iocp {
    pub(in super::super) fn start_pipe_connect(&mut self, operation: Key, name: &PipeName) {
        let options = self.unopened(operation).options;
        let target = Target::new(name, options);
        self.unopened(operation).target = Some(target.clone());
        if name.local_name().is_some() {
            return self.open_pipe(operation, &target);
        }
        // Another machine may not answer for a while.
        match Opening::start(&target, &self.queue, operation) {
            Ok(opening) => self.unopened(operation).opening = Some(opening),
            Err(error) => self.end_pipe_connect(operation, Err(error)),
        }
    }

    fn unopened(&mut self, operation: Key) -> &mut Unopened {
        match &mut self.entry_of_mut(operation).source {
            Source::Unopened(unopened) => unopened,
            _ => unreachable!("only a pipe that is not open yet is opened"),
        }
    }

    fn open_pipe(&mut self, operation: Key, target: &Target) {
        match target.open() {
            Err(error) if is_busy(&error) => self.await_vacancy(operation, target),
            result => self.end_pipe_connect(operation, result),
        }
    }

    /// Waits until an instance may be free.
    fn await_vacancy(&mut self, operation: Key, target: &Target) {
        let (queue, records) = (&self.queue, &mut self.records);
        let started = (self.vacancies).start(queue, &target.name, operation, records);
        if let Err(error) = started {
            self.end_pipe_connect(operation, Err(error));
        }
    }

    /// Opens the pipe again after a wait for an instance.
    pub(in super::super) fn vacancy(&mut self, overlapped: *mut OVERLAPPED) {
        let Some((record, result)) = self.vacancies.take_back(overlapped) else {
            self.stale += 1;
            return;
        };
        let operation = record.operation;
        self.records.put(record);
        // The operation may have been cancelled meanwhile.
        if self.operations.get(operation).is_none() {
            return;
        }
        let Some(target) = self.unopened(operation).target.clone() else {
            unreachable!("the operation began with a target");
        };
        match (target.open(), result.code) {
            (Err(error), ERROR_SUCCESS | ERROR_SEM_TIMEOUT) if is_busy(&error) => {
                self.await_vacancy(operation, &target);
            }
            // Another wait would fail as well.
            (Err(error), _) if is_busy(&error) => {
                self.end_pipe_connect(operation, Err(error_of(result)));
            }
            (opened, _) => self.end_pipe_connect(operation, opened),
        }
    }

    /// Takes the pipe that a thread of the pool has opened.
    pub(in super::super) fn pipe_was_opened(&mut self, operation: Key) {
        let opening = self.unopened(operation).opening.take();
        match opening.and_then(|opening| opening.take()) {
            Some(result) => self.end_pipe_connect(operation, result),
            None => self.stale += 1,
        }
    }

    /// Ends a connect that was cancelled. What Windows does for it meanwhile comes to nothing.
    pub(in super::super) fn give_pipe_up(&mut self, operation: Key) {
        if let Some(opening) = self.unopened(operation).opening.take() {
            opening.give_up();
        }
        self.vacancies.cancel(operation);
        self.end(operation, Err(Failure::Cancelled));
    }

    fn end_pipe_connect(&mut self, operation: Key, opened: io::Result<NamedPipe>) {
        let connected = opened.and_then(|pipe| {
            let (key, plain) = (self.handle_of(operation), pipe.may_skip_packets());
            let queue = Arc::clone(&self.queue);
            let entry = self.entry_of_mut(operation);
            entry.source = Source::NamedPipe(Box::new(pipe));
            entry.join(&queue, key, plain)?;
            Ok(Outcome::Connected)
        });
        let result = connected.map_err(|error| Failure::os("CreateFileW", error));
        self.end(operation, result);
    }
}
