//! A level-triggered epoll set.

#![expect(unsafe_code, reason = "the program names descriptors by number")]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;

use super::super::REPORTS_MAX;
use crate::port::table::Key;
use crate::port::watch::{Interest, Readiness};

/// A timeout of zero: polls without waiting.
const NOW: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

pub(in super::super) struct LevelSet {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
}

impl LevelSet {
    pub(in super::super) fn open() -> io::Result<LevelSet> {
        Ok(LevelSet {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            events: Vec::with_capacity(REPORTS_MAX),
        })
    }

    /// The set's descriptor, readable when something in the set is ready.
    pub(in super::super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    /// Adds a descriptor. Returns false for one that is always ready: the kernel does not watch
    /// files.
    pub(in super::super) fn add(
        &self,
        descriptor: RawFd,
        key: Key,
        interest: Interest,
    ) -> io::Result<bool> {
        let data = epoll::EventData::new_u64(key.to_u64());
        match epoll::add(&self.epoll, named(descriptor)?, data, flags(interest)) {
            Ok(()) => Ok(true),
            Err(Errno::PERM) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    pub(in super::super) fn modify(
        &self,
        descriptor: RawFd,
        key: Key,
        _before: Interest,
        after: Interest,
    ) -> io::Result<()> {
        let data = epoll::EventData::new_u64(key.to_u64());
        epoll::modify(&self.epoll, named(descriptor)?, data, flags(after))?;
        Ok(())
    }

    /// Removes a descriptor. Does nothing if it has been closed, which removed it.
    pub(in super::super) fn remove(&self, descriptor: RawFd, _interest: Interest) {
        let removed = named(descriptor).and_then(|source| Ok(epoll::delete(&self.epoll, source)?));
        if let Err(error) = removed {
            log::debug!("port: descriptor {descriptor} could not be removed: {error}");
        }
    }

    /// Reports the descriptors that are ready now, up to `limit`.
    pub(in super::super) fn poll(
        &mut self,
        limit: usize,
        mut report: impl FnMut(Key, Readiness),
    ) -> io::Result<()> {
        self.events.clear();
        let spare = spare_capacity(&mut self.events);
        match epoll::wait(&self.epoll, spare, Some(&NOW)) {
            // An interrupted poll loses nothing: the next one reports the same readiness.
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in self.events.iter().take(limit) {
            let key = Key::from_u64({ event.data }.u64());
            report(key, readiness(event.flags));
        }
        Ok(())
    }
}

/// Borrows a descriptor by its number, for one call that fails if it is not open.
fn named<'a>(descriptor: RawFd) -> io::Result<BorrowedFd<'a>> {
    if descriptor < 0 {
        return Err(Errno::BADF.into());
    }
    // SAFETY: the number is not negative, and only `epoll_ctl` gets it, which fails if the
    // descriptor is not open, and neither reads, writes nor keeps it.
    Ok(unsafe { BorrowedFd::borrow_raw(descriptor) })
}

/// Converts an interest; epoll always reports hang-ups and errors.
fn flags(interest: Interest) -> epoll::EventFlags {
    let mut flags = epoll::EventFlags::empty();
    flags.set(epoll::EventFlags::IN, interest.readable);
    flags.set(epoll::EventFlags::OUT, interest.writable);
    flags
}

fn readiness(flags: epoll::EventFlags) -> Readiness {
    Readiness {
        readable: flags.contains(epoll::EventFlags::IN),
        writable: flags.contains(epoll::EventFlags::OUT),
        hang_up: flags.contains(epoll::EventFlags::HUP),
        error: flags.contains(epoll::EventFlags::ERR),
        closed: false,
    }
}
