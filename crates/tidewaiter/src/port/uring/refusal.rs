//! Explains why this machine refuses io_uring.

use std::io;

/// Names the step that was refused, and explains why.
pub(super) fn refused(step: &str, error: &io::Error) -> io::Error {
    let meaning = match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => why_forbidden(),
        Some(libc::ENOSYS) => "the kernel has no io_uring, or a seccomp filter hides it",
        Some(libc::ENOMEM) => {
            "no memory for the ring, which may count as locked memory (RLIMIT_MEMLOCK)"
        }
        Some(libc::EINVAL) => "the kernel is too old: Linux 5.19 or later is needed",
        _ => return io::Error::new(error.kind(), format!("{step}: {error}")),
    };
    io::Error::new(error.kind(), format!("{step}: {error}: {meaning}"))
}

/// Names the missing feature, and the kernel that introduced it.
pub(super) fn too_old(what: &str, since: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::Unsupported,
        format!("io_uring_setup: the kernel has no {what}: Linux {since} or later is needed"),
    )
}

fn why_forbidden() -> &'static str {
    let setting = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled");
    match setting.as_deref().map(str::trim) {
        Ok("2") => "the sysctl kernel.io_uring_disabled is 2, which forbids it to everyone",
        Ok("1") => {
            "the sysctl kernel.io_uring_disabled is 1, which forbids it to processes \
             without CAP_SYS_ADMIN outside of kernel.io_uring_group"
        }
        _ => "a seccomp filter forbids it, as the usual ones of containers do",
    }
}
