//! Programs for simulated child processes.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::World;
use super::event::Event;
use crate::port::table::Key;
use crate::process::{ExitStatus, Signal};

/// A program for simulated processes: it receives events, and acts through its [`Process`].
///
/// It is called from within the call that changed its world: a submission, a wait, an advance of the clock.
/// It must not use the [`Sim`](crate::port::sim::Sim) or a port itself: these are locked while it is called, and the
/// call would block for ever. The same holds for its `drop`.
///
/// A panic in it is logged and ends the process, as an abort would: with [`ExitStatus::Signal`] and the number 6.
///
/// A closure with the arguments of [`event`](Program::event) is a program, too:
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
    /// Handles an event.
    fn event(&mut self, event: Event, process: &mut Process<'_>);

    /// Handles a signal, other than [`Signal::Kill`], which ends every process without this call.
    ///
    /// The default ends the process, with [`ExitStatus::Signal`] and the signal's number: 2 for
    /// [`Signal::Interrupt`], 15 for [`Signal::Terminate`].
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

/// The exit status of a process that does not handle `signal`.
pub(crate) fn killed_by(signal: Signal) -> ExitStatus {
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
    /// The stream's descriptor number.
    pub(super) fn number(self) -> usize {
        match self {
            Output::Stdout => 1,
            Output::Stderr => 2,
        }
    }
}

/// The arguments, environment and directory that a process was started with.
#[derive(Debug)]
pub(super) struct Startup {
    pub(super) args: Vec<OsString>,
    pub(super) env: Vec<(OsString, OsString)>,
    pub(super) directory: Option<std::path::PathBuf>,
}

/// A simulated process, for its [`Program`].
pub struct Process<'w> {
    pub(super) world: &'w mut World,
    pub(super) key: Key,
}

impl Process<'_> {
    /// The pid of the process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.world.child(self.key).pid
    }

    /// The arguments of the process, without the program's name.
    #[must_use]
    pub fn args(&self) -> &[OsString] {
        &self.world.child(self.key).startup.args
    }

    /// The value of an environment variable. The environment holds only the command's variables,
    /// none of the host's.
    #[must_use]
    pub fn env(&self, name: impl AsRef<OsStr>) -> Option<&OsStr> {
        let env = &self.world.child(self.key).startup.env;
        let found = env.iter().find(|(known, _)| known == name.as_ref());
        found.map(|(_, value)| value.as_os_str())
    }

    /// The working directory that the command names, if it names one.
    #[must_use]
    pub fn directory(&self) -> Option<&Path> {
        self.world.child(self.key).startup.directory.as_deref()
    }

    /// The time by which the simulated clock has moved since the world was made.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.world.elapsed
    }

    /// Takes up to `most` bytes from standard input; none if nothing is there.
    pub fn read(&mut self, most: usize) -> Vec<u8> {
        let Some(channel) = self.world.child(self.key).streams[0].reads else {
            return Vec::new();
        };
        let mut bytes = vec![0; most.min(self.world.channel(channel).len())];
        self.world.read_channel(channel, &mut bytes);
        bytes
    }

    /// Whether standard input is closed, or has no writer left and was read to its end.
    #[must_use]
    pub fn input_ended(&self) -> bool {
        self.world.child(self.key).streams[0]
            .reads
            .is_none_or(|channel| {
                let channel = self.world.channel(channel);
                channel.len() == 0 && channel.is_readable()
            })
    }

    /// The number of bytes that `output` takes now. After a result of zero, [`Event::Room`] follows
    /// once there is room.
    ///
    /// A closed output, the null device and a pipe without a reader have room for anything.
    pub fn room(&mut self, output: Output) -> usize {
        let number = output.number();
        let Some(channel) = self.world.child(self.key).streams[number].writes else {
            return usize::MAX;
        };
        let channel = self.world.channel(channel);
        if !channel.has_reader() {
            return usize::MAX;
        }
        let room = channel.room();
        self.world.child_mut(self.key).found_full[number] = room == 0;
        room
    }

    /// Writes as much of `bytes` to `output` as there is room for, and returns the number of bytes
    /// written. After a short write, [`Event::Room`] follows once there is room. A closed output
    /// and the null device take all bytes and drop them.
    ///
    /// # Errors
    ///
    /// [`BrokenPipe`](io::ErrorKind::BrokenPipe) when the pipe has no reader left.
    pub fn write(&mut self, output: Output, bytes: &[u8]) -> io::Result<usize> {
        let number = output.number();
        let Some(channel) = self.world.child(self.key).streams[number].writes else {
            return Ok(bytes.len());
        };
        let pieces = std::iter::once(bytes);
        let count = self.world.write_channel(channel, pieces, bytes.len())?;
        self.world.child_mut(self.key).found_full[number] = count < bytes.len();
        Ok(count)
    }

    /// Closes standard input. Writing to it fails from now on, unless a [forked](Process::fork) process has it
    /// open.
    pub fn close_input(&mut self) {
        self.close(0);
    }

    /// Closes `output`. Its reader sees the end of file, unless a [forked](Process::fork) process has it open.
    pub fn close_output(&mut self, output: Output) {
        self.close(output.number());
    }

    fn close(&mut self, number: usize) {
        let child = self.world.child_mut(self.key);
        let stream = std::mem::take(&mut child.streams[number]);
        self.world.release_stream(stream);
    }

    /// Starts another process with the same arguments, environment and open streams, and returns
    /// its pid. It belongs to the tree of this process, and lives on when this process ends.
    pub fn fork(&mut self, program: impl Program + 'static) -> u32 {
        self.world.fork_child(self.key, Box::new(program))
    }

    /// Asks for one [`Event::Timer`] after `delay` of the simulated clock. Replaces an earlier request.
    pub fn set_timer(&mut self, delay: Duration) {
        let due = self.world.after(delay);
        self.world.child_mut(self.key).timer = Some(due);
    }

    /// Ends the process with an exit code. Its streams are closed, and no further event comes.
    pub fn exit(&mut self, code: u32) {
        self.end(ExitStatus::Code(code));
    }

    /// Ends the process with this status. Its streams are closed, and no further event comes. Does nothing if
    /// the process has ended already.
    pub fn end(&mut self, status: ExitStatus) {
        self.world.end_child(self.key, status);
    }
}

impl fmt::Debug for Process<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Process({})", self.pid())
    }
}
