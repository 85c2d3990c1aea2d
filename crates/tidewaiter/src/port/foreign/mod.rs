//! Descriptors that the program owns: the port only reports their readiness, level-triggered.
//!
//! They are in an epoll set or kqueue of their own, which the port watches as one more descriptor.
//! The kernel thus tests readiness anew for each question, holds no reference to the descriptors,
//! and a port without any pays nothing for them.

mod directories;
mod level_set;

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};

use crate::port::chunks::Chunks;
use crate::port::directory::DirectoryOptions;
use crate::port::table::Key;
use crate::port::watch::{Interest, Readiness, already_watched};
use crate::port::{Completion, Failure, Operation, Outcome, RequestKind, Token};
use directories::Directories;
use level_set::LevelSet;

/// The most descriptors reported in one turn: half of a wait's completions, so that neither they
/// nor the port's own handles starve the others.
pub(super) const REPORTS_MAX: usize = crate::port::BATCH_MAX / 2;

#[derive(Clone, Copy, Debug)]
struct Watched {
    descriptor: RawFd,
    interest: Interest,
    token: Token,
}

/// The watched descriptors, under the keys of the operations that watch them.
#[derive(Default)]
pub(super) struct Foreign {
    /// Created when first needed.
    set: Option<LevelSet>,
    watched: HashMap<Key, Watched>,
    numbers: HashMap<RawFd, Key>,
    /// Descriptors that the kernel does not watch because they are always ready, such as files.
    always: Vec<Key>,
    directories: Directories,
    /// The last completions of watches that have ended by themselves, for the port to deliver.
    ended: Vec<Completion>,
}

/// The key of the descriptor that reports changes in directories; no operation has it.
const DIRECTORIES: Key = Key {
    index: u32::MAX - 2,
    generation: u32::MAX,
};

impl Foreign {
    /// Creates the set if there is none yet; returns whether it did.
    pub(super) fn open(&mut self) -> io::Result<bool> {
        if self.set.is_some() {
            return Ok(false);
        }
        self.set = Some(LevelSet::open()?);
        Ok(true)
    }

    /// Reports the readiness of `descriptor` from now on. [Open](Foreign::open) the set first.
    pub(super) fn add(
        &mut self,
        operation: Operation,
        descriptor: RawFd,
        interest: Interest,
        token: Token,
    ) -> io::Result<()> {
        let key = operation.0;
        if self.numbers.contains_key(&descriptor) {
            return Err(already_watched(descriptor));
        }
        let set = self.set.as_ref().expect("it was opened");
        if !set.add(descriptor, key, interest)? {
            self.always.push(key);
        }
        self.numbers.insert(descriptor, key);
        let watched = Watched {
            descriptor,
            interest,
            token,
        };
        self.watched.insert(key, watched);
        Ok(())
    }

    /// Reports changes in a directory from now on. [Open](Foreign::open) the set first.
    pub(super) fn add_directory(
        &mut self,
        operation: Operation,
        options: &DirectoryOptions,
        token: Token,
    ) -> io::Result<()> {
        let was_watched = self.directories.descriptor().is_some();
        self.directories.add(operation.0, options, token)?;
        if !was_watched && let Err(error) = self.watch_directories() {
            self.directories = Directories::default();
            return Err(error);
        }
        Ok(())
    }

    fn watch_directories(&self) -> io::Result<()> {
        let (Some(set), Some(directories)) = (&self.set, self.directories.descriptor()) else {
            return Ok(());
        };
        set.add(directories.as_raw_fd(), DIRECTORIES, Interest::READABLE)
            .map(drop)
    }

    /// The last completions of watches that have ended by themselves.
    pub(super) fn take_ended(&mut self) -> Vec<Completion> {
        std::mem::take(&mut self.ended)
    }

    /// Changes which readiness `operation` reports.
    pub(super) fn set_interest(
        &mut self,
        operation: Operation,
        interest: Interest,
    ) -> io::Result<()> {
        let key = operation.0;
        let Some(watched) = self.watched.get_mut(&key) else {
            let message = "this operation is not a watch";
            return Err(io::Error::new(io::ErrorKind::NotFound, message));
        };
        if let Some(set) = &self.set
            && !self.always.contains(&key)
        {
            set.modify(watched.descriptor, key, watched.interest, interest)?;
        }
        watched.interest = interest;
        Ok(())
    }

    /// Stops reporting the descriptor that `operation` watches, and returns its last completion.
    /// `None` if `operation` is not a watch.
    pub(super) fn remove(&mut self, operation: Operation) -> Option<Completion> {
        let key = operation.0;
        if let Some(token) = self.directories.remove(key) {
            return Some(cancelled(operation, token));
        }
        let watched = self.watched.remove(&key)?;
        self.numbers.remove(&watched.descriptor);
        match (
            &self.set,
            self.always.iter().position(|other| *other == key),
        ) {
            (_, Some(place)) => {
                self.always.swap_remove(place);
            }
            // If the owner has already closed the descriptor, the kernel has removed it.
            (Some(set), None) => set.remove(watched.descriptor, watched.interest),
            (None, None) => unreachable!("a watched descriptor is always ready or in the set"),
        }
        Some(cancelled(operation, watched.token))
    }

    /// The descriptor that is readable when there is something to [collect](Foreign::collect).
    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.set.as_ref().map(LevelSet::descriptor)
    }

    /// Whether a descriptor is ready that the kernel does not watch.
    pub(super) fn is_always_ready(&self) -> bool {
        !self.always.is_empty() && self.is_one_wanted()
    }

    #[cold]
    fn is_one_wanted(&self) -> bool {
        let wanted = |key: &Key| self.watched[key].interest != Interest::NONE;
        self.always.iter().any(wanted)
    }

    /// Appends reports for the ready descriptors, up to `limit` completions.
    ///
    /// Returns whether the set was replaced, so that its [descriptor](Foreign::descriptor) is now
    /// another one.
    pub(super) fn collect(
        &mut self,
        completions: &mut Vec<Completion>,
        limit: usize,
    ) -> io::Result<bool> {
        let limit = limit.min(completions.len() + REPORTS_MAX);
        self.collect_always(completions, limit.saturating_sub(completions.len()));
        let room = limit.saturating_sub(completions.len());
        let (Some(set), false) = (&mut self.set, room == 0) else {
            return Ok(false);
        };
        let (watched, mut left_behind, mut changed) = (&self.watched, false, false);
        set.poll(room, |key, readiness| match watched.get(&key) {
            Some(watched) => completions.push(report(key, watched, readiness)),
            None if key == DIRECTORIES => changed = true,
            None => left_behind = true,
        })?;
        if changed {
            let (going_on, ended): (Vec<_>, Vec<_>) =
                (self.directories.collect().into_iter()).partition(|completion| completion.more);
            completions.extend(going_on);
            self.ended.extend(ended);
        }
        if left_behind {
            self.renew()?;
        }
        Ok(left_behind)
    }

    fn collect_always(&mut self, completions: &mut Vec<Completion>, room: usize) {
        for key in self.always.iter().take(room) {
            let watched = &self.watched[key];
            let readiness = Readiness {
                readable: watched.interest.readable,
                writable: watched.interest.writable,
                ..Readiness::default()
            };
            if !readiness.is_none() {
                completions.push(report(*key, watched, readiness));
            }
        }
        let reported = room.min(self.always.len());
        self.always.rotate_left(reported);
    }

    /// Replaces the set, if there is one. Either another process shares it, or a descriptor was
    /// closed before its watch was stopped: then a copy of it, for example in a child, keeps the
    /// kernel reporting a descriptor that can no longer be named.
    pub(super) fn renew(&mut self) -> io::Result<()> {
        let Some(old) = &self.set else {
            return Ok(());
        };
        let set = LevelSet::open()?;
        for (key, watched) in &self.watched {
            if self.always.contains(key) {
                continue;
            }
            let (descriptor, interest) = (watched.descriptor, watched.interest);
            // The number of a descriptor that was closed too early may now belong to another file.
            // The old set, which knows the file as well, then has no such number.
            let known = old.modify(descriptor, *key, interest, interest);
            if let Err(error) = known.and_then(|()| set.add(descriptor, *key, interest)) {
                log::debug!("port: descriptor {descriptor} is no longer watched: {error}");
            }
        }
        self.set = Some(set);
        self.watch_directories()
    }

    /// As [`renew`](Foreign::renew), in a copy of the process.
    pub(super) fn move_in(&mut self) -> io::Result<()> {
        self.directories.renew()?;
        self.renew()
    }
}

fn cancelled(operation: Operation, token: Token) -> Completion {
    Completion {
        token,
        operation,
        kind: RequestKind::Watch,
        result: Err(Failure::Cancelled),
        more: false,
        unsent: Chunks::new(),
    }
}

fn report(key: Key, watched: &Watched, readiness: Readiness) -> Completion {
    Completion {
        token: watched.token,
        operation: Operation(key),
        kind: RequestKind::Watch,
        result: Ok(Outcome::Ready(readiness)),
        more: true,
        unsent: Chunks::new(),
    }
}
