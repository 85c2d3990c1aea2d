//! Limits of the OS, and errors that mean that one was reached.

use std::io;

/// Raises our limit of descriptors to the hard limit. Each connection needs five, so that the usual limit of 1024
/// allows only 200 clients.
///
/// Children inherit the raised limit, as the help says.
#[cfg(unix)]
pub(super) fn raise() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        log::debug!(
            "the limit of descriptors stays at {:?}: {error}",
            limit.current
        );
    }
}

/// Windows has no such limit.
#[cfg(not(unix))]
pub(super) fn raise() {}

/// Whether an error means that descriptors, processes or memory ran out, so that the same call may succeed later.
#[cfg(unix)]
pub(super) fn is_shortage(error: &io::Error) -> bool {
    use rustix::io::Errno;

    let errors = [Errno::MFILE, Errno::NFILE, Errno::AGAIN, Errno::NOMEM];
    let code = error.raw_os_error();
    errors
        .iter()
        .any(|errno| code == Some(errno.raw_os_error()))
}

#[cfg(not(unix))]
pub(super) fn is_shortage(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::OutOfMemory
}
