//! Descriptors that belong to others: only their readiness is reported, by the level.
//!
//! They stand in an epoll set or kqueue of their own, which the port watches as one more descriptor: so
//! the kernel tests what is ready anew each time that it is asked, holds no reference to what is watched,
//! and a port without such descriptors pays nothing for them.

use std::collections::HashMap;
use std::io;
use std::os::fd::{BorrowedFd, RawFd};

use super::chunks::Chunks;
use super::level_set::LevelSet;
use super::request::{Completion, Failure, Operation, Outcome, RequestKind, Token};
use super::table::Key;
use super::watch::{Interest, Readiness};

/// How many are reported in one turn at most: half of what a wait delivers, so that neither they nor the
/// port's own handles starve the others.
pub(super) const REPORTS_MAX: usize = super::BATCH_MAX / 2;

#[derive(Clone, Copy, Debug)]
struct Watched {
    descriptor: RawFd,
    interest: Interest,
    token: Token,
}

/// The descriptors watched, under the keys of the operations that watch them.
#[derive(Default)]
pub(super) struct Foreign {
    /// Made when first needed.
    set: Option<LevelSet>,
    watched: HashMap<Key, Watched>,
    numbers: HashMap<RawFd, Key>,
    /// Those that the kernel does not watch because they are always ready, as files are.
    always: Vec<Key>,
}

impl Foreign {
    /// Makes the set, if there is none yet; returns whether it did.
    pub(super) fn open(&mut self) -> io::Result<bool> {
        if self.set.is_some() {
            return Ok(false);
        }
        self.set = Some(LevelSet::open()?);
        Ok(true)
    }

    /// Reports the readiness of `descriptor` from here on. To be [opened](Foreign::open) before.
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

    /// Changes what is reported of what `operation` watches.
    pub(super) fn set_interest(
        &mut self,
        operation: Operation,
        interest: Interest,
    ) -> io::Result<()> {
        let key = operation.0;
        let Some(watched) = self.watched.get_mut(&key) else {
            let message = "nothing is watched by this operation";
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

    /// Reports nothing more of what `operation` watches, and returns its last completion. `None` if it is
    /// none of these.
    pub(super) fn remove(&mut self, operation: Operation) -> Option<Completion> {
        let key = operation.0;
        let watched = self.watched.remove(&key)?;
        self.numbers.remove(&watched.descriptor);
        match (
            &self.set,
            self.always.iter().position(|other| *other == key),
        ) {
            (_, Some(place)) => {
                self.always.swap_remove(place);
            }
            // Whoever closed it first has removed it thereby.
            (Some(set), None) => set.remove(watched.descriptor, watched.interest),
            (None, None) => unreachable!("what is watched is always ready or in the set"),
        }
        Some(Completion {
            result: Err(Failure::Cancelled),
            more: false,
            ..report(key, &watched, Readiness::default())
        })
    }

    /// The descriptor that is readable when something is to be [collected](Foreign::collect).
    pub(super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.set.as_ref().map(LevelSet::descriptor)
    }

    /// Whether something is ready that the kernel does not watch.
    pub(super) fn is_always_ready(&self) -> bool {
        !self.always.is_empty() && self.is_one_wanted()
    }

    #[cold]
    fn is_one_wanted(&self) -> bool {
        let wanted = |key: &Key| self.watched[key].interest != Interest::NONE;
        self.always.iter().any(wanted)
    }

    /// Appends what is ready now, as long as there are fewer than `limit` completions.
    ///
    /// Returns whether the [descriptor](Foreign::descriptor) is another one from here on.
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
        let (watched, mut left_behind) = (&self.watched, false);
        set.poll(room, |key, readiness| match watched.get(&key) {
            Some(watched) => completions.push(report(key, watched, readiness)),
            None => left_behind = true,
        })?;
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

    /// Replaces the set, if there is one: because it is another process's, too; or because somebody closed a
    /// descriptor before its watch was stopped, and a copy of it, in a child for instance, keeps the kernel
    /// reporting what can no longer be named.
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
            // The number of a descriptor that was closed too early may be a stranger's by now. The old set, which
            // knows the file as well, has none of that number then.
            let known = old.modify(descriptor, *key, interest, interest);
            if let Err(error) = known.and_then(|()| set.add(descriptor, *key, interest)) {
                log::debug!("port: descriptor {descriptor} is watched no longer: {error}");
            }
        }
        self.set = Some(set);
        Ok(())
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

fn already_watched(descriptor: RawFd) -> io::Error {
    io::Error::new(
        io::ErrorKind::AlreadyExists,
        format!("descriptor {descriptor} is watched already"),
    )
}
