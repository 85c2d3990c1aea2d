//! Ends a child together with its parent, where the system can: FreeBSD.

use std::io;

use rustix::io::Errno;
use rustix::process::Pid;

/// # Errors
///
/// The system cannot end a child with its parent.
pub(crate) fn check_die_with_parent() -> io::Result<()> {
    if cfg!(target_os = "freebsd") {
        return Ok(());
    }
    let message = "this system cannot end a child with its parent";
    Err(io::Error::new(io::ErrorKind::Unsupported, message))
}

/// Has the kernel kill this process when its parent ends. Fails if the parent has ended before.
#[cfg(target_os = "freebsd")]
pub(crate) fn die_with(parent: Pid) -> Result<(), Errno> {
    let signal: libc::c_int = libc::SIGKILL;
    let argument = (&raw const signal).cast_mut().cast();
    // SAFETY: zero stands for this process, and the call reads one number of this type.
    let refused = unsafe { libc::procctl(libc::P_PID, 0, libc::PROC_PDEATHSIG_CTL, argument) };
    if refused != 0 {
        return Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO));
    }
    match rustix::process::getppid() == Some(parent) {
        true => Ok(()),
        false => Err(Errno::SRCH),
    }
}

#[cfg(not(target_os = "freebsd"))]
pub(crate) fn die_with(_parent: Pid) -> Result<(), Errno> {
    Err(Errno::NOSYS)
}
