//! Whose a port is: one thread's, in one process.

use std::io;
use std::thread;

use super::Port;

impl Port {
    /// To be called before the process forks, if the port is to live on in the child.
    ///
    /// Takes everything back from the OS: what has completed meanwhile is kept, to be delivered later; the
    /// other operations are as if they had not begun. In parent and child alike,
    /// [`after_fork`](Port::after_fork) makes the port usable again; whichever does without it only drops
    /// it. Handles, operations and wakers stay valid, and no data is lost or doubled, as long as only one
    /// of the two goes on to use them.
    ///
    /// On Windows and in simulations, where nothing forks, this changes nothing but that the port does not
    /// wait.
    ///
    /// # Errors
    ///
    /// When the OS does not give its operations back; the port goes on as before then.
    /// [`ResourceBusy`](io::ErrorKind::ResourceBusy) when it belongs to another thread or process.
    pub fn before_fork(&mut self) -> io::Result<()> {
        self.check_process()?;
        self.check_thread()?;
        if !self.suspended {
            self.driver.before_fork()?;
            self.suspended = true;
        }
        Ok(())
    }

    /// To be called after the process has forked, in the process that goes on to use the port: this one
    /// and the thread that then waits first are those that it belongs to.
    ///
    /// Children of the parent are no children of the child: what awaited their ends
    /// ([`Request::Exit`](super::Request::Exit)) fails there.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) without [`before_fork`](Port::before_fork);
    /// [`Unsupported`](io::ErrorKind::Unsupported) with kqueue; or what the OS says, and then it can be
    /// called again.
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
