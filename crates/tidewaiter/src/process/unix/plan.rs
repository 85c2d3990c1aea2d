//! The first steps of a child, until it runs its program.
//!
//! Whatever they need is prepared before. In turn they do nothing but system calls, because any lock may
//! be held by a thread that the child does not have; and they write nothing but the stack, because the
//! child may have its parent's memory.

use std::ffi::{CString, c_char};
use std::io;
use std::marker::PhantomData;
use std::os::fd::RawFd;
use std::ptr;

use rustix::io::Errno;

use super::{Descriptors, Image, Placement};
use crate::process::os::calls;
use crate::process::{Command, SpawnStep};

/// What the child does, prepared so that it need not think.
pub(crate) struct Plan<'a> {
    /// Each ends with a null pointer, as `execve` wants it.
    files: Vec<*const c_char>,
    arguments: Vec<*const c_char>,
    environment: Vec<*const c_char>,
    directory: *const c_char,
    own_group: bool,
    placements: &'a [Placement],
    /// The first and last numbers of what is to be closed, range by range.
    gaps: Vec<(RawFd, RawFd)>,
    _strings: PhantomData<&'a Image>,
}

/// Which step failed in the child, and why: numbers, that can be passed on in any way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) step: i32,
    /// The child's descriptor, if that is what it could not have.
    pub(crate) detail: i32,
    pub(crate) errno: i32,
}

const DESCRIPTOR: i32 = 1;
const DIRECTORY: i32 = 2;
const EXECUTE: i32 = 3;

impl Refusal {
    fn now(step: i32, detail: i32) -> Refusal {
        Refusal {
            step,
            detail,
            errno: errno(),
        }
    }

    /// What it means to the one who asked for the program.
    pub(crate) fn explain(self, image: &Image) -> (SpawnStep, io::Error) {
        let errno = Errno::from_raw_os_error(self.errno);
        let step = match self.step {
            DESCRIPTOR => SpawnStep::Descriptor(self.detail.unsigned_abs()),
            DIRECTORY => SpawnStep::Directory,
            _ if errno == Errno::NOENT && image.any_file_exists() => {
                let message = "the interpreter that it names is not there";
                let error = io::Error::new(io::ErrorKind::NotFound, message);
                return (SpawnStep::Execute, error);
            }
            _ if errno == Errno::NOENT => SpawnStep::Search,
            _ => SpawnStep::Execute,
        };
        (step, errno.into())
    }
}

impl<'a> Plan<'a> {
    pub(crate) fn new(
        command: &Command,
        image: &'a Image,
        descriptors: &'a Descriptors,
    ) -> Plan<'a> {
        Plan {
            files: pointers(&image.files),
            arguments: pointers(&image.arguments),
            environment: pointers(&image.environment),
            directory: image.directory.as_ref().map_or(ptr::null(), |d| d.as_ptr()),
            own_group: command.own_group,
            placements: &descriptors.placements,
            gaps: gaps(&descriptors.placements),
            _strings: PhantomData,
        }
    }

    /// In the child: runs the program. Returns only when a step failed.
    ///
    /// # Safety
    ///
    /// This process must be a child that has nothing else to do, in descriptors and signal handlers of
    /// its own.
    pub(crate) unsafe fn carry_out(&self) -> Refusal {
        calls::reset_signals();
        if self.own_group {
            // SAFETY: changes this process's group; no memory is involved. A new child is no session
            // leader and has run no program: it cannot fail.
            unsafe { libc::setpgid(0, 0) };
        }
        if !self.directory.is_null() {
            // SAFETY: `directory` is a C string of the image's.
            let result = unsafe { libc::chdir(self.directory) };
            if result != 0 {
                return Refusal::now(DIRECTORY, 0);
            }
        }
        for &place in self.placements {
            // SAFETY: these are the child's own descriptors, as the caller promises.
            let placed = unsafe { put(place) };
            if !placed {
                return Refusal::now(DESCRIPTOR, place.childs);
            }
        }
        for &(first, last) in &self.gaps {
            // SAFETY: as above.
            unsafe { calls::close_all(first, last) };
        }
        Refusal {
            step: EXECUTE,
            detail: 0,
            errno: self.execute(),
        }
    }

    /// Tries each file; returns why the program could not be run.
    fn execute(&self) -> i32 {
        let mut reason = libc::ENOENT;
        for &file in self.files.iter().filter(|file| !file.is_null()) {
            // SAFETY: the file is a C string, the others are null-terminated arrays of them; the image
            // keeps them all.
            unsafe { libc::execve(file, self.arguments.as_ptr(), self.environment.as_ptr()) };
            match errno() {
                libc::ENOENT | libc::ENOTDIR | libc::ESTALE | libc::ENODEV | libc::ETIMEDOUT => {}
                // What is not allowed here may be so in a later directory.
                libc::EACCES => reason = libc::EACCES,
                other => return other,
            }
        }
        reason
    }
}

/// Gives the child one of its descriptors.
///
/// # Safety
///
/// The process must have nothing else that uses the number which is to be the child's.
unsafe fn put(place: Placement) -> bool {
    let Placement { ours, childs } = place;
    if ours != childs {
        // SAFETY: as the caller promises.
        return unsafe { libc::dup2(ours, childs) } == childs;
    }
    // SAFETY: changes whether the descriptor survives `execve`.
    unsafe { libc::fcntl(childs, libc::F_SETFD, 0) != -1 }
}

/// Null-terminated, as `execve` wants its arguments.
fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings
        .iter()
        .map(|string| string.as_ptr())
        .chain([ptr::null()])
        .collect()
}

/// The ranges of numbers that are nobody's place.
fn gaps(placements: &[Placement]) -> Vec<(RawFd, RawFd)> {
    let mut gaps = Vec::new();
    let mut next = 0;
    for place in placements {
        if next < place.childs {
            gaps.push((next, place.childs - 1));
        }
        next = place.childs.saturating_add(1);
    }
    gaps.push((next, RawFd::MAX));
    gaps
}

/// Why the last system call failed. Neither allocates nor locks.
fn errno() -> i32 {
    io::Error::last_os_error()
        .raw_os_error()
        .unwrap_or(libc::EIO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_between_the_places_is_closed() {
        let gaps = |numbers: &[RawFd]| {
            let place = |&childs| Placement { ours: 9, childs };
            super::gaps(&numbers.iter().map(place).collect::<Vec<_>>())
        };
        assert_eq!(gaps(&[]), [(0, RawFd::MAX)]);
        assert_eq!(gaps(&[0, 1, 2]), [(3, RawFd::MAX)]);
        assert_eq!(gaps(&[1, 4, 7]), [(0, 0), (2, 3), (5, 6), (8, RawFd::MAX)]);
    }
}
