//! Socket activation by `LISTEN_FDS`.

#![expect(unsafe_code, reason = "descriptors by number")]

use std::env;
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};

use super::{Activated, Resource};
pub(super) use crate::os::duplicate as copy_of;

/// The number of the first descriptor. The others follow it.
const FIRST: RawFd = 3;

/// The descriptors that such a variable may announce: more than any system allows a process.
const COUNT_MAX: RawFd = 1 << 20;

/// The name of a descriptor for which the variables have none.
const UNKNOWN: &str = "unknown";

/// Whether this process has taken the descriptors over: they have one owner.
static TAKEN: AtomicBool = AtomicBool::new(false);

pub(super) fn activated() -> io::Result<Vec<Activated>> {
    if number("LISTEN_PID")? != Some(i64::from(process::id())) {
        return Ok(Vec::new());
    }
    let Some(count) = number("LISTEN_FDS")? else {
        return Ok(Vec::new());
    };
    let count = RawFd::try_from(count)
        .ok()
        .filter(|count| (0..=COUNT_MAX).contains(count));
    let count = count.ok_or_else(|| bad("LISTEN_FDS", "is no number of descriptors"))?;
    let names = names(count)?;
    if TAKEN.swap(true, Ordering::Relaxed) {
        let message = "the descriptors of LISTEN_FDS were taken over before";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, message));
    }
    // All of them get an owner, and are closed on exec, before one can be refused.
    let owned: Vec<(RawFd, io::Result<OwnedFd>)> = (FIRST..FIRST + count)
        .map(|number| (number, own(number)))
        .collect();
    let pairs = owned.into_iter().zip(names);
    pairs
        .map(|((number, descriptor), name)| {
            let resource = descriptor.and_then(Resource::try_from);
            let resource = resource.map_err(|error| {
                let message = format!("descriptor {number} of LISTEN_FDS ({name}): {error}");
                io::Error::new(io::ErrorKind::InvalidData, message)
            })?;
            Ok(Activated { name, resource })
        })
        .collect()
}

/// Reads a variable that is a number; `None` if it is not set.
fn number(variable: &str) -> io::Result<Option<i64>> {
    let Some(text) = env::var_os(variable) else {
        return Ok(None);
    };
    let number = text.to_str().and_then(|text| text.parse().ok());
    number
        .map(Some)
        .ok_or_else(|| bad(variable, "is no number"))
}

fn names(count: RawFd) -> io::Result<Vec<String>> {
    let count = usize::try_from(count).expect("it is no negative number");
    let Some(text) = env::var_os("LISTEN_FDNAMES") else {
        return Ok(vec![UNKNOWN.to_owned(); count]);
    };
    let text = text
        .to_str()
        .ok_or_else(|| bad("LISTEN_FDNAMES", "is no text"))?;
    let names: Vec<String> = text.split(':').map(str::to_owned).collect();
    if names.len() == count {
        return Ok(names);
    }
    Err(bad(
        "LISTEN_FDNAMES",
        "does not have one name for each descriptor of LISTEN_FDS",
    ))
}

/// Takes a descriptor over, and keeps children from inheriting it.
fn own(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: the borrow ends with the calls, which refuse a number that is not open.
    let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
    let flags = fcntl_getfd(descriptor)?;
    fcntl_setfd(descriptor, flags | FdFlags::CLOEXEC)?;
    // SAFETY: the descriptor is open, the service manager opened it for this process, and `TAKEN` says that nothing else
    // has taken it over.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

fn bad(variable: &str, problem: &str) -> io::Error {
    let value = env::var_os(variable).unwrap_or_default();
    let message = format!("{variable}={} {problem}", value.display());
    io::Error::new(io::ErrorKind::InvalidData, message)
}
