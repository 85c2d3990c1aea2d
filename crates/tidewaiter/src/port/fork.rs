//! A port in a process that forks.

use std::io;

use super::Port;

impl Port {
    /// Prepares the port for a fork of the process, so that it can live on in the child. Call this before the
    /// fork. Until [`after_fork`](Port::after_fork), the port does not wait.
    ///
    /// Takes all operations back from the OS. Those that have completed meanwhile are delivered later; the
    /// others are as if they had not begun. The parent or the child then calls `after_fork` and uses the port;
    /// the other one only drops its copy. Handles, operations and wakers stay valid, and no data is lost or
    /// sent twice, as long as only one of the two processes uses them.
    ///
    /// On Windows and in simulations, where nothing forks, this only keeps the port from waiting.
    ///
    /// # Errors
    ///
    /// When the OS does not give its operations back within 10 s, or has no descriptor for a child process that
    /// io_uring awaits by its number; the port goes on as before then.
    /// [`ResourceBusy`](io::ErrorKind::ResourceBusy) when the port belongs to another thread or process.
    pub fn before_fork(&mut self) -> io::Result<()> {
        self.gate.suspend()
    }

    /// Makes the port usable again after a fork. Call this in the process that goes on to use the port, be it
    /// the parent or the child. From then on the port belongs to this process, and to the thread that waits
    /// first.
    ///
    /// In the child, the parent's children are not children: [`Request::Exit`](super::Request::Exit) completes
    /// there when such a process ends, as in the parent, but with
    /// [`ExitStatus::Unknown`](crate::process::ExitStatus::Unknown).
    ///
    /// A child on io_uring needs a ring of its own, and the kernel may refuse it, for instance because the
    /// memory that the user may lock is used up by the parent's ring. Then epoll serves from the first wait on,
    /// also if the program asked for io_uring; the log and [`info`](Port::info) say so.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) without [`before_fork`](Port::before_fork). In the child
    /// also [`Unsupported`](io::ErrorKind::Unsupported) with kqueue, or the OS's error; the call can be repeated
    /// then. In the parent this needs nothing from the OS.
    pub fn after_fork(&mut self) -> io::Result<()> {
        self.gate.resume()
    }

    /// Abandons a copy: closes its descriptors, and leaves everything else to the original.
    pub(crate) fn disown(&mut self) {
        self.gate.disown();
    }

    /// Returns an error in a forked copy of the process that the port belongs to.
    pub(crate) fn check_process(&self) -> io::Result<()> {
        self.gate.check_process()
    }

    /// Whether this process is a forked copy of the one that the port belongs to.
    pub(crate) fn is_elsewhere(&self) -> bool {
        self.gate.is_elsewhere()
    }
}
