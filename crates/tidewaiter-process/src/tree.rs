//! A child and its descendants, as any thread reaches them.

use std::io;
use std::time::Duration;

use tidewaiter::RemoteProcess;
use tidewaiter::process::{Signal, SignalTarget};

/// Signals and kills a child with all its descendants: its process group and what left it on Linux, its job on Windows.
///
/// It may be cloned and sent to any thread, and used while others wait for the child. Calls do not block. Once the child
/// has ended and its pipes are closed, they do nothing: the number of a process is never used after its end. Dropping it
/// does nothing either.
///
/// ```
/// use tidewaiter_process::{Child, Command, Tree};
///
/// # if cfg!(unix) {
/// let mut child = Child::spawn(&Command::new("sleep").arg("3600"))?;
/// let tree: Tree = child.tree().clone();
/// let killer = std::thread::spawn(move || tree.kill());
/// assert!(!child.wait_blocking().success(), "it was killed");
/// killer.join().expect("no panic")?;
/// # }
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Tree {
    remote: RemoteProcess,
}

impl Tree {
    pub(crate) fn new(remote: RemoteProcess) -> Tree {
        Tree { remote }
    }

    /// The child's process ID. Once the child has ended, the OS may give it to another process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.remote.pid()
    }

    /// Kills the child and its descendants.
    ///
    /// # Errors
    ///
    /// When the thread of child processes has ended, because its port has failed. A signal that the system refuses is
    /// a warning in the log.
    pub fn kill(&self) -> io::Result<()> {
        Ok(self.remote.kill()?)
    }

    /// Asks the child and its descendants to end: with SIGTERM on Unix, with Ctrl-Break on Windows.
    ///
    /// # Errors
    ///
    /// As [`kill`](Tree::kill).
    pub fn terminate(&self) -> io::Result<()> {
        Ok(self.remote.terminate_tree()?)
    }

    /// As [`terminate`](Tree::terminate), and kills what has not ended after `grace`.
    ///
    /// # Errors
    ///
    /// As [`kill`](Tree::kill).
    pub fn terminate_then_kill(&self, grace: Duration) -> io::Result<()> {
        Ok(self.remote.terminate_then_kill(grace)?)
    }

    /// Sends a signal, to the child alone or to its tree.
    ///
    /// # Errors
    ///
    /// As [`kill`](Tree::kill).
    pub fn signal(&self, signal: Signal, target: SignalTarget) -> io::Result<()> {
        Ok(self.remote.signal(signal, target)?)
    }
}
