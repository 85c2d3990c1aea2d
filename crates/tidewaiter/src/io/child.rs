//! Children whose pipes and ends futures await.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::Poll;

use super::halves::{ReadHalf, WriteHalf};
use super::shared::Shared;
use super::waiting::{Waiters, value};
use crate::error::Reason;
use crate::process::{Command, ExitStatus, PipeDirection, SpawnError, TerminalSize, Unreached};
use crate::reactor::Reactor;
use crate::transport::{
    ChildFd, CommandError, CommandFailure, CommandOptions, CommandOutput, CommandRun, Process,
    ProcessProtocol,
};

/// A child process whose pipes and end futures await.
///
/// Dropping it closes the pipes that it still has, and leaves the child running unless
/// [`kill_on_drop`](Child::kill_on_drop) says otherwise. The reactor reaps it in any case, and kills it when it stops,
/// unless it is [detached](Process::detach).
///
/// ```
/// use tidewaiter::io::Child;
/// use tidewaiter::process::Command;
///
/// let reactor = tidewaiter::Reactor::new()?;
/// # if cfg!(unix) {
/// let (sorted, status) = reactor.block_on(async {
///     let mut child = Child::spawn(&reactor, &Command::new("sort"))?;
///     let (mut stdin, mut stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
///     stdin.write_all(b"b\na\n").await?;
///     drop(stdin); // the child reads to the end
///     let mut sorted = Vec::new();
///     stdout.read_to_end(&mut sorted).await?;
///     Ok::<_, Box<dyn std::error::Error>>((sorted, child.wait().await?))
/// })??;
/// assert_eq!(sorted, b"a\nb\n");
/// assert!(status.success());
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Child {
    /// Writes to the child's standard input, if that is a pipe, or to its [terminal](Command::terminal).
    pub stdin: Option<WriteHalf>,
    /// Reads the child's standard output, if that is a pipe, or its terminal.
    pub stdout: Option<ReadHalf>,
    /// Reads the child's error output, if that is a pipe.
    pub stderr: Option<ReadHalf>,
    readers: BTreeMap<ChildFd, ReadHalf>,
    writers: BTreeMap<ChildFd, WriteHalf>,
    process: Process,
    exit: Rc<Exit>,
    kill_on_drop: bool,
}

impl Child {
    /// Starts a program, as [`Reactor::spawn_process`] does. Unless the command says otherwise, its standard streams are
    /// pipes.
    ///
    /// # Errors
    ///
    /// As [`Reactor::spawn_process`].
    pub fn spawn(reactor: &Reactor, command: &Command) -> Result<Child, SpawnError> {
        let (pipes, exit) = (Rc::default(), Rc::default());
        let watch = Watch {
            pipes: Rc::clone(&pipes),
            exit: Rc::clone(&exit),
        };
        let process = reactor.spawn_process(command, watch)?;
        let (mut readers, mut writers) = (BTreeMap::new(), BTreeMap::new());
        for (fd, direction, transport) in process.directions() {
            let shared = Rc::new(match direction {
                PipeDirection::Both => Shared::default(),
                _ => Shared::of_one_direction(),
            });
            if direction != PipeDirection::ToChild {
                readers.insert(fd, ReadHalf::new(&transport, Rc::clone(&shared)));
            }
            if direction != PipeDirection::FromChild {
                writers.insert(fd, WriteHalf::new(&transport, Rc::clone(&shared)));
            }
            pipes.borrow_mut().insert(fd, shared);
        }
        Ok(Child {
            stdin: writers.remove(&0),
            stdout: readers.remove(&1),
            stderr: readers.remove(&2),
            readers,
            writers,
            process,
            exit,
            kill_on_drop: false,
        })
    }

    /// Runs a command to its end, and gathers its output within its limits, as [`Reactor::run_command`] does. Dropping the
    /// future ends the command and its tree.
    ///
    /// # Errors
    ///
    /// As [`Reactor::run_command`]: a command that exits with an error is none.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidewaiter::CommandOptions;
    /// use tidewaiter::io::Child;
    /// use tidewaiter::process::Command;
    ///
    /// let reactor = tidewaiter::Reactor::new()?;
    /// let version = CommandOptions::new(Command::new("cargo").arg("--version"));
    /// let version = version.time_limit(Duration::from_secs(30));
    /// let output = reactor.block_on(Child::output(&reactor, version))??;
    /// assert!(output.stdout.starts_with(b"cargo"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "wait_with_output")]
    pub async fn output(
        reactor: &Reactor,
        command: impl Into<CommandOptions>,
    ) -> Result<CommandOutput, CommandError> {
        let (giver, result) = value();
        let run = Running(reactor.run_command(command, move |_, result| giver.give(result)));
        let result = result.take().await;
        drop(run);
        result.unwrap_or(Err(CommandError {
            failure: CommandFailure::Stopped,
            output: None,
        }))
    }

    /// Takes what reads the pipe at the child's descriptor `child_fd`; `None` if that is no pipe from the child, or was
    /// taken. For the standard streams, see the fields.
    pub fn take_reader(&mut self, child_fd: ChildFd) -> Option<ReadHalf> {
        self.readers.remove(&child_fd)
    }

    /// Takes what writes to the pipe at the child's descriptor `child_fd`; `None` if that is no pipe to the child, or was
    /// taken. For the standard streams, see the fields.
    ///
    /// ```
    /// use tidewaiter::io::Child;
    /// use tidewaiter::process::{Command, Stdio};
    ///
    /// let reactor = tidewaiter::Reactor::new()?;
    /// # if cfg!(unix) {
    /// let command = Command::new("sh")
    ///     .args(["-c", "cat <&3 >&4"])
    ///     .fd(3, Stdio::PipeToChild)
    ///     .fd(4, Stdio::PipeFromChild);
    /// let copied = reactor.block_on(async {
    ///     let mut child = Child::spawn(&reactor, &command)?;
    ///     let mut writer = child.take_writer(3).ok_or("no pipe")?;
    ///     writer.write_all(b"through").await?;
    ///     drop(writer);
    ///     let mut copied = Vec::new();
    ///     child.take_reader(4).ok_or("no pipe")?.read_to_end(&mut copied).await?;
    ///     Ok::<_, Box<dyn std::error::Error>>(copied)
    /// })??;
    /// assert_eq!(copied, b"through");
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn take_writer(&mut self, child_fd: ChildFd) -> Option<WriteHalf> {
        self.writers.remove(&child_fd)
    }

    /// Whether dropping this kills the child with its tree: no by default.
    #[must_use]
    pub fn kill_on_drop(mut self, kill: bool) -> Child {
        self.kill_on_drop = kill;
        self
    }

    /// The child's process ID. Once the child has ended, the OS may give it to another process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.pid()
    }

    /// Closes the child's standard input, and waits until the child has ended and was reaped: not for its pipes, which
    /// descendants may keep open. Dropping the future changes nothing, and waiting again is allowed.
    ///
    /// # Errors
    ///
    /// [`ConnectionAborted`](io::ErrorKind::ConnectionAborted) if the reactor has stopped before the child's end was known.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        drop(self.stdin.take());
        poll_fn(|context| match self.process.status() {
            Some(status) => Poll::Ready(Ok(status)),
            None if self.exit.lost.get() => {
                let message = "the reactor stopped before the child's end was known";
                let lost = io::Error::new(io::ErrorKind::ConnectionAborted, message);
                Poll::Ready(Err(lost))
            }
            None => self.exit.waiters.wait(context),
        })
        .await
    }

    /// How the child ended; `None` while it runs.
    #[must_use]
    pub fn try_wait(&self) -> Option<ExitStatus> {
        self.process.status()
    }

    /// Kills the child with its tree: see [`Process::kill`].
    ///
    /// # Errors
    ///
    /// As [`Process::kill`]: [`NotFound`](io::ErrorKind::NotFound) once all of it has ended.
    pub fn kill(&self) -> io::Result<Unreached> {
        self.process.kill()
    }

    /// Asks the child to end: see [`Process::terminate`].
    ///
    /// # Errors
    ///
    /// As [`Process::terminate`].
    pub fn terminate(&self) -> io::Result<Unreached> {
        self.process.terminate()
    }

    /// Sets the size of the child's terminal: see [`Process::resize`].
    ///
    /// # Errors
    ///
    /// As [`Process::resize`].
    pub fn resize(&self, size: TerminalSize) -> io::Result<()> {
        self.process.resize(size)
    }

    /// The process below: for signals, for [ending its tree with a grace](Process::terminate_then_kill), for what it
    /// [used](Process::usage) and more.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.kill_on_drop && self.process.status().is_none() {
            // An error means that it has ended just now.
            let _ = self.process.kill();
        }
    }
}

impl fmt::Debug for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Child")
            .field("id", &self.id())
            .field("status", &self.try_wait())
            .finish_non_exhaustive()
    }
}

/// A run of a command, which dropping ends.
struct Running(CommandRun);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// What the child's protocol tells those that wait for its end.
#[derive(Default)]
struct Exit {
    /// Whether nothing will tell of its end.
    lost: Cell<bool>,
    waiters: Waiters,
}

/// The child's protocol.
struct Watch {
    /// The pipes, by their numbers in the child.
    pipes: Rc<RefCell<BTreeMap<ChildFd, Rc<Shared>>>>,
    exit: Rc<Exit>,
}

impl Watch {
    fn pipe(&self, child_fd: ChildFd) -> Option<Rc<Shared>> {
        self.pipes.borrow().get(&child_fd).cloned()
    }
}

impl ProcessProtocol for Watch {
    fn child_data_received(&mut self, process: &Process, child_fd: ChildFd, data: &[u8]) {
        if let (Some(shared), Some(transport)) = (self.pipe(child_fd), process.pipe(child_fd)) {
            shared.received(&transport, data);
        }
    }

    fn child_write_resumed(&mut self, _: &Process, child_fd: ChildFd) {
        if let Some(shared) = self.pipe(child_fd) {
            shared.resumed();
        }
    }

    fn child_connection_lost(&mut self, _: &Process, child_fd: ChildFd, reason: Reason) {
        let shared = self.pipes.borrow_mut().remove(&child_fd);
        if let Some(shared) = shared {
            shared.ended(&reason);
        }
    }

    fn process_exited(&mut self, _: &Process, _: ExitStatus) {
        self.exit.waiters.wake();
    }
}

impl Drop for Watch {
    /// Also when the reactor left the child running, or was dropped before it has stopped.
    fn drop(&mut self) {
        for shared in self.pipes.take().into_values() {
            shared.ended(&Reason::Stopped);
        }
        self.exit.lost.set(true);
        self.exit.waiters.wake();
    }
}
