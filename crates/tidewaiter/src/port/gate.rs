//! The gate between a port and its driver: a port belongs to one thread, in one process.

use std::io;
use std::sync::Arc;
use std::thread::{self, Thread};

use super::Driver;
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

    /// Prepares the driver for a fork of the process.
    pub(super) fn suspend(&mut self) -> io::Result<()> {
        self.check_process()?;
        self.check_thread()?;
        if !self.suspended {
            self.driver.before_fork()?;
            self.suspended = true;
        }
        Ok(())
    }

    /// Continues after a fork. From then on, the driver belongs to this process.
    pub(super) fn resume(&mut self) -> io::Result<()> {
        if !self.suspended {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the port was not made ready by `before_fork`",
            ));
        }
        let in_copy = self.is_elsewhere();
        self.driver.after_fork(in_copy)?;
        if let Some(origin) = &self.origin {
            origin.renew();
        }
        self.waiter = None;
        self.suspended = false;
        Ok(())
    }

    /// Abandons the driver in a copy of its process.
    pub(super) fn disown(&mut self) {
        self.driver.disown();
    }

    pub(super) fn origin(&self) -> Option<Arc<Origin>> {
        self.origin.clone()
    }

    pub(super) fn is_elsewhere(&self) -> bool {
        let origin = self.origin.as_ref();
        origin.is_some_and(|origin| origin.is_elsewhere())
    }

    pub(super) fn check_process(&self) -> io::Result<()> {
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
            self.disown();
        }
    }
}

fn busy(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::ResourceBusy, message)
}
