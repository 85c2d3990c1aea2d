//! A child, as other threads reach it.

use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;

use super::{ChildFd, Inner, Process, ProcessProtocol};
use crate::error::Error;
use crate::port::Token;
use crate::process::{
    Command, Signal, SignalTarget, SpawnError, SpawnStep, StartedChild, TerminalSize, Unreached,
};
use crate::reactor::{Reactor, Remote};

/// A handle through which other threads reach a child process. Clones are equivalent.
///
/// Its methods never block, as those of [`Remote`]: they have the reactor's thread call the method of the same name of
/// [`Process`], in the order of sending. The handle may outlive the child and the reactor: calls for a child whose end
/// [was told](crate::ProcessProtocol::process_ended) do nothing.
///
/// ```
/// use std::thread;
/// use tidewaiter::process::{Command, ExitStatus};
/// use tidewaiter::{Process, ProcessProtocol, Reactor};
///
/// struct Service;
///
/// impl ProcessProtocol for Service {
///     fn process_ended(&mut self, process: &Process, _: ExitStatus) {
///         process.reactor().stop();
///     }
/// }
///
/// let reactor = Reactor::new()?;
/// # if cfg!(unix) {
/// let process = reactor.spawn_process(&Command::new("cat"), Service)?;
/// let remote = process.remote();
/// let thread = thread::spawn(move || {
///     remote.write("from another thread\n")?;
///     remote.kill()
/// });
/// reactor.run()?;
/// thread.join().expect("it does not panic")?;
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct RemoteProcess {
    remote: Remote,
    /// Set before the reactor makes any call that this handle sends, unless the reactor could not take the child.
    token: Arc<OnceLock<Token>>,
    pid: u32,
}

impl Process {
    /// Makes a handle of this child for other threads.
    #[must_use]
    pub fn remote(&self) -> RemoteProcess {
        RemoteProcess {
            remote: self.reactor().remote(),
            token: Arc::new(OnceLock::from(self.inner.token.get())),
            pid: self.inner.pid,
        }
    }
}

impl Remote {
    /// Starts a child process on the calling thread, and gives it to the reactor: the loop is not held up meanwhile, and the
    /// calling thread does not wait for the loop. `protocol` makes the child's protocol; its argument names the child's
    /// descriptors that are pipes. The child is then the same as one that [`Reactor::spawn_process`] starts.
    ///
    /// If the reactor ends before it takes the child, or the OS refuses to let it wait for the child, then the child is
    /// killed with its tree, and the protocol is dropped without a call. An OS error is in the log.
    ///
    /// # Errors
    ///
    /// As [`Reactor::spawn_process`]; also at [`SpawnStep::Begin`] in a copy of the process, made by `fork`, that does not
    /// own the reactor, and with [`Unsupported`](io::ErrorKind::Unsupported) if the reactor's port is simulated.
    ///
    /// ```
    /// use tidewaiter::process::{Command, ExitStatus};
    /// use tidewaiter::{Process, ProcessProtocol, Reactor};
    ///
    /// struct Stops;
    ///
    /// impl ProcessProtocol for Stops {
    ///     fn process_ended(&mut self, process: &Process, status: ExitStatus) {
    ///         assert!(status.success());
    ///         process.reactor().stop();
    ///     }
    /// }
    ///
    /// let reactor = Reactor::new()?;
    /// # if cfg!(unix) {
    /// let remote = reactor.remote();
    /// let thread = std::thread::spawn(move || {
    ///     remote.spawn_process(&Command::new("true"), |_pipes| Stops).map(|child| child.pid())
    /// });
    /// reactor.run()?;
    /// assert!(thread.join().expect("it does not panic")? > 0);
    /// # }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn spawn_process<P: ProcessProtocol + Send + 'static>(
        &self,
        command: &Command,
        protocol: impl FnOnce(&[ChildFd]) -> P,
    ) -> Result<RemoteProcess, SpawnError> {
        let refused = |source| command.failed((SpawnStep::Begin, source));
        self.check_spawning().map_err(refused)?;
        let started = StartedChild::start(command)?;
        let protocol = protocol(&started.pipes());
        let process = RemoteProcess {
            remote: self.clone(),
            token: Arc::default(),
            pid: started.pid(),
        };
        let token = Arc::clone(&process.token);
        let adopt =
            move |reactor: &Reactor| match reactor.adopt_process(started, Box::new(protocol)) {
                Ok(process) => {
                    let set = token.set(process.inner.token.get());
                    debug_assert_eq!(set, Ok(()), "a child is adopted once");
                }
                Err(error) => log::error!("a child of another thread was killed: {error}"),
            };
        self.call(adopt)
            .map_err(|error| refused(io::Error::other(error)))?;
        Ok(process)
    }
}

impl RemoteProcess {
    /// The child's process ID. Once the child has ended, the OS may give it to another process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Has the reactor's loop call `callback` with the child. If the end of the child was told before, the callback is
    /// dropped there uncalled.
    ///
    /// # Errors
    ///
    /// As [`Remote::call`].
    pub fn call(&self, callback: impl FnOnce(&Process) + Send + 'static) -> Result<(), Error> {
        let token = Arc::clone(&self.token);
        self.remote.call(move |reactor| {
            if let Some(inner) = token.get().and_then(|token| reactor.find::<Inner>(*token)) {
                callback(&Process { inner });
            }
        })
    }

    /// As [`Process::write`], without a copy.
    ///
    /// # Errors
    ///
    /// As [`Remote::call`].
    pub fn write(&self, data: impl Into<Bytes>) -> Result<(), Error> {
        let data = data.into();
        self.call(move |process| {
            if let Some(stdin) = process.pipe(0) {
                stdin.write_bytes(data);
            }
        })
    }

    /// As [`Process::close_stdin`].
    ///
    /// # Errors
    ///
    /// As [`Remote::call`].
    pub fn close_stdin(&self) -> Result<(), Error> {
        self.call(Process::close_stdin)
    }

    /// As [`Process::resize`]. If the size cannot be set, a warning in the log says why; a terminal that is closed is
    /// none.
    ///
    /// # Errors
    ///
    /// As [`Remote::call`].
    pub fn resize(&self, size: TerminalSize) -> Result<(), Error> {
        self.call(move |process| warn_if_refused(process, "resized", process.resize(size)))
    }

    /// As [`Process::signal`]. If the signal cannot be sent, a warning in the log says why; a child that has ended is
    /// none.
    ///
    /// # Errors
    ///
    /// As [`Remote::call`].
    pub fn signal(&self, signal: Signal, target: SignalTarget) -> Result<(), Error> {
        self.call(move |process| warn_if_unreached(process, process.signal(signal, target)))
    }

    /// As [`Process::terminate`]; failures as in [`signal`](RemoteProcess::signal).
    ///
    /// # Errors
    ///
    /// As [`Remote::call`].
    pub fn terminate(&self) -> Result<(), Error> {
        self.call(|process| warn_if_unreached(process, process.terminate()))
    }

    /// As [`Process::terminate_tree`]; failures as in [`signal`](RemoteProcess::signal).
    ///
    /// # Errors
    ///
    /// As [`Remote::call`].
    pub fn terminate_tree(&self) -> Result<(), Error> {
        self.call(|process| warn_if_unreached(process, process.terminate_tree()))
    }

    /// As [`Process::terminate_then_kill`].
    ///
    /// # Errors
    ///
    /// As [`Remote::call`].
    pub fn terminate_then_kill(&self, grace: Duration) -> Result<(), Error> {
        self.call(move |process| process.terminate_then_kill(grace))
    }

    /// As [`Process::kill`]; failures as in [`signal`](RemoteProcess::signal).
    ///
    /// # Errors
    ///
    /// As [`Remote::call`].
    pub fn kill(&self) -> Result<(), Error> {
        self.call(|process| warn_if_unreached(process, process.kill()))
    }
}

fn warn_if_unreached(process: &Process, result: io::Result<Unreached>) {
    let checked = result.map(|Unreached { processes, .. }| {
        if !processes.is_empty() {
            let child = &process.inner;
            log::warn!("{child}: a signal of another thread did not reach {processes:?}");
        }
    });
    warn_if_refused(process, "signalled", checked);
}

fn warn_if_refused(process: &Process, done: &str, result: io::Result<()>) {
    if let Err(error) = result
        && error.kind() != io::ErrorKind::NotFound
    {
        log::warn!(
            "{} cannot be {done} for another thread: {error}",
            process.inner
        );
    }
}

impl fmt::Debug for RemoteProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RemoteProcess({})", self.pid)
    }
}
