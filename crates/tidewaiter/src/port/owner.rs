//! A port belongs to one thread, in one process.

use std::io;
use std::sync::Arc;
use std::thread::{self, Thread};

use super::{Driver, Port};
use crate::os::Origin;

/// The gate between a port's calls and its driver.
///
/// A copy of the process, made by `fork`, shares sockets, children and the kernel's queues with the
/// original. There, only [`Gate::books`] reaches the driver.
pub(super) struct Gate {
    driver: Box<dyn Driver>,
    /// The process that the port belongs to; `None` without an OS.
    origin: Option<Arc<Origin>>,
    /// The thread that the port belongs to: the one that waited first.
    waiter: Option<Thread>,
    /// The port is between `before_fork` and `after_fork`.
    suspended: bool,
}

impl Gate {
    pub(super) fn new(driver: Box<dyn Driver>, origin: Option<Origin>) -> Gate {
        Gate {
            driver,
            origin: origin.map(Arc::new),
            waiter: None,
            suspended: false,
        }
    }

    /// The driver, to read its own memory. Makes no system call, so even a forked copy may use it.
    pub(super) fn books(&self) -> &dyn Driver {
        &*self.driver
    }

    /// The driver, to query the OS.
    pub(super) fn pass(&self) -> io::Result<&dyn Driver> {
        self.check_process()?;
        Ok(&*self.driver)
    }

    /// The driver, to change something in the OS.
    pub(super) fn pass_mut(&mut self) -> io::Result<&mut dyn Driver> {
        self.check_process()?;
        Ok(&mut *self.driver)
    }

    /// The driver, to try a request at once; `None` if it must be submitted instead.
    pub(super) fn pass_at_once(&mut self) -> Option<&mut dyn Driver> {
        if self.suspended {
            return None;
        }
        self.pass_mut().ok()
    }

    /// The driver, to wait. The first thread that asks becomes the port's thread.
    pub(super) fn pass_to_wait(&mut self) -> io::Result<&mut dyn Driver> {
        self.check_process()?;
        if self.suspended {
            return Err(busy(
                "the port does not wait between `before_fork` and `after_fork`".to_owned(),
            ));
        }
        self.check_thread()?;
        if self.waiter.is_none() {
            if let Some(successor) = self.driver.begin_waiting()? {
                self.driver = successor;
            }
            self.waiter = Some(thread::current());
        }
        Ok(&mut *self.driver)
    }

    pub(super) fn origin(&self) -> Option<Arc<Origin>> {
        self.origin.clone()
    }

    fn is_elsewhere(&self) -> bool {
        let origin = self.origin.as_ref();
        origin.is_some_and(|origin| origin.is_elsewhere())
    }

    fn check_process(&self) -> io::Result<()> {
        self.origin.as_ref().map_or(Ok(()), |origin| origin.check())
    }

    fn check_thread(&self) -> io::Result<()> {
        match &self.waiter {
            Some(waiter) if waiter.id() != thread::current().id() => Err(busy(format!(
                "the port belongs to thread {:?} ({:?}), which waited first",
                waiter.name().unwrap_or("without a name"),
                waiter.id()
            ))),
            _ => Ok(()),
        }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        if self.is_elsewhere() {
            self.driver.disown();
        }
    }
}

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
        let gate = &mut self.gate;
        gate.check_process()?;
        gate.check_thread()?;
        if !gate.suspended {
            gate.driver.before_fork()?;
            gate.suspended = true;
        }
        Ok(())
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
        let gate = &mut self.gate;
        if !gate.suspended {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the port was not made ready by `before_fork`",
            ));
        }
        let in_copy = gate.is_elsewhere();
        gate.driver.after_fork(in_copy)?;
        if let Some(origin) = &gate.origin {
            origin.renew();
        }
        gate.waiter = None;
        gate.suspended = false;
        Ok(())
    }

    /// Abandons a copy: closes its descriptors, and leaves everything else to the original.
    pub(crate) fn disown(&mut self) {
        self.gate.driver.disown();
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

fn busy(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::ResourceBusy, message)
}
