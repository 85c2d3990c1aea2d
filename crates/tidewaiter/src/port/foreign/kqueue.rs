//! A kqueue that reports by the level.

#![expect(unsafe_code, reason = "`kevent` takes descriptors as numbers")]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::kqueue::{Event, EventFilter, EventFlags, kevent_timespec, kqueue};
use rustix::fs::{FileType, fstat};
use rustix::io::{Errno, FdFlags, fcntl_setfd};

use super::foreign::REPORTS_MAX;
use super::table::Key;
use super::watch::{Interest, Readiness};

// A key has to fit into the pointer that an event carries.
const _: () = assert!(size_of::<usize>() == size_of::<u64>());

/// Asking does not wait.
const NOW: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

pub(super) struct LevelSet {
    queue: OwnedFd,
    events: Vec<Event>,
}

impl LevelSet {
    pub(super) fn open() -> io::Result<LevelSet> {
        let queue = kqueue()?;
        fcntl_setfd(&queue, FdFlags::CLOEXEC)?;
        Ok(LevelSet {
            queue,
            events: Vec::with_capacity(REPORTS_MAX),
        })
    }

    /// Readable when something in the set is ready.
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.queue.as_fd()
    }

    /// False for files, which are always ready: kqueues have another notion of them.
    pub(super) fn add(&self, descriptor: RawFd, key: Key, interest: Interest) -> io::Result<bool> {
        if is_file(descriptor)? {
            return Ok(false);
        }
        self.modify(descriptor, key, Interest::NONE, interest)?;
        Ok(true)
    }

    /// Adds and deletes what differs.
    pub(super) fn modify(
        &self,
        descriptor: RawFd,
        key: Key,
        before: Interest,
        after: Interest,
    ) -> io::Result<()> {
        if before.readable != after.readable {
            self.change(EventFilter::Read(descriptor), after.readable, key)?;
        }
        if before.writable != after.writable {
            self.change(EventFilter::Write(descriptor), after.writable, key)?;
        }
        Ok(())
    }

    /// Does nothing for a descriptor that was closed already: thereby it was removed.
    pub(super) fn remove(&self, descriptor: RawFd, interest: Interest) {
        let key = Key::from_u64(0);
        if let Err(error) = self.modify(descriptor, key, interest, Interest::NONE) {
            log::debug!("port: descriptor {descriptor} is not there to be left alone: {error}");
        }
    }

    fn change(&self, filter: EventFilter, wanted: bool, key: Key) -> io::Result<()> {
        let flags = if wanted {
            EventFlags::ADD
        } else {
            EventFlags::DELETE
        };
        let data = std::ptr::without_provenance_mut(
            usize::try_from(key.to_u64()).expect("checked at the head of this file"),
        );
        let change = [Event::new(filter, flags, data)];
        let mut nothing: [Event; 0] = [];
        // SAFETY: the change names a descriptor, for which `kevent` fails if it is not open, and the
        // data that it carries is a number, which nobody takes for a pointer.
        unsafe { kevent_timespec(&self.queue, &change, &mut nothing[..], Some(&NOW)) }?;
        Ok(())
    }

    /// Passes on what is ready now, up to `limit` of it.
    pub(super) fn poll(
        &mut self,
        limit: usize,
        mut report: impl FnMut(Key, Readiness),
    ) -> io::Result<()> {
        self.events.clear();
        let spare = spare_capacity(&mut self.events);
        // SAFETY: nothing is changed, and the events are written to memory that has room for them.
        match unsafe { kevent_timespec(&self.queue, &[], spare, Some(&NOW)) } {
            // What was ready is reported when it is asked for again.
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in self.events.iter().take(limit) {
            report(Key::from_u64(event.udata().addr() as u64), readiness(event));
        }
        Ok(())
    }
}

/// Whether there is a file or a folder behind a number, if there is anything.
fn is_file(descriptor: RawFd) -> io::Result<bool> {
    if descriptor < 0 {
        return Err(Errno::BADF.into());
    }
    // SAFETY: it is not -1, and it is only passed to `fstat`, which fails for what is not open.
    let source = unsafe { BorrowedFd::borrow_raw(descriptor) };
    let kind = FileType::from_raw_mode(fstat(source)?.st_mode);
    Ok(matches!(kind, FileType::RegularFile | FileType::Directory))
}

/// That a peer has ended its own side is no hang-up: it makes for an end of file.
fn readiness(event: &Event) -> Readiness {
    let writable = matches!(event.filter(), EventFilter::Write(_));
    Readiness {
        readable: !writable,
        writable,
        hang_up: writable && event.flags().contains(EventFlags::EOF),
        error: event.flags().contains(EventFlags::ERROR),
    }
}
