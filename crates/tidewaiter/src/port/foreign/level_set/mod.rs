//! A set of descriptors that reports readiness for as long as it lasts.

#[cfg(target_os = "linux")]
mod epoll;
#[cfg(not(target_os = "linux"))]
mod kqueue;

#[cfg(target_os = "linux")]
pub(super) use epoll::LevelSet;
#[cfg(not(target_os = "linux"))]
pub(super) use kqueue::LevelSet;
