//! An epoll set that reports by the level.

#![expect(unsafe_code, reason = "descriptors of others come as numbers")]

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;

use super::foreign::REPORTS_MAX;
use super::table::Key;
use super::watch::{Interest, Readiness};

/// Asking does not wait.
const NOW: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

pub(super) struct LevelSet {
    epoll: OwnedFd,
    events: Vec<epoll::Event>,
}

impl LevelSet {
    pub(super) fn open() -> io::Result<LevelSet> {
        Ok(LevelSet {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            events: Vec::with_capacity(REPORTS_MAX),
        })
    }

    /// Readable when something in the set is ready.
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    /// False for what is always ready: the kernel does not watch files.
    pub(super) fn add(&self, descriptor: RawFd, key: Key, interest: Interest) -> io::Result<bool> {
        let data = epoll::EventData::new_u64(key.to_u64());
        match epoll::add(&self.epoll, named(descriptor)?, data, flags(interest)) {
            Ok(()) => Ok(true),
            Err(Errno::PERM) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn modify(
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

    /// Does nothing for a descriptor that was closed already: thereby it was removed.
    pub(super) fn remove(&self, descriptor: RawFd, _interest: Interest) {
        let removed = named(descriptor).and_then(|source| Ok(epoll::delete(&self.epoll, source)?));
        if let Err(error) = removed {
            log::debug!("port: descriptor {descriptor} is not there to be left alone: {error}");
        }
    }

    /// Passes on what is ready now, up to `limit` of it.
    pub(super) fn poll(
        &mut self,
        limit: usize,
        mut report: impl FnMut(Key, Readiness),
    ) -> io::Result<()> {
        self.events.clear();
        let spare = spare_capacity(&mut self.events);
        match epoll::wait(&self.epoll, spare, Some(&NOW)) {
            // What was ready is reported when it is asked for again.
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

/// A number of the caller's, for one call that says so if there is no such descriptor.
fn named<'a>(descriptor: RawFd) -> io::Result<BorrowedFd<'a>> {
    if descriptor < 0 {
        return Err(Errno::BADF.into());
    }
    // SAFETY: it is not -1, and it is only passed to `epoll_ctl`, which fails for what is not open and
    // neither reads, writes nor keeps what is.
    Ok(unsafe { BorrowedFd::borrow_raw(descriptor) })
}

/// Hang-ups and errors are reported without being asked for.
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
    }
}
