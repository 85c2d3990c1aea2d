//! A level-triggered kqueue.

#![expect(unsafe_code, reason = "`kevent` takes descriptors as numbers")]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::kqueue::{Event, EventFilter, EventFlags, kevent_timespec, kqueue};
use rustix::fs::{FileType, fstat};
use rustix::io::{Errno, FdFlags, fcntl_setfd};

use super::super::REPORTS_MAX;
use crate::port::table::Key;
use crate::port::watch::{Interest, Readiness};

// A key must fit into the pointer that an event carries.
const _: () = assert!(size_of::<usize>() == size_of::<u64>());

/// A timeout of zero: polls without waiting.
const NOW: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

pub(in super::super) struct LevelSet {
    queue: OwnedFd,
    events: Vec<Event>,
}

impl LevelSet {
    pub(in super::super) fn open() -> io::Result<LevelSet> {
        let queue = kqueue()?;
        fcntl_setfd(&queue, FdFlags::CLOEXEC)?;
        Ok(LevelSet {
            queue,
            events: Vec::with_capacity(REPORTS_MAX),
        })
    }

    /// The queue's descriptor, readable when something in it is ready.
    pub(in super::super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.queue.as_fd()
    }

    /// Adds a descriptor. Returns false for a file, which is always ready: kqueue defines readiness
    /// of files differently.
    pub(in super::super) fn add(
        &self,
        descriptor: RawFd,
        key: Key,
        interest: Interest,
    ) -> io::Result<bool> {
        if is_file(descriptor)? {
            return Ok(false);
        }
        self.modify(descriptor, key, Interest::NONE, interest)?;
        Ok(true)
    }

    /// Adds and removes the filters that differ between the two interests.
    pub(in super::super) fn modify(
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

    /// Removes a descriptor. Does nothing if it has been closed, which removed it.
    pub(in super::super) fn remove(&self, descriptor: RawFd, interest: Interest) {
        let key = Key::from_u64(0);
        if let Err(error) = self.modify(descriptor, key, interest, Interest::NONE) {
            log::debug!("port: descriptor {descriptor} could not be removed: {error}");
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
        // SAFETY: the change names a descriptor, and `kevent` fails if it is not open; the data
        // that it carries is a number, which nothing uses as a pointer.
        unsafe { kevent_timespec(&self.queue, &change, &mut nothing[..], Some(&NOW)) }?;
        Ok(())
    }

    /// Reports the descriptors that are ready now, up to `limit`.
    pub(in super::super) fn poll(
        &mut self,
        limit: usize,
        mut report: impl FnMut(Key, Readiness),
    ) -> io::Result<()> {
        self.events.clear();
        let spare = spare_capacity(&mut self.events);
        // SAFETY: the call changes nothing, and there is room for the events that it writes.
        match unsafe { kevent_timespec(&self.queue, &[], spare, Some(&NOW)) } {
            // An interrupted poll loses nothing: the next one reports the same readiness.
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in self.events.iter().take(limit) {
            report(Key::from_u64(event.udata().addr() as u64), readiness(event));
        }
        Ok(())
    }
}

/// Whether an open descriptor is a file or a folder.
fn is_file(descriptor: RawFd) -> io::Result<bool> {
    if descriptor < 0 {
        return Err(Errno::BADF.into());
    }
    // SAFETY: the number is not negative, and only `fstat` gets it, which fails if the descriptor
    // is not open.
    let source = unsafe { BorrowedFd::borrow_raw(descriptor) };
    let kind = FileType::from_raw_mode(fstat(source)?.st_mode);
    Ok(matches!(kind, FileType::RegularFile | FileType::Directory))
}

/// Converts an event. The end of the peer's side is an end of file, not a hang-up.
fn readiness(event: &Event) -> Readiness {
    let writable = matches!(event.filter(), EventFilter::Write(_));
    Readiness {
        readable: !writable,
        writable,
        hang_up: writable && event.flags().contains(EventFlags::EOF),
        error: event.flags().contains(EventFlags::ERROR),
        closed: false,
    }
}
