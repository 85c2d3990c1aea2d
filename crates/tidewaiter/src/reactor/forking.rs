//! Takes a reactor along through a fork, and keeps copies of it harmless.

use std::rc::Rc;

use super::{Life, Reactor};
use crate::error::Error;
use crate::port::Port;

impl Reactor {
    /// Prepares the reactor for a fork of the process, so that it can live on in the child, as daemons do. Call
    /// this before the fork.
    ///
    /// In the process that goes on to use the reactor, [`after_fork`](Reactor::after_fork) makes it usable
    /// again, with its listeners, its connections and the bytes they have to send or received, its delayed
    /// calls and its [`Remote`](super::Remote)s. Between the two calls, the reactor makes no turns. The other
    /// process must not use its copy, because both have the same connections.
    ///
    /// Other threads do not exist in the child, so none may be in a call to this reactor meanwhile. The
    /// reactor's own threads end in this call, once their work is done, and start again when there is more. The
    /// parent's children are not children of the child: it is told of their ends, too, but their exit status is
    /// [`Unknown`](crate::process::ExitStatus::Unknown).
    ///
    /// Where processes cannot fork, as on Windows, this only stops the reactor's turns until `after_fork`.
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`] when the reactor has stopped; [`Error::Port`] when its threads are still at work
    /// after 5 s, or as [`Port::before_fork`](crate::port::Port::before_fork). After an error, the reactor goes
    /// on as before.
    pub fn before_fork(&self) -> Result<(), Error> {
        if self.core.life.get() == Life::Stopped {
            return Err(Error::Stopped);
        }
        self.check_process()?;
        self.core.other_threads.before_fork().map_err(Error::Port)?;
        self.port_mut().before_fork().map_err(|error| {
            self.core.other_threads.after_fork();
            Error::Port(error)
        })
    }

    /// Makes the reactor usable again after a fork. Call this in the process that goes on to use the reactor,
    /// be it the parent or the child.
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`] when the reactor has stopped; [`Error::Port`] as
    /// [`Port::after_fork`](crate::port::Port::after_fork): always in the child with kqueue, because a kqueue
    /// does not survive a fork.
    pub fn after_fork(&self) -> Result<(), Error> {
        if self.core.life.get() == Life::Stopped {
            return Err(Error::Stopped);
        }
        self.port_mut().after_fork().map_err(Error::Port)?;
        self.core.other_threads.after_fork();
        Ok(())
    }

    /// Fails if this process is a copy of the one that the reactor belongs to.
    pub(crate) fn check_process(&self) -> Result<(), Error> {
        let port = self.core.port.borrow();
        let checked = port.as_ref().map_or(Ok(()), Port::check_process);
        checked.map_err(Error::Port)
    }

    /// Whether this process is a copy of the one that the reactor belongs to.
    pub(crate) fn is_copied(&self) -> bool {
        let port = self.core.port.borrow();
        port.as_ref().is_some_and(Port::is_elsewhere)
    }

    /// Closes the copied descriptors, and leaks everything else: dropping what lives on the reactor might kill
    /// children, remove files or wait for threads that belong to the original process.
    #[expect(
        clippy::disallowed_methods,
        reason = "a copy must not end anything of the original"
    )]
    pub(super) fn disown(&self) {
        self.core.life.set(Life::Stopped);
        std::mem::forget(Rc::clone(&self.core));
        self.port_mut().disown();
    }
}
