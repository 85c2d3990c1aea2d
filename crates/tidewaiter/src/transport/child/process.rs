//! A child process, as the program sees it.

use std::fmt;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use super::super::stream::Transport;
use super::{ChildFd, Inner};
use crate::process::{
    ExitStatus, PipeDirection, Signal, SignalTarget, TerminalSize, Unreached, Usage,
};
use crate::reactor::Reactor;

/// A child process. Clones refer to the same child; dropping this does not end it.
///
/// When the reactor stops or is dropped, children that still run are [killed](Process::kill), unless they were
/// [detached](Process::detach). A child that has not ended 5 s later is left behind, as if it were detached, and
/// named in the log. That happens when the OS does not let us kill a process that became another user's, or when a
/// process hangs in a system call.
#[derive(Clone)]
pub struct Process {
    pub(super) inner: Rc<Inner>,
}

impl Process {
    /// The child's process ID. Once [`process_exited`](crate::ProcessProtocol::process_exited) was called, the OS may
    /// give it to another process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.inner.pid
    }

    /// The transport of the pipe at the child's descriptor `child_fd`; `None` if that is no pipe, or is closed.
    #[must_use]
    pub fn pipe(&self, child_fd: ChildFd) -> Option<Transport> {
        let pipes = self.inner.pipes.borrow();
        pipes.get(&child_fd).map(|pipe| pipe.transport.clone())
    }

    /// The child's descriptors whose pipes are open.
    #[must_use]
    pub fn pipes(&self) -> Vec<ChildFd> {
        self.inner.pipes.borrow().keys().copied().collect()
    }

    /// The open pipes, with their directions.
    pub(crate) fn directions(&self) -> Vec<(ChildFd, PipeDirection, Transport)> {
        let pipes = self.inner.pipes.borrow();
        let each = pipes.iter();
        each.map(|(fd, pipe)| (*fd, pipe.direction, pipe.transport.clone()))
            .collect()
    }

    /// Sends a copy of `data` to the child's standard input. Does nothing if that is no pipe, or is closed.
    pub fn write(&self, data: &[u8]) {
        self.write_to(0, data);
    }

    /// Sends a copy of `data` to the child's descriptor `child_fd`. Does nothing if that is no pipe to
    /// the child, or is closed.
    pub fn write_to(&self, child_fd: ChildFd, data: &[u8]) {
        if let Some(pipe) = self.pipe(child_fd) {
            pipe.write(data);
        }
    }

    /// Closes the child's standard input in order: once everything written is sent and the registered producer,
    /// if any, is unregistered. See [`Transport::lose_connection`].
    pub fn close_stdin(&self) {
        self.close_fd(0);
    }

    /// Closes the pipe at the child's descriptor `child_fd`: a pipe to the child in order, as
    /// [`close_stdin`](Process::close_stdin) does, a pipe from the child at once. Does nothing if that is no pipe,
    /// or is closed.
    pub fn close_fd(&self, child_fd: ChildFd) {
        if let Some(pipe) = self.pipe(child_fd) {
            pipe.lose_connection();
        }
    }

    /// Closes all pipes, each as [`close_fd`](Process::close_fd) does. This does not end the child.
    pub fn lose_connection(&self) {
        for child_fd in self.pipes() {
            self.close_fd(child_fd);
        }
    }

    /// How the child ended; `None` until [`process_exited`](crate::ProcessProtocol::process_exited).
    #[must_use]
    pub fn status(&self) -> Option<ExitStatus> {
        self.inner.status.get()
    }

    /// What the child used of the machine; `None` until
    /// [`process_exited`](crate::ProcessProtocol::process_exited), if its status is [unknown](ExitStatus::Unknown), in
    /// simulations, and of a [detached](Process::detach) child that ends in the moment in which the reactor leaves it.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        self.inner.usage.get()
    }

    /// Sets the size of the child's [terminal](crate::process::Command::terminal). On Unix, the processes in its
    /// foreground get SIGWINCH.
    ///
    /// # Errors
    ///
    /// [`NotFound`](io::ErrorKind::NotFound) when both directions of the terminal are closed;
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) when the child has pipes instead of a terminal;
    /// otherwise the OS's error.
    pub fn resize(&self, size: TerminalSize) -> io::Result<()> {
        let missing = || io::Error::new(io::ErrorKind::NotFound, "the child has no open terminal");
        let either = self.pipe(1).or_else(|| self.pipe(0));
        either.ok_or_else(missing)?.resize(size)
    }

    /// Sends a signal to the child, or to its [tree](SignalTarget::Tree). Returns which processes it did not reach, as far
    /// as that is known at once.
    ///
    /// # Errors
    ///
    /// [`NotFound`](io::ErrorKind::NotFound) when the child (for a tree: and everything else in it) has ended, or
    /// when [`process_ended`](crate::ProcessProtocol::process_ended) was called.
    /// [`Unsupported`](io::ErrorKind::Unsupported) for a signal that this OS does not have, and where
    /// [`Command::own_group`](crate::process::Command::own_group) says so. Otherwise the OS's error, such as
    /// [`PermissionDenied`](io::ErrorKind::PermissionDenied) for a child that became another user's.
    pub fn signal(&self, signal: Signal, target: SignalTarget) -> io::Result<Unreached> {
        self.inner.signal(signal, target)
    }

    /// Asks the child alone to end: SIGTERM; on Windows Ctrl-Break, which reaches its whole group, or for a child on a
    /// [terminal](crate::process::Command::terminal) its hang-up, which reaches all that have the terminal.
    ///
    /// # Errors
    ///
    /// As [`signal`](Process::signal).
    pub fn terminate(&self) -> io::Result<Unreached> {
        self.signal(Signal::Terminate, SignalTarget::Process)
    }

    /// Asks the child and its [tree](SignalTarget::Tree) to end; the child alone if it does not lead a group
    /// ([`Command::own_group`](crate::process::Command::own_group)).
    ///
    /// # Errors
    ///
    /// As [`signal`](Process::signal).
    pub fn terminate_tree(&self) -> io::Result<Unreached> {
        self.inner.signal_widely(Signal::Terminate)
    }

    /// Asks the child and its tree to end, as [`terminate_tree`](Process::terminate_tree) does, and
    /// [kills](Process::kill) them if they have not ended after `grace`. Returns at once.
    ///
    /// A tree that cannot be asked is killed at once. If the child ends and its pipes close earlier, what is left of
    /// the tree is killed then, so that nothing of it outlives
    /// [`process_ended`](crate::ProcessProtocol::process_ended) but what [`kill`](Process::kill) does not reach. A later
    /// call asks again, and its grace replaces this one. Failures are logged, and so is a child that has not ended 5 s
    /// after it was killed.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidewaiter::process::{Command, ExitStatus};
    /// use tidewaiter::{Process, ProcessProtocol, Reactor};
    ///
    /// struct Service;
    ///
    /// impl ProcessProtocol for Service {
    ///     fn connection_made(&mut self, process: &Process) {
    ///         process.terminate_then_kill(Duration::from_secs(10));
    ///     }
    ///
    ///     fn process_ended(&mut self, process: &Process, status: ExitStatus) {
    ///         assert!(!status.success());
    ///         process.reactor().stop();
    ///     }
    /// }
    ///
    /// let reactor = Reactor::new()?;
    /// # if cfg!(unix) {
    /// reactor.spawn_process(&Command::new("sleep").arg("600"), Service)?;
    /// reactor.run()?;
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn terminate_then_kill(&self, grace: Duration) {
        self.inner.terminate_then_kill(grace);
    }

    /// Kills the child and its [tree](SignalTarget::Tree), and returns what is left of it, as far as that is known at
    /// once. On Unix, if the child does not lead a group
    /// ([`Command::own_group`](crate::process::Command::own_group)), only the child itself is killed.
    ///
    /// On Linux, the processes of the tree are stopped first (SIGSTOP), so that it does not grow meanwhile.
    ///
    /// # Errors
    ///
    /// As [`signal`](Process::signal).
    pub fn kill(&self) -> io::Result<Unreached> {
        self.inner.signal_widely(Signal::Kill)
    }

    /// Leaves the child running when the reactor stops or is dropped. Until then, nothing changes. Then the reactor
    /// closes the child's pipes, which hangs up a child on a terminal, and neither waits for its exit nor reports it: on
    /// Unix, the child may stay a zombie after its exit, until the program ends or reaps it.
    pub fn detach(&self) {
        self.inner.detached.set(true);
    }

    /// The reactor that this child lives on.
    #[must_use]
    pub fn reactor(&self) -> &Reactor {
        &self.inner.reactor
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Process({})", self.inner.pid)
    }
}
