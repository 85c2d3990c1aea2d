//! Changes in directories, as far as the system reports them to a descriptor.

#[cfg(target_os = "linux")]
mod inotify;
#[cfg(not(target_os = "linux"))]
mod none;

#[cfg(target_os = "linux")]
pub(super) use inotify::Directories;
#[cfg(not(target_os = "linux"))]
pub(super) use none::Directories;
