//! Errors that a call returns although it did nothing wrong.

use std::io;

/// Whether the error is of a kind that peers and the network report for an earlier datagram.
pub(in super::super) fn is_reported(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ECONNREFUSED
                | libc::EHOSTUNREACH
                | libc::EHOSTDOWN
                | libc::ENETUNREACH
                | libc::ENOPROTOOPT
                | libc::EPROTO
                | libc::EACCES
                | libc::EMSGSIZE
                | libc::EOPNOTSUPP
        )
    )
}
