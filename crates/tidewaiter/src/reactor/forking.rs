//! Processes that fork: taking the reactor along, and copies that leave it alone.

use std::rc::Rc;

use super::{Life, Reactor};
use crate::error::Error;
use crate::port::Port;

impl Reactor {
    /// To be called before the process forks, if the reactor is to live on in the child: as daemons do.
    ///
    /// The parent is to end afterwards, without the reactor being used or dropped, or to drop it: both
    /// have the same connections. In the process that goes on,
    /// [`after_fork`](Reactor::after_fork) makes the reactor usable again: with its listeners,
    /// connections, what they have to send and had received, delayed calls, [`Remote`](super::Remote)s.
    /// Between the two, the reactor makes no turns.
    ///
    /// Other threads do not exist in the child, so none may be in a call to this reactor meanwhile; its
    /// own are ended here once their work is done, and started again when there is more. Children of the
    /// parent are not the child's: their ends are failures there.
    ///
    /// Where nothing forks, as on Windows, this does nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`] when it was stopped; [`Error::Port`] when its threads are still at work after
    /// some seconds, or as [`Port::before_fork`](crate::port::Port::before_fork). The reactor goes on as
    /// before then.
    pub fn before_fork(&self) -> Result<(), Error> {
        if self.core.life.get() == Life::Stopped {
            return Err(Error::Stopped);
        }
        self.check_process()?;
        self.core.others.before_fork().map_err(Error::Port)?;
        self.port_mut().before_fork().map_err(|error| {
            self.core.others.after_fork();
            Error::Port(error)
        })
    }

    /// To be called after the process has forked, in the process that goes on to use the reactor.
    ///
    /// # Errors
    ///
    /// [`Error::Port`], as [`Port::after_fork`](crate::port::Port::after_fork).
    pub fn after_fork(&self) -> Result<(), Error> {
        self.port_mut().after_fork().map_err(Error::Port)?;
        self.core.others.after_fork();
        Ok(())
    }

    /// Refuses in a copy of the process that the reactor belongs to.
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

    /// Closes the copies of descriptors, and leaves all else as it is: what is on the reactor may kill
    /// children, remove files or wait for threads, none of which are this process's to end.
    #[expect(
        clippy::disallowed_methods,
        reason = "nothing of the original is to be ended here"
    )]
    pub(super) fn disown(&self) {
        self.core.life.set(Life::Stopped);
        std::mem::forget(Rc::clone(&self.core));
        self.port_mut().disown();
    }
}
