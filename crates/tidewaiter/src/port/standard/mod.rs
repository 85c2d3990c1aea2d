//! Streams that this process was given, above all its standard streams, made ready for a port.
//!
//! Other processes share them: the shell has the same terminal, the next program of a pipeline the same pipe. So
//! nothing that they would notice is changed, above all not whether calls block. A port serves such a stream directly
//! where the OS allows that: over a description of its own, or by calls that do not block. Elsewhere a thread, the
//! [relay](Relay), moves the bytes between the stream and a pipe, and the port serves the other end of that pipe.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(not(target_os = "linux"))]
mod other;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

use std::io;

use super::{PortKind, RawDescriptor, Resource};
#[cfg(target_os = "linux")]
use linux as direct;
#[cfg(not(target_os = "linux"))]
use other as direct;
#[cfg(unix)]
use unix as system;
#[cfg(windows)]
use windows as system;

/// The size of a relay's reads.
const RELAY_BYTES: usize = 64 * 1024;

/// One of the standard streams of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StandardStream {
    Input,
    Output,
}

/// What we do with a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Read,
    Write,
}

/// A stream, ready for a port.
pub(crate) struct Opened {
    pub(crate) resource: Resource,
    /// Whether the port can tell that nobody reads what is written.
    pub(crate) hangs_up: bool,
    /// The thread that moves the bytes, if there is one.
    pub(crate) relay: Option<Relay>,
}

/// A thread that moves bytes. Dropping this asks it to stop reading; what was written, it still writes.
pub(crate) struct Relay {
    _reading: Option<system::Reading>,
}

/// Called on the relay's thread once it has written everything, or failed to.
pub(crate) type Written = Box<dyn FnOnce(io::Result<()>) + Send>;

/// The stream's number; `None` if this process has no such stream.
pub(crate) fn number(stream: StandardStream) -> Option<RawDescriptor> {
    system::number(stream)
}

/// Opens a stream for the port of that kind. The descriptor stays the caller's. Without one, this is the null device.
///
/// # Errors
///
/// The OS's error: the number is no descriptor, or there is no memory or thread.
pub(crate) fn open(
    descriptor: Option<RawDescriptor>,
    side: Side,
    port: PortKind,
    written: Written,
) -> io::Result<Opened> {
    let theirs = system::copy_of(descriptor)?;
    if let Some((resource, hangs_up)) = direct::share(&theirs, side, port)? {
        return Ok(Opened {
            resource,
            hangs_up,
            relay: None,
        });
    }
    log::debug!("a thread moves the bytes of a stream, because the {port} port cannot");
    let (pipe, reading) = match side {
        Side::Read => {
            let (pipe, reading) = system::relay_reads(theirs)?;
            (Resource::PipeReader(pipe), Some(reading))
        }
        Side::Write => {
            let pipe = system::relay_writes(theirs, written)?;
            (Resource::PipeWriter(pipe), None)
        }
    };
    Ok(Opened {
        resource: pipe,
        hangs_up: true,
        relay: Some(Relay { _reading: reading }),
    })
}

/// Closes a standard stream of this process, if it is a pipe or a socket, so that its other end learns of it. From then
/// on, the stream is the null device. Terminals and files stay as they are.
pub(crate) fn give_up(stream: StandardStream) {
    if let Err(error) = system::give_up(stream) {
        log::warn!("{stream:?}: a standard stream could not be closed: {error}");
    }
}

/// Runs a relay in a thread of its own, which does not keep the process from ending.
fn start(
    name: &str,
    work: impl FnOnce() + Send + 'static,
) -> io::Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
}
