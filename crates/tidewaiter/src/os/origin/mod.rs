//! The process that something belongs to, to tell it from the copies that `fork` makes of it.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(not(target_os = "linux"))]
mod other;

#[cfg(target_os = "linux")]
pub(crate) use linux::Origin;
#[cfg(not(target_os = "linux"))]
pub(crate) use other::Origin;
