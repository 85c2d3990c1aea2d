//! Things that belong to others, watched for them.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::rc::Rc;

use super::{Live, Reactor};
use crate::error::Error;
use crate::port::{
    Completion, Failure, Interest, Operation, Outcome, Port, RawDescriptor, Readiness, Token,
};

type OnReady = Box<dyn FnMut(&Watch, Readiness)>;

/// A descriptor or handle that is watched for somebody: see [`Reactor::watch`] and
/// [`Reactor::watch_handle`].
///
/// Clones are the same one. The reactor owns it: dropping all of them does not stop it.
#[derive(Clone)]
pub struct Watch {
    watched: Rc<Watched>,
}

struct Watched {
    reactor: Reactor,
    descriptor: RawDescriptor,
    token: Cell<Token>,
    /// The port's operation; `None` once stopped.
    operation: Cell<Option<Operation>>,
    interest: Cell<Interest>,
    /// Borrowed while it is called: that is done from the loop alone, once at a time.
    callback: RefCell<OnReady>,
}

impl Reactor {
    /// Unix. Watches a descriptor that belongs to someone else, for libraries that do their own reading
    /// and writing. The reactor never reads, writes or closes it, nor changes whether it blocks.
    ///
    /// `callback` is called in each turn of the loop, as long as the descriptor is ready and `interest`
    /// includes it; a hang-up and an error are always reported. (On systems with kqueue, they are as long
    /// as there is any interest.) What has no readiness, as a file, is always ready: while there is
    /// interest in it, the loop does not wait.
    ///
    /// It is watched until [`Watch::stop`], or until the reactor stops; if the callback panics, it is
    /// stopped. Stop it *before* the descriptor is closed, which may happen right after.
    ///
    /// # Errors
    ///
    /// [`Error::Watch`], with the OS's reason, if there is no such descriptor or it cannot be polled; with
    /// [`AlreadyExists`](io::ErrorKind::AlreadyExists) when it is watched already; with
    /// [`Unsupported`](io::ErrorKind::Unsupported) on Windows and in a simulation. [`Error::Stopped`].
    pub fn watch(
        &self,
        descriptor: RawDescriptor,
        interest: Interest,
        callback: impl FnMut(&Watch, Readiness) + 'static,
    ) -> Result<Watch, Error> {
        self.start_watch(descriptor, interest, Box::new(callback), |port, token| {
            port.watch(descriptor, interest, token)
        })
    }

    /// Windows. Watches a waitable object that belongs to someone else: an event, a process, a timer or
    /// whatever else `WaitForSingleObject` takes; in any number. Not mutexes: these are owned by threads.
    ///
    /// `callback` is called each time that the object is signalled. It is waited for again after each
    /// call: one that stays signalled has it called in each turn, and an event that resets itself is
    /// consumed once for each call.
    ///
    /// It is watched until [`Watch::stop`], or until the reactor stops; if the callback panics, it is
    /// stopped. The handle may be closed right after; a signal that came before may have been consumed.
    ///
    /// # Errors
    ///
    /// [`Error::Watch`], with the OS's reason, if there is no such handle or it cannot be waited for; with
    /// [`Unsupported`](io::ErrorKind::Unsupported) on other systems and in a simulation.
    /// [`Error::Stopped`].
    pub fn watch_handle(
        &self,
        handle: RawDescriptor,
        mut callback: impl FnMut(&Watch) + 'static,
    ) -> Result<Watch, Error> {
        let on_ready = Box::new(move |watch: &Watch, _| callback(watch));
        self.start_watch(handle, Interest::READABLE, on_ready, |port, token| {
            port.watch_handle(handle, token)
        })
    }

    fn start_watch(
        &self,
        descriptor: RawDescriptor,
        interest: Interest,
        callback: OnReady,
        submit: impl FnOnce(&mut Port, Token) -> io::Result<Operation>,
    ) -> Result<Watch, Error> {
        let watched = Rc::new(Watched {
            reactor: self.clone(),
            descriptor,
            token: Cell::new(Token::default()),
            operation: Cell::new(None),
            interest: Cell::new(interest),
            callback: RefCell::new(callback),
        });
        let token = self.register(Rc::clone(&watched) as Rc<dyn Live>)?;
        watched.token.set(token);
        let submitted = submit(&mut self.port_mut(), token);
        match submitted {
            Ok(operation) => watched.operation.set(Some(operation)),
            Err(source) => {
                self.unregister(token);
                return Err(Error::Watch { descriptor, source });
            }
        }
        Ok(Watch { watched })
    }
}

impl Watch {
    /// Changes what is reported, at once: there is no further call for what `interest` does not include.
    ///
    /// # Errors
    ///
    /// [`NotFound`](io::ErrorKind::NotFound) when it was stopped; what the OS says if the descriptor was
    /// closed; [`Unsupported`](io::ErrorKind::Unsupported) for a handle of Windows.
    pub fn set_interest(&self, interest: Interest) -> io::Result<()> {
        let watched = &*self.watched;
        let Some(operation) = watched.operation.get() else {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("descriptor {} is no longer watched", watched.descriptor),
            ));
        };
        if watched.interest.get() != interest {
            let mut port = watched.reactor.port_mut();
            port.set_interest(operation, interest)?;
            watched.interest.set(interest);
        }
        Ok(())
    }

    /// What is reported.
    #[must_use]
    pub fn interest(&self) -> Interest {
        self.watched.interest.get()
    }

    /// Stops watching, at once: there is no further call, and the OS holds nothing of the descriptor any
    /// more. Does nothing the second time.
    pub fn stop(&self) {
        self.watched.end();
    }

    /// Whether it was stopped, by whomever.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.watched.operation.get().is_none()
    }

    /// What is watched.
    #[must_use]
    pub fn descriptor(&self) -> RawDescriptor {
        self.watched.descriptor
    }

    /// Where it is watched.
    #[must_use]
    pub fn reactor(&self) -> &Reactor {
        &self.watched.reactor
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch")
            .field("descriptor", &self.descriptor())
            .field("interest", &self.interest())
            .field("stopped", &self.is_stopped())
            .finish_non_exhaustive()
    }
}

impl Watched {
    fn end(&self) {
        if let Some(operation) = self.operation.take() {
            self.reactor.port_mut().cancel(operation);
        }
    }

    fn ready(self: &Rc<Self>, readiness: Readiness) {
        // Other callbacks may have stopped it, or changed the interest, since the port reported this.
        let readiness = readiness.only(self.interest.get());
        if self.operation.get().is_none() || readiness.is_none() {
            return;
        }
        let watch = Watch {
            watched: Rc::clone(self),
        };
        let called = self.reactor.guard("the callback of a watch", || {
            (self.callback.borrow_mut())(&watch, readiness);
        });
        if called.is_none() {
            self.end();
        }
    }

    /// Lets go of what the callback owns, even if somebody keeps the watch.
    fn drop_callback(&self) {
        let callback = self.callback.replace(Box::new(|_, _| {}));
        self.reactor
            .guard("dropping the callback of a watch", || drop(callback));
    }
}

impl Live for Watched {
    fn completed(self: Rc<Self>, completion: Completion) {
        match completion.result {
            Ok(Outcome::Ready(readiness)) => self.ready(readiness),
            Err(Failure::Cancelled) => {}
            other => log::error!("a watch was answered with {other:?}"),
        }
        if !completion.more {
            self.operation.set(None);
            self.reactor.unregister(self.token.get());
            self.drop_callback();
        }
    }

    fn stop(self: Rc<Self>) {
        self.end();
    }

    fn abandon(&self) -> bool {
        self.operation.set(None);
        self.drop_callback();
        false
    }
}
