//! The child's descriptors: which of ours each one is a copy of, and our ends of its pipes.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use socket2::SockRef;

use super::file;
use super::numbers::{above_standard_streams, duplicate, is_open, raw};
use super::terminal;
use crate::process::{ChildPipe, Command, PipeDirection, SpawnStep, Stdio, TakenEnd, Terminal};

/// Maps one of the child's descriptors to the one of ours that it is a copy of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Placement {
    pub(crate) ours: RawFd,
    pub(crate) childs: RawFd,
}

/// All descriptors of a child.
///
/// The placements can be carried out in any order: none overwrites the source of another.
#[derive(Debug, Default)]
pub(crate) struct Descriptors {
    /// In the order of the child's numbers.
    pub(crate) placements: Vec<Placement>,
    /// Our ends of the pipes: non-blocking, closed on execution, none of them 0, 1 or 2.
    pub(crate) pipes: Vec<ChildPipe>,
    /// Descriptors opened only for the child. They stay open until the child has its copies.
    made: Vec<OwnedFd>,
    /// Ends of pipes to other children.
    shared: Vec<TakenEnd<OwnedFd>>,
}

impl Descriptors {
    /// Opens and arranges the descriptors that `command` asks for.
    ///
    /// # Errors
    ///
    /// The step that failed, and why: one of our descriptors is not open, or no more can be opened.
    pub(crate) fn of(command: &Command) -> Result<Descriptors, (SpawnStep, io::Error)> {
        let mut descriptors = Descriptors::default();
        let followers = command.followers()?;
        let asked = || command.descriptors.range(command.first_asked()..);
        // Check our own descriptors first: one opened later may get the number of one that is closed now.
        for (&number, stdio) in asked() {
            let failed = |error| (SpawnStep::Descriptor(number), error);
            descriptors.take_ours(number, stdio).map_err(failed)?;
        }
        if let Some(terminal) = command.terminal {
            let failed = |error| (SpawnStep::Terminal, error);
            let owner = command.user.as_ref().map(|user| user.user);
            descriptors.add_terminal(terminal, owner).map_err(failed)?;
        }
        for (&number, stdio) in asked() {
            let step = match stdio.direction(number) {
                Some(_) => SpawnStep::Pipes,
                None => SpawnStep::Descriptor(number),
            };
            let failed = |error| (step, error);
            descriptors.make(number, stdio).map_err(failed)?;
        }
        descriptors.place_followers(&followers)?;
        descriptors.placements.sort_by_key(|place| place.childs);
        descriptors
            .avoid_overwrites()
            .map_err(|error| (SpawnStep::Pipes, error))?;
        Ok(descriptors)
    }

    /// Returns our ends of the pipes, once the child has its copies of all other descriptors.
    pub(crate) fn given(self) -> Vec<ChildPipe> {
        for end in self.shared {
            end.given();
        }
        self.pipes
    }

    fn place(&mut self, ours: RawFd, childs: RawFd) {
        self.placements.push(Placement { ours, childs });
    }

    /// Places a terminal at the standard streams. Our end becomes two pipes.
    fn add_terminal(&mut self, terminal: Terminal, owner: Option<u32>) -> io::Result<()> {
        let ends = terminal::open(terminal, owner)?;
        for childs in 0..3 {
            self.place(ends.slave.as_raw_fd(), childs);
        }
        self.made.push(ends.slave);
        let writer = rustix::io::fcntl_dupfd_cloexec(&ends.master, 3)?;
        for (child_fd, direction, pipe) in [
            (0, PipeDirection::ToChild, writer),
            (1, PipeDirection::FromChild, ends.master),
        ] {
            self.pipes.push(ChildPipe {
                child_fd,
                direction,
                pipe,
            });
        }
        Ok(())
    }

    fn take_ours(&mut self, number: u32, stdio: &Stdio) -> io::Result<()> {
        let childs = raw(number)?;
        match *stdio {
            // A standard stream that we have closed is missed by the child: its number is given to nothing else.
            Stdio::Inherit if childs <= 2 || is_open(childs).is_ok() => self.place(childs, childs),
            Stdio::Descriptor(ours) => {
                is_open(ours)?;
                self.place(ours, childs);
            }
            _ => {}
        }
        Ok(())
    }

    fn make(&mut self, number: u32, stdio: &Stdio) -> io::Result<()> {
        let childs = raw(number)?;
        let made = match (stdio, stdio.direction(number)) {
            (_, Some(direction)) => {
                let (ours, theirs) = pipe(stdio, direction)?;
                self.pipes.push(ChildPipe {
                    child_fd: number,
                    direction,
                    pipe: ours,
                });
                theirs
            }
            (Stdio::SharedPipe(end), _) => {
                let end = end.take(shared_pipe)?;
                self.place(end.end().as_raw_fd(), childs);
                self.shared.push(end);
                return Ok(());
            }
            (Stdio::Null, _) => {
                let null = File::options().read(true).write(true).open("/dev/null")?;
                null.into()
            }
            (Stdio::File { path, access }, _) => file::open(path, *access)?,
            _ => return Ok(()),
        };
        let made = above_standard_streams(made)?;
        self.place(made.as_raw_fd(), childs);
        self.made.push(made);
        Ok(())
    }

    /// Places the descriptors that are the same as others of the child. If the other one is closed, so are they.
    fn place_followers(&mut self, followers: &[(u32, u32)]) -> Result<(), (SpawnStep, io::Error)> {
        for &(number, other) in followers {
            let failed = |error| (SpawnStep::Descriptor(number), error);
            let (childs, other) = raw(number)
                .and_then(|childs| Ok((childs, raw(other)?)))
                .map_err(failed)?;
            let placed = self.placements.iter().find(|place| place.childs == other);
            if let Some(&Placement { ours, .. }) = placed
                && is_open(ours).is_ok()
            {
                self.place(ours, childs);
            }
        }
        Ok(())
    }

    /// Moves sources out of the way: a descriptor of ours whose number another placement overwrites is copied
    /// to a number that no placement uses.
    fn avoid_overwrites(&mut self) -> io::Result<()> {
        for at in 0..self.placements.len() {
            let Placement { ours, childs } = self.placements[at];
            let is_overwritten = |place: &Placement| place.childs == ours && place.ours != ours;
            if ours != childs && self.placements.iter().any(is_overwritten) {
                let copy = self.copy_to_unused_number(ours)?;
                self.placements[at].ours = copy.as_raw_fd();
                self.made.push(copy);
            }
        }
        Ok(())
    }

    /// Copies one of our descriptors to a number that no placement uses.
    pub(crate) fn copy_to_unused_number(&self, descriptor: RawFd) -> io::Result<OwnedFd> {
        let mut least = 3;
        loop {
            let copy = duplicate(descriptor, least)?;
            let number = copy.as_raw_fd();
            if self.placements.iter().all(|place| place.childs != number) {
                return Ok(copy);
            }
            least = number + 1;
        }
    }
}

/// The size of a child socket's buffer in bytes. The OS may have a lower limit; some OSes double the value to
/// account for their own overhead.
const SOCKET_BYTES: usize = 512 * 1024;

/// Makes a pair of connected sockets: our end and the child's.
fn sockets(direction: PipeDirection) -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = UnixStream::pair()?;
    let senders = match direction {
        PipeDirection::ToChild => &[&ours][..],
        PipeDirection::FromChild => &[&theirs],
        PipeDirection::Both => &[&ours, &theirs],
    };
    for sender in senders {
        // If the OS refuses the size, the socket keeps its default.
        let _ = SockRef::from(*sender).set_send_buffer_size(SOCKET_BYTES);
    }
    Ok((ours.into(), theirs.into()))
}

/// Makes a pipe: our end, non-blocking, and the child's, blocking.
fn pipe(stdio: &Stdio, direction: PipeDirection) -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = match (stdio, direction) {
        (Stdio::Socket, _) | (_, PipeDirection::Both) => sockets(direction)?,
        (_, PipeDirection::ToChild) => {
            let (reader, writer) = io::pipe()?;
            (writer.into(), reader.into())
        }
        (_, PipeDirection::FromChild) => {
            let (reader, writer) = io::pipe()?;
            (reader.into(), writer.into())
        }
    };
    Ok((ready(ours)?, theirs))
}

/// Makes a pipe between two children: the reader and the writer, both blocking.
fn shared_pipe() -> io::Result<[OwnedFd; 2]> {
    let (reader, writer) = io::pipe()?;
    Ok([
        above_standard_streams(reader.into())?,
        above_standard_streams(writer.into())?,
    ])
}

/// Prepares our end for the port.
fn ready(ours: OwnedFd) -> io::Result<OwnedFd> {
    let ours = above_standard_streams(ours)?;
    rustix::io::ioctl_fionbio(&ours, true)?;
    Ok(ours)
}
