//! The process that something belongs to, to tell it from the copies that `fork` makes of it.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(not(target_os = "linux"))]
mod other;

#[cfg(target_os = "linux")]
pub(crate) use linux::Origin;
#[cfg(not(target_os = "linux"))]
pub(crate) use other::Origin;

use std::io;

impl Origin {
    /// Returns an error in a copy of the process that the port belongs to.
    pub(crate) fn check(&self) -> io::Result<()> {
        if self.is_elsewhere() {
            let message = "the port belongs to the process that this one is a copy of";
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, message));
        }
        Ok(())
    }
}
