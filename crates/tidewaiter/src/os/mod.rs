//! Parts of the OS that both ports and child processes need: its numbers, memory pages, and the identity of a process.
//! All layers use the addresses of sockets and pipes, and files.

#![cfg_attr(
    not(any(target_os = "linux", windows)),
    allow(
        dead_code,
        reason = "these systems lack some of the calls that ports share"
    )
)]

mod address;
#[cfg(unix)]
mod descriptor;
pub(crate) mod file;
#[cfg(windows)]
mod handle;
#[cfg(target_os = "linux")]
mod mapping;
mod origin;

pub use address::{Address, AddressError, PipeName, UnixAddress};
#[cfg(unix)]
pub(crate) use descriptor::duplicate;
pub(crate) use file::OsFile;
pub use file::{FileKind, FileMetadata, FileOptions};
#[cfg(windows)]
pub(crate) use handle::duplicate;
#[cfg(target_os = "linux")]
pub(crate) use mapping::Mapping;
pub(crate) use origin::Origin;

/// The OS's number of a socket, pipe or other object: a descriptor on Unix; a `SOCKET` or `HANDLE` on
/// Windows.
#[cfg(unix)]
pub type RawDescriptor = std::os::fd::RawFd;
/// The OS's number of a socket, pipe or other object: a descriptor on Unix; a `SOCKET` or `HANDLE` on
/// Windows.
#[cfg(windows)]
pub type RawDescriptor = u64;

/// An object of the OS that we own: a descriptor on Unix, a handle on Windows. Dropping it closes it. UNIX sockets
/// [pass it on](crate::Transport::send_with_descriptors).
#[cfg(unix)]
pub type OwnedDescriptor = std::os::fd::OwnedFd;
/// An object of the OS that we own: a descriptor on Unix, a handle on Windows. Dropping it closes it. UNIX sockets
/// [pass it on](crate::Transport::send_with_descriptors).
#[cfg(windows)]
pub type OwnedDescriptor = std::os::windows::io::OwnedHandle;

/// One end of a pipe.
#[cfg(unix)]
pub(crate) use std::os::fd::OwnedFd as OsPipe;
/// One end of a pipe.
#[cfg(windows)]
pub(crate) use std::os::windows::io::OwnedHandle as OsPipe;
