//! What a simulated child process runs.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::channel::ChannelEnd;
use super::world::World;
use crate::port::table::Key;
use crate::process::{ExitStatus, Signal};

/// What happened to a simulated process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// It was started: always the first event.
    Started,
    /// Bytes arrived at its standard input. Told once for each arrival: what is left unread now is
    /// announced again only together with more.
    Input,
    /// Nobody can write to its standard input any more; bytes may still be left there to read.
    InputEnded,
    /// An output that was found full has room again, or lost its reader: write on.
    Room,
    /// The time that [`Process::set_timer`] asked for has come.
    Timer,
}

/// A program for simulated processes: it is told what happens, and acts through its [`Process`].
///
/// It is called from whatever changed its world: a submission, a wait, an advance of the clock. It must
/// not use the [`Sim`](super::Sim) itself, which is busy calling it.
///
/// Closures of the same shape as [`event`](Program::event) are programs, too:
///
/// ```
/// use tidewaiter::port::sim::{Event, Output, Process, Sim};
///
/// let sim = Sim::new(1);
/// sim.program("hello", || {
///     |event: Event, process: &mut Process<'_>| {
///         if event == Event::Started {
///             let _ = process.write(Output::Stdout, b"hello\n");
///             process.exit(0);
///         }
///     }
/// });
/// ```
pub trait Program: Send {
    /// Something happened.
    fn event(&mut self, event: Event, process: &mut Process<'_>);

    /// A signal came, other than [`Signal::Kill`], which ends every process unasked. Unless overridden,
    /// it ends the process with the status of its number: 2 for [`Signal::Interrupt`], 15 for
    /// [`Signal::Terminate`].
    fn signal(&mut self, signal: Signal, process: &mut Process<'_>) {
        process.end(killed_by(signal));
    }
}

impl<F> Program for F
where
    F: FnMut(Event, &mut Process<'_>) + Send,
{
    fn event(&mut self, event: Event, process: &mut Process<'_>) {
        self(event, process);
    }
}

/// How a process ends that does nothing about `signal`.
pub(super) fn killed_by(signal: Signal) -> ExitStatus {
    let number = match signal {
        Signal::Interrupt => 2,
        Signal::Kill => 9,
        Signal::Terminate => 15,
        Signal::Number(number) => number,
    };
    ExitStatus::Signal {
        number,
        core_dumped: false,
    }
}

/// A standard stream that a process writes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Output {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Output {
    /// The number of the stream.
    pub(super) fn number(self) -> usize {
        match self {
            Output::Stdout => 1,
            Output::Stderr => 2,
        }
    }
}

/// What a process was started with.
#[derive(Debug)]
pub(super) struct Startup {
    pub(super) args: Vec<OsString>,
    pub(super) env: Vec<(OsString, OsString)>,
    pub(super) directory: Option<std::path::PathBuf>,
}

/// A simulated process, as its [`Program`] sees it.
pub struct Process<'w> {
    pub(super) world: &'w mut World,
    pub(super) key: Key,
}

impl Process<'_> {
    /// Its number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.world.child(self.key).pid
    }

    /// Its arguments, without its name.
    #[must_use]
    pub fn args(&self) -> &[OsString] {
        &self.world.child(self.key).startup.args
    }

    /// An environment variable. The environment holds what the command set, nothing of the host's.
    #[must_use]
    pub fn env(&self, name: impl AsRef<OsStr>) -> Option<&OsStr> {
        let env = &self.world.child(self.key).startup.env;
        let found = env.iter().find(|(known, _)| known == name.as_ref());
        found.map(|(_, value)| value.as_os_str())
    }

    /// The directory it was to start in, if the command names one.
    #[must_use]
    pub fn directory(&self) -> Option<&Path> {
        self.world.child(self.key).startup.directory.as_deref()
    }

    /// How much time of the simulated clock went by since the world was made.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.world.elapsed
    }

    /// Takes up to `most` bytes from standard input: none when nothing is there.
    pub fn read(&mut self, most: usize) -> Vec<u8> {
        let Some(channel) = self.world.child(self.key).streams[0] else {
            return Vec::new();
        };
        let mut bytes = vec![0; most.min(self.world.channel(channel).len())];
        self.world.read_channel(channel, &mut bytes);
        bytes
    }

    /// Whether standard input is closed, or everything was read and no more can come.
    #[must_use]
    pub fn input_ended(&self) -> bool {
        self.world.child(self.key).streams[0].is_none_or(|channel| {
            let channel = self.world.channel(channel);
            channel.len() == 0 && channel.is_readable()
        })
    }

    /// How many bytes `output` takes now. When there are none, [`Event::Room`] says when there are.
    ///
    /// A closed output, the null device and a pipe without reader have room for anything.
    pub fn room(&mut self, output: Output) -> usize {
        let number = output.number();
        let Some(channel) = self.world.child(self.key).streams[number] else {
            return usize::MAX;
        };
        let channel = self.world.channel(channel);
        if !channel.has_reader() {
            return usize::MAX;
        }
        let room = channel.room();
        self.world.child_mut(self.key).starved[number] = room == 0;
        room
    }

    /// Writes as much of `bytes` to `output` as there is room for, and returns how many bytes that
    /// were. After a short write, [`Event::Room`] says when to write on.
    ///
    /// # Errors
    ///
    /// [`BrokenPipe`](io::ErrorKind::BrokenPipe) when nobody can read it any more.
    pub fn write(&mut self, output: Output, bytes: &[u8]) -> io::Result<usize> {
        let number = output.number();
        let Some(channel) = self.world.child(self.key).streams[number] else {
            return Ok(bytes.len());
        };
        let pieces = std::iter::once(bytes);
        let count = self.world.write_channel(channel, pieces, bytes.len())?;
        self.world.child_mut(self.key).starved[number] = count < bytes.len();
        Ok(count)
    }

    /// Closes standard input: writing to it fails from now on, unless a relative still has it open.
    pub fn close_input(&mut self) {
        self.close(0, ChannelEnd::Reader);
    }

    /// Closes `output`: its reader sees the end, unless a relative still has it open. What is written to
    /// it later goes nowhere.
    pub fn close_output(&mut self, output: Output) {
        self.close(output.number(), ChannelEnd::Writer);
    }

    fn close(&mut self, number: usize, end: ChannelEnd) {
        let child = self.world.child_mut(self.key);
        if let Some(channel) = child.streams[number].take() {
            self.world.release_channel(channel, end);
        }
    }

    /// Starts another process with the same arguments, environment and open streams, and returns its
    /// number. It belongs to this one's tree, and lives on when this one ends.
    pub fn fork(&mut self, program: impl Program + 'static) -> u32 {
        self.world.fork_child(self.key, Box::new(program))
    }

    /// Asks for [`Event::Timer`] after `delay` of the simulated clock, in place of an earlier request.
    pub fn set_timer(&mut self, delay: Duration) {
        let due = self.world.elapsed.saturating_add(delay);
        self.world.child_mut(self.key).timer = Some(due);
    }

    /// Ends the process with an exit code. No further event comes.
    pub fn exit(&mut self, code: u32) {
        self.end(ExitStatus::Code(code));
    }

    /// Ends the process. No further event comes; the first end counts.
    pub fn end(&mut self, status: ExitStatus) {
        self.world.end_child(self.key, status);
    }
}

impl fmt::Debug for Process<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Process({})", self.pid())
    }
}
