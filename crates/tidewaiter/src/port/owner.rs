//! Whose a port is: one thread's, in one process.

use std::io;
use std::thread;

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
    /// When the OS does not give its operations back within 10 s; the port goes on as before then.
    /// [`ResourceBusy`](io::ErrorKind::ResourceBusy) when the port belongs to another thread or process.
    pub fn before_fork(&mut self) -> io::Result<()> {
        self.check_process()?;
        self.check_thread()?;
        if !self.suspended {
            self.driver.before_fork()?;
            self.suspended = true;
        }
        Ok(())
    }

    /// Makes the port usable again after a fork. Call this in the process that goes on to use the port, be it
    /// the parent or the child. From then on the port belongs to this process, and to the thread that waits
    /// first.
    ///
    /// In the child, the parent's children are not children: waiting for their end
    /// ([`Request::Exit`](super::Request::Exit)) fails there.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) without [`before_fork`](Port::before_fork);
    /// [`Unsupported`](io::ErrorKind::Unsupported) with kqueue. Otherwise the OS's error; the call can be
    /// repeated then.
    pub fn after_fork(&mut self) -> io::Result<()> {
        if !self.suspended {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the port was not made ready by `before_fork`",
            ));
        }
        self.driver.after_fork()?;
        if let Some(origin) = &self.origin {
            origin.renew();
        }
        self.waiter = None;
        self.suspended = false;
        Ok(())
    }

    /// Lets go of a copy: closes its descriptors, and does nothing to what is still the original's.
    pub(crate) fn disown(&mut self) {
        self.driver.disown();
    }

    /// Whether this process is a copy, made by `fork`, of the one that the port belongs to.
    pub(crate) fn is_elsewhere(&self) -> bool {
        let origin = self.origin.as_ref();
        origin.is_some_and(super::Origin::is_elsewhere)
    }

    pub(super) fn check_process(&self) -> io::Result<()> {
        if self.is_elsewhere() {
            return Err(busy(
                "the port belongs to the process that this one is a copy of".to_owned(),
            ));
        }
        Ok(())
    }

    /// Whether this thread may wait; the first to ask is the one that may.
    pub(super) fn check_waiter(&mut self) -> io::Result<()> {
        self.check_process()?;
        if self.suspended {
            return Err(busy(
                "the port does not wait between `before_fork` and `after_fork`".to_owned(),
            ));
        }
        self.check_thread()?;
        if self.waiter.is_none() {
            self.waiter = Some(thread::current());
        }
        Ok(())
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

impl Drop for Port {
    fn drop(&mut self) {
        if self.is_elsewhere() {
            self.disown();
        }
    }
}

fn busy(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::ResourceBusy, message)
}
