//! The gate between a port and its driver: a port belongs to one thread, in one process.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread::{self, Thread, ThreadId};
use std::time::Instant;

use super::calls::{Answer, Query};
use super::driver::{Driver, ForkStep, Status};
use super::handle::Handle;
use crate::os::Origin;

thread_local! {
    /// The calling thread, asked for once: each wait checks it.
    static CALLER: ThreadId = thread::current().id();
}

/// The kinds of calls, which differ in where and when they are allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// Changes or asks something in the OS, or submits a request for the next wait.
    Act,
    /// Tries a request at once instead of submitting it.
    TryNow,
    /// Waits. The first thread that does becomes the port's thread.
    Wait,
    /// Prepares for a fork of the process.
    Suspend,
    /// Continues after a fork, in either process.
    Resume,
}

/// Owns the driver and lets a call reach it only after the checks.
///
/// A copy of the process, made by `fork`, shares sockets, children and the kernel's queues with the
/// original. There, a call may read the driver's memory, but not reach the OS.
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

    /// Refuses a call from the wrong process or thread, or at the wrong time.
    #[inline]
    fn check(&self, call: Call) -> io::Result<()> {
        if call != Call::Resume {
            self.check_process()?;
        }
        match call {
            Call::TryNow | Call::Wait if self.suspended => Err(suspended()),
            Call::Resume if !self.suspended => Err(not_suspended()),
            Call::Wait | Call::Suspend => self.check_thread(),
            Call::Act | Call::TryNow | Call::Resume => Ok(()),
        }
    }

    /// The driver, for a call that is allowed here and now.
    #[inline]
    pub(super) fn pass(&mut self, call: Call) -> io::Result<&mut dyn Driver> {
        self.check(call)?;
        if call == Call::Wait && self.waiter.is_none() {
            self.begin_waiting()?;
        }
        Ok(&mut *self.driver)
    }

    /// Makes this thread the port's thread.
    #[cold]
    fn begin_waiting(&mut self) -> io::Result<()> {
        if let Some(successor) = self.driver.begin_waiting()? {
            self.driver = successor;
        }
        self.waiter = Some(thread::current());
        Ok(())
    }

    /// Asks the OS about the object behind a handle.
    pub(super) fn query(&self, handle: Handle, query: Query) -> io::Result<Answer> {
        self.check(Call::Act)?;
        self.driver.query(handle, query)
    }

    /// The driver's state. This makes no system call, so a forked copy may read it.
    pub(super) fn status(&self) -> Status<'_> {
        self.driver.status()
    }

    /// The time by the driver's clock. A forked copy has the same clock.
    #[inline]
    pub(super) fn now(&self) -> Instant {
        self.driver.now()
    }

    /// Prepares the driver for a fork of the process.
    pub(super) fn suspend(&mut self) -> io::Result<()> {
        let suspended = self.suspended;
        let driver = self.pass(Call::Suspend)?;
        if !suspended {
            driver.fork(ForkStep::Before)?;
            self.suspended = true;
        }
        Ok(())
    }

    /// Continues after a fork. From then on, the driver belongs to this process.
    pub(super) fn resume(&mut self) -> io::Result<()> {
        let step = if self.is_elsewhere() {
            ForkStep::AfterInCopy
        } else {
            ForkStep::After
        };
        self.pass(Call::Resume)?.fork(step)?;
        if let Some(origin) = &self.origin {
            origin.renew();
        }
        self.waiter = None;
        self.suspended = false;
        Ok(())
    }

    /// Abandons the driver in a copy of its process.
    pub(super) fn disown(&mut self) {
        if let Err(error) = self.driver.fork(ForkStep::Disown) {
            log::error!("port: a copy could not be abandoned: {error}");
        }
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
            Some(waiter) if waiter.id() != CALLER.with(|id| *id) => Err(not_the_waiter(waiter)),
            _ => Ok(()),
        }
    }
}

#[cold]
fn not_the_waiter(waiter: &Thread) -> io::Error {
    busy(format!(
        "the port belongs to thread {:?} ({:?}), which waited first",
        waiter.name().unwrap_or("without a name"),
        waiter.id()
    ))
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.driver.fmt(f)
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        if self.is_elsewhere() {
            self.disown();
        }
    }
}

#[cold]
fn suspended() -> io::Error {
    busy("the port does not wait between `before_fork` and `after_fork`".to_owned())
}

#[cold]
fn not_suspended() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        "the port was not made ready by `before_fork`",
    )
}

fn busy(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::ResourceBusy, message)
}
