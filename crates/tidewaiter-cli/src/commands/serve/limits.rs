//! How many descriptors there may be.

/// Raises our limit of descriptors as far as it goes without privileges: each connection takes six.
///
/// Children get the raised limit too.
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
