//! Whether this system has UNIX sockets.

use socket2::{Domain, Socket, Type};

/// Whether there are UNIX sockets to be tested. Prints what is missing if not.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
pub(crate) fn has_unix_sockets() -> bool {
    if crate::SIMULATED {
        return true;
    }
    match Socket::new(Domain::UNIX, Type::STREAM, None) {
        Ok(_) => true,
        Err(error) if cfg!(windows) => {
            eprintln!("skipped: this Windows has no UNIX sockets: {error}");
            false
        }
        Err(error) => panic!("every Unix has UNIX sockets: {error}"),
    }
}
