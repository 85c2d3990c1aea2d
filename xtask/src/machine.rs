//! Facts that several lanes need: whether this machine allows io_uring, and the oldest Rust that we support.

use crate::context::Context;
use crate::runner::Stop;

/// Checks that this machine allows io_uring.
#[cfg(target_os = "linux")]
pub(crate) fn ring_allowed() -> Result<(), Stop> {
    io_uring::IoUring::new(2).map(drop).map_err(|error| {
        Stop::missing(
            format!("io_uring is refused here: {error}"),
            "allow it in the seccomp profile, and set the sysctl kernel.io_uring_disabled=0",
        )
    })
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn ring_allowed() -> Result<(), Stop> {
    Err(Stop::Foreign("only Linux has io_uring".to_owned()))
}

/// The full version number of the oldest Rust that we support.
pub(crate) fn oldest_rust(context: &Context) -> Result<String, Stop> {
    let manifest = std::fs::read_to_string(context.root.join("Cargo.toml"))
        .map_err(|error| Stop::Failed(format!("cannot read Cargo.toml: {error}")))?;
    let version = manifest
        .lines()
        .find_map(|line| line.strip_prefix("rust-version = \"")?.strip_suffix('"'))
        .ok_or_else(|| Stop::Failed("Cargo.toml names no rust-version".to_owned()))?;
    // rustup takes a version of two numbers as its latest patch release, but we support the first one too.
    Ok(if version.matches('.').count() < 2 {
        format!("{version}.0")
    } else {
        version.to_owned()
    })
}
