//! Where a child's descriptors lead.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::error::SpawnStep;
use super::shared_pipe::SharedPipeEnd;
use crate::os::RawDescriptor;

/// Where one of a child's descriptors leads.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Stdio {
    /// A pipe to us, on the port: we write to the child's standard input, and read from every other
    /// descriptor.
    #[default]
    Pipe,
    /// As [`Pipe`](Stdio::Pipe), but made of two connected UNIX sockets, which hold more than a pipe and so
    /// carry large outputs faster. Bytes still go one way only: nothing reads the bytes that the child writes
    /// to its standard input.
    ///
    /// A program can notice the difference: it cannot open `/dev/stdout` and the like if that is a socket. On
    /// Windows and in simulations, this is a pipe.
    Socket,
    /// A pipe that we write to and the child reads, whatever the descriptor's number.
    PipeToChild,
    /// A pipe that the child writes to and we read, whatever the descriptor's number.
    PipeFromChild,
    /// A pipe that goes both ways: a pair of UNIX sockets on Unix, a duplex named pipe on Windows. Our end is one
    /// transport, which reads and writes ([`Process::pipe`](crate::Process::pipe)). For a program that reads and writes
    /// over one descriptor, or with [`SameAs`](Stdio::SameAs) over its standard input and output.
    ///
    /// On Unix, the child can end its side alone, and so can
    /// [`lose_write_connection`](crate::Transport::lose_write_connection) end ours. Windows cannot: there, ending our
    /// side closes the pipe. The pipe is lost once the child has ended its side, after the bytes written to it are sent.
    ///
    /// On Windows, the child's handle is synchronous, as ordinary programs need it: while one thread of the child waits
    /// for bytes, another one cannot write. A program that takes turns works; one that reads and writes in two threads
    /// needs two pipes. A simulated program has descriptors of one direction, so that it needs `SameAs`.
    Duplex,
    /// The null device.
    Null,
    /// Our own descriptor of the same number; closed if ours is closed. The null device in simulations.
    Inherit,
    /// A copy of our descriptor (Unix) or handle (Windows) of this number, which must be open when the child is
    /// started. Ours stays as it is, and may be closed once the child was started.
    Descriptor(RawDescriptor),
    /// A file, which is opened when the child is started, with our rights, whichever user the child runs as. Only the
    /// child has it open afterwards.
    ///
    /// A relative path starts from our working directory, not the child's, as the program's does. If the file cannot be
    /// opened or is a directory, starting the child fails at [`SpawnStep::Descriptor`], with an error that names the
    /// path. A file that was created or emptied stays so even if the child cannot be started for another reason.
    ///
    /// Opening does not wait for anybody. A FIFO that nobody writes to reads as an empty file, unless a writer comes
    /// before the child reads; one that nobody reads cannot be opened for writing. The child's own reads and writes
    /// wait, as usual.
    ///
    /// On Windows, others may read, write, rename and delete the file meanwhile. Simulated children have no files.
    File {
        /// The path of the file.
        path: PathBuf,
        /// What the child does with it.
        access: FileAccess,
    },
    /// The same as the child's descriptor of this number, whichever of the two is set first. `SameAs(1)` for standard
    /// error is what a shell writes as `2>&1`. The child may close one of the two and keep the other.
    ///
    /// The other may follow a third, and so on. If the child does not have it, or the descriptors follow one another in
    /// a circle, starting the child fails with [`InvalidInput`](io::ErrorKind::InvalidInput) at
    /// [`SpawnStep::Descriptor`].
    SameAs(u32),
    /// An end of a pipe to another child: see [`SharedPipe`](super::SharedPipe).
    SharedPipe(SharedPipeEnd),
    /// Nowhere: the descriptor is closed (Unix), or a null handle (Windows).
    Closed,
}

/// What a child does with a [file](Stdio::File).
///
/// ```
/// use tidewaiter::process::{Command, FileAccess, Stdio};
///
/// let path = "errors.log".into();
/// let access = FileAccess::Append;
/// let command = Command::new("make").stderr(Stdio::File { path, access });
/// # let _ = command;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FileAccess {
    /// Reads it from its beginning. It must exist.
    Read,
    /// Writes it from its beginning. It is created if it does not exist, otherwise emptied.
    Write,
    /// Writes at its end, also if others write to it. It is created if it does not exist.
    Append,
}

impl Stdio {
    /// A [file](Stdio::File) to read.
    ///
    /// ```
    /// use tidewaiter::process::{Command, Stdio};
    ///
    /// let command = Command::new("sort")
    ///     .stdin(Stdio::read_file("names.txt"))
    ///     .stdout(Stdio::write_file("sorted.txt"))
    ///     .stderr(Stdio::append_file("errors.log"));
    /// ```
    pub fn read_file(path: impl AsRef<Path>) -> Stdio {
        Stdio::file(path.as_ref(), FileAccess::Read)
    }

    /// A [file](Stdio::File) to write from its beginning.
    pub fn write_file(path: impl AsRef<Path>) -> Stdio {
        Stdio::file(path.as_ref(), FileAccess::Write)
    }

    /// A [file](Stdio::File) to append to.
    pub fn append_file(path: impl AsRef<Path>) -> Stdio {
        Stdio::file(path.as_ref(), FileAccess::Append)
    }

    fn file(path: &Path, access: FileAccess) -> Stdio {
        Stdio::File {
            path: path.to_owned(),
            access,
        }
    }

    /// Returns the direction of the pipe at `child_fd`, or `None` if the descriptor is not a pipe.
    pub(crate) fn direction(&self, child_fd: u32) -> Option<PipeDirection> {
        match self {
            Stdio::Pipe | Stdio::Socket if child_fd == 0 => Some(PipeDirection::ToChild),
            Stdio::Pipe | Stdio::Socket => Some(PipeDirection::FromChild),
            Stdio::PipeToChild => Some(PipeDirection::ToChild),
            Stdio::PipeFromChild => Some(PipeDirection::FromChild),
            Stdio::Duplex => Some(PipeDirection::Both),
            _ => None,
        }
    }
}

impl From<SharedPipeEnd> for Stdio {
    fn from(end: SharedPipeEnd) -> Stdio {
        Stdio::SharedPipe(end)
    }
}

/// The direction of the bytes in a pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PipeDirection {
    /// We write, the child reads.
    ToChild,
    /// The child writes, we read.
    FromChild,
    /// Both write and read.
    Both,
}

/// Returns the descriptors from `first` on that are the [same](Stdio::SameAs) as others, each with the one at the end of
/// its chain. Those below `first` are what a terminal makes of them.
///
/// # Errors
///
/// `InvalidInput` for a descriptor whose chain leads to none that the child has.
pub(super) fn follow(
    descriptors: &BTreeMap<u32, Stdio>,
    first: u32,
) -> Result<Vec<(u32, u32)>, (SpawnStep, io::Error)> {
    let mut followers = Vec::new();
    for (&number, stdio) in descriptors.range(first..) {
        let Stdio::SameAs(next) = *stdio else {
            continue;
        };
        let refused = |message| {
            let error = io::Error::new(io::ErrorKind::InvalidInput, message);
            (SpawnStep::Descriptor(number), error)
        };
        let (mut last, mut steps) = (next, 0);
        while last >= first
            && let Some(Stdio::SameAs(next)) = descriptors.get(&last)
        {
            last = *next;
            steps += 1;
            if steps > descriptors.len() {
                let message = "the descriptors that it should be the same as form a circle";
                return Err(refused(message.to_owned()));
            }
        }
        if last >= first && !descriptors.contains_key(&last) {
            let message = format!(
                "it should be the same as descriptor {last}, which the child does not have"
            );
            return Err(refused(message));
        }
        followers.push((number, last));
    }
    Ok(followers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn followers(same: &[(u32, u32)]) -> Result<Vec<(u32, u32)>, (u32, String)> {
        let same = same
            .iter()
            .map(|&(number, other)| (number, Stdio::SameAs(other)));
        let descriptors = [(1, Stdio::Pipe), (6, Stdio::Closed)]
            .into_iter()
            .chain(same);
        super::follow(&descriptors.collect(), 0).map_err(|(step, error)| match step {
            SpawnStep::Descriptor(number) => {
                assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
                (number, error.to_string())
            }
            step => panic!("{step}: {error}"),
        })
    }

    #[test]
    fn a_descriptor_follows_others_to_the_last() {
        assert_eq!(followers(&[]), Ok(vec![]));
        assert_eq!(
            followers(&[(2, 1), (3, 9), (7, 6), (9, 2)]),
            Ok(vec![(2, 1), (3, 1), (7, 6), (9, 1)])
        );
    }

    #[test]
    fn standard_streams_that_a_terminal_replaces_follow_nothing() {
        let same = [(1, 9), (2, 2), (4, 2), (5, 4)].map(|(n, other)| (n, Stdio::SameAs(other)));
        let followers = super::follow(&same.into_iter().collect(), 3);
        assert_eq!(followers.expect("they lead there"), [(4, 2), (5, 2)]);
    }

    #[test]
    fn what_leads_nowhere_is_refused_by_its_number() {
        for (same, number, text) in [
            (&[(2, 2)][..], 2, "circle"),
            (&[(3, 4), (4, 5), (5, 4)], 3, "circle"),
            (&[(2, 1), (3, 8)], 3, "descriptor 8"),
            (&[(4, 5), (5, 12)], 4, "descriptor 12"),
        ] {
            let (refused, message) = followers(same).expect_err("it leads nowhere");
            assert_eq!(refused, number, "{message}");
            assert!(message.contains(text), "{message}");
        }
    }
}
