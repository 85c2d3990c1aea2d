//! The child's standard streams: which descriptors it gets, and our ends of its pipes.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::OFlags;

use crate::process::{Command, Stdio};

/// What one of a child's standard streams is made of.
#[derive(Debug)]
pub(crate) enum Source {
    /// A descriptor made for the child, numbered above the standard streams.
    Made(OwnedFd),
    /// Our own descriptor of the same number.
    Inherited,
    /// The child's standard output.
    Output,
}

/// The child's standard streams, and our ends of the pipes among them.
#[derive(Debug)]
pub(crate) struct Streams {
    /// What the child gets as 0, 1 and 2.
    pub(crate) sources: [Source; 3],
    /// Our ends: non-blocking, closed on execution.
    pub(crate) ours: [Option<OwnedFd>; 3],
}

impl Streams {
    /// What `command` asks for.
    ///
    /// # Errors
    ///
    /// What the OS says, such as having no more descriptors.
    pub(crate) fn of(command: &Command) -> io::Result<Streams> {
        let mut ours = [None, None, None];
        let mut source = |stream: usize| -> io::Result<Source> {
            match command.stdio[stream] {
                Stdio::Pipe => {
                    let (our_end, child_end) = pipe(stream == 0)?;
                    ours[stream] = Some(our_end);
                    Ok(Source::Made(child_end))
                }
                Stdio::Null => {
                    let null = File::options().read(true).write(true).open("/dev/null")?;
                    Ok(Source::Made(above_standard_streams(null.into())?))
                }
                Stdio::Inherit => Ok(Source::Inherited),
                Stdio::Stdout => Ok(Source::Output),
            }
        };
        let sources = [source(0)?, source(1)?, source(2)?];
        Ok(Streams { sources, ours })
    }
}

/// A pipe: our end, which does not block, and the child's, which does.
fn pipe(we_write: bool) -> io::Result<(OwnedFd, OwnedFd)> {
    let (reader, writer) = io::pipe()?;
    let reader = above_standard_streams(reader.into())?;
    let writer = above_standard_streams(writer.into())?;
    let (ours, theirs) = if we_write {
        (writer, reader)
    } else {
        (reader, writer)
    };
    let flags = rustix::fs::fcntl_getfl(&ours)?;
    rustix::fs::fcntl_setfl(&ours, flags | OFlags::NONBLOCK)?;
    Ok((ours, theirs))
}

/// The same descriptor, but not under the number of a standard stream, which it may have got in a
/// program that closed its own.
///
/// Under such a number it would be overwritten while the child's streams are put in place, and would
/// reach later children that inherit ours.
fn above_standard_streams(descriptor: OwnedFd) -> io::Result<OwnedFd> {
    if descriptor.as_raw_fd() > 2 {
        return Ok(descriptor);
    }
    Ok(rustix::io::fcntl_dupfd_cloexec(descriptor.as_fd(), 3)?)
}
