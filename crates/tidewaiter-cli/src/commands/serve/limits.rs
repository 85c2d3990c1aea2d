//! What there may be too little of: descriptors above all.

use std::io;

/// Raises our limit of descriptors as far as it goes without privileges: each connection takes five, so
/// that the usual limit of 1024 would end at 200 clients.
///
/// Children get the raised limit too, as the help says.
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

/// There is no such limit on Windows.
#[cfg(not(unix))]
pub(super) fn raise() {}

/// Whether an error means that there are too few descriptors, processes or pages now, so that the same call
/// may succeed later.
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
