//! Keeps writes to a pipe or socket whose reader is gone from killing the process by SIGPIPE.

#[cfg(target_vendor = "apple")]
mod apple;
#[cfg(not(target_vendor = "apple"))]
mod mask;

#[cfg(target_vendor = "apple")]
pub(super) use apple::{Quiet, SEND_FLAGS, prepare};
#[cfg(not(target_vendor = "apple"))]
pub(super) use mask::{Quiet, SEND_FLAGS, prepare};
