//! Facts that several lanes ask for: whether this machine allows io_uring, and which Rust we promise.

use crate::context::Context;
use crate::runner::Stop;

/// Whether a ring can be made here.
#[cfg(target_os = "linux")]
pub(crate) fn ring_allowed() -> Result<(), Stop> {
    io_uring::IoUring::new(2).map(drop).map_err(|error| {
        Stop::missing(
            format!("io_uring is refused here: {error}"),
            "allow it: seccomp profile, sysctl kernel.io_uring_disabled=0",
        )
    })
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn ring_allowed() -> Result<(), Stop> {
    Err(Stop::Foreign("io_uring is Linux's".to_owned()))
}

/// The oldest Rust that we promise, by its full number.
pub(crate) fn oldest_rust(context: &Context) -> Result<String, Stop> {
    let manifest = std::fs::read_to_string(context.root.join("Cargo.toml"))
        .map_err(|error| Stop::Failed(format!("cannot read Cargo.toml: {error}")))?;
    let version = manifest
        .lines()
        .find_map(|line| line.strip_prefix("rust-version = \"")?.strip_suffix('"'))
        .ok_or_else(|| Stop::Failed("Cargo.toml names no rust-version".to_owned()))?;
    // A version of two numbers would mean its latest patch; the promise starts with the first.
    Ok(if version.matches('.').count() < 2 {
        format!("{version}.0")
    } else {
        version.to_owned()
    })
}
