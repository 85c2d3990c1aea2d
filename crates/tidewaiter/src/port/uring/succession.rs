//! Handover: where the kernel no longer grants a ring, the readiness port takes over.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use super::super::Driver;
use super::super::poll::{Estate, Inherited, Successor};
use super::super::source::Source;
use super::Uring;
use super::entry::Entry;

impl Uring {
    /// Hands all handles and operations over to a readiness port, because the kernel granted no
    /// ring: after a fork, or on another thread than the one that opened the port.
    ///
    /// # Errors
    ///
    /// The OS's error. This port is then unchanged, and the next wait tries again.
    pub(super) fn give_way(&mut self, refusal: &io::Error) -> io::Result<Box<dyn Driver>> {
        self.end_cancelled();
        self.end_file_work();
        self.name_children()?;
        let reason = format!("io_uring was refused when the port began to wait: {refusal}");
        let (event, waker) = (self.bell.event.clone(), self.bell.waker.clone());
        let mut successor = Successor::new(&self.setup.options, reason, event, waker)?;
        for (key, entry) in self.handles.iter() {
            successor.watch(key, entry.pollable())?;
        }
        successor.watch_foreign(&self.foreign)?;
        log::warn!("io_uring was refused, continuing with epoll: {refusal}");
        let operations = std::mem::take(&mut self.operations);
        Ok(successor.take_over(Estate {
            handles: std::mem::take(&mut self.handles).map(|_, entry| entry.source),
            operations: operations.map(|_, pending| Inherited {
                handle: pending.handle,
                token: pending.token,
                work: pending.into_legacy(),
            }),
            foreign: std::mem::take(&mut self.foreign),
            due: std::mem::take(&mut self.due),
            stale: self.stale,
        }))
    }
}

impl Entry {
    /// The descriptor to poll; `None` for a process that somebody else has reaped, and for a file.
    fn pollable(&self) -> Option<BorrowedFd<'_>> {
        match &self.source {
            Source::Process(process) if process.is_by_number() => None,
            Source::UnopenedFile | Source::File(_) => None,
            source => Some(source.as_fd()),
        }
    }
}
