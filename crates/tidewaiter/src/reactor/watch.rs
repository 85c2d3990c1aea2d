//! Watches of descriptors and handles that other code owns.

use std::cell::Cell;
use std::fmt;
use std::io;
use std::rc::Rc;

use super::watched::Watched;
use super::{Live, Reactor};
use crate::error::Error;
use crate::port::{
    Completion, Failure, Interest, Operation, Outcome, Port, RawDescriptor, Readiness, Token,
};

type OnReady = dyn FnMut(&Watch, Readiness);

/// The watch of a descriptor or handle that other code owns: see [`Reactor::watch`] and
/// [`Reactor::watch_handle`].
///
/// Clones refer to the same watch. The reactor owns it: dropping them does not stop it.
///
/// ```
/// use tidewaiter::port::{Interest, RawDescriptor};
/// use tidewaiter::{Error, Reactor, Watch};
///
/// /// Calls a library, which reads its socket itself, until it has had enough.
/// fn feed(
///     reactor: &Reactor,
///     socket: RawDescriptor,
///     mut read: impl FnMut() -> bool + 'static,
/// ) -> Result<Watch, Error> {
///     reactor.watch(socket, Interest::READABLE, move |watch, _ready| {
///         if !read() {
///             watch.stop();
///         }
///     })
/// }
/// ```
#[derive(Clone)]
pub struct Watch {
    watched: Rc<WatchedDescriptor>,
}

struct WatchedDescriptor {
    watched: Watched<OnReady>,
    descriptor: RawDescriptor,
    interest: Cell<Interest>,
}

impl Reactor {
    /// Watches a descriptor that other code owns, for libraries that read and write by themselves: on Unix anything
    /// that can be polled, on Windows any socket. The reactor never reads, writes or closes it, nor changes whether it
    /// blocks.
    ///
    /// `callback` is called in each turn of the loop as long as the descriptor is ready in a way that `interest`
    /// includes. A hang-up and an error are always reported; with kqueue, a hang-up is reported only while
    /// `interest` includes writing; on Windows, a hang-up is a connection that was reset or not made. A regular file
    /// is always ready: while there is interest in it, the loop does not wait.
    ///
    /// One watch serves both directions: [`Watch::set_interest`] adds and removes them.
    ///
    /// The watch lasts until [`Watch::stop`], until the callback panics, or until the reactor stops. Stop it
    /// *before* the descriptor is closed; the descriptor may be closed right after. If a socket of Windows is closed
    /// while it is watched, the last call tells [`Readiness::closed`], and the watch has ended then.
    ///
    /// # Errors
    ///
    /// [`Error::Watch`] with the OS's reason if the descriptor is not open or cannot be polled, with
    /// [`AlreadyExists`](io::ErrorKind::AlreadyExists) when this reactor watches it already, and with
    /// [`Unsupported`](io::ErrorKind::Unsupported) in a simulation. [`Error::Stopped`].
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

    /// Windows. Watches a waitable object that other code owns: any object that `WaitForSingleObject` takes,
    /// such as events, processes and timers, in any number; but not mutexes, which threads own.
    ///
    /// `callback` is called each time that the object is signalled. After each call, the reactor begins to wait
    /// for the object again: for an object that stays signalled it is called in each turn, and an auto-reset
    /// event is consumed once for each call.
    ///
    /// The watch lasts until [`Watch::stop`], until the callback panics, or until the reactor stops. The handle
    /// may be closed right after `stop`; a signal that came before may have been consumed.
    ///
    /// # Errors
    ///
    /// [`Error::Watch`] with the OS's reason if there is no such handle or it cannot be waited for, and with
    /// [`Unsupported`](io::ErrorKind::Unsupported) on other systems and in a simulation. [`Error::Stopped`].
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
        callback: Box<OnReady>,
        submit: impl FnOnce(&mut Port, Token) -> io::Result<Operation>,
    ) -> Result<Watch, Error> {
        let watched = Rc::new(WatchedDescriptor {
            watched: Watched::new(self, callback),
            descriptor,
            interest: Cell::new(interest),
        });
        let live = Rc::clone(&watched) as Rc<dyn Live>;
        let begun = watched.watched.begin(live, submit)?;
        begun.map_err(|source| Error::Watch { descriptor, source })?;
        Ok(Watch { watched })
    }
}

impl Watch {
    /// Changes what is reported, at once: no further call is made for anything that `interest` does not include.
    ///
    /// # Errors
    ///
    /// [`NotFound`](io::ErrorKind::NotFound) when the watch was stopped; the OS's error if the descriptor was
    /// closed; [`Unsupported`](io::ErrorKind::Unsupported) for a handle of Windows.
    pub fn set_interest(&self, interest: Interest) -> io::Result<()> {
        let watched = &*self.watched;
        let Some(operation) = watched.watched.operation() else {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("descriptor {} is no longer watched", watched.descriptor),
            ));
        };
        if watched.interest.get() != interest {
            let mut port = watched.watched.reactor.port_mut();
            port.set_interest(operation, interest)?;
            watched.interest.set(interest);
        }
        Ok(())
    }

    /// Which kinds of readiness are reported.
    #[must_use]
    pub fn interest(&self) -> Interest {
        self.watched.interest.get()
    }

    /// Stops the watch at once: no further call is made, and the OS no longer watches the descriptor. Does nothing
    /// if the watch was stopped already.
    pub fn stop(&self) {
        self.watched.watched.end();
    }

    /// Whether the watch has ended: by [`stop`](Watch::stop), a panic in its callback, the reactor, or because a socket
    /// of Windows was closed.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.watched.watched.is_ended()
    }

    /// The number of the descriptor or handle that is watched.
    #[must_use]
    pub fn descriptor(&self) -> RawDescriptor {
        self.watched.descriptor
    }

    /// The reactor that this watch lives on.
    #[must_use]
    pub fn reactor(&self) -> &Reactor {
        &self.watched.watched.reactor
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

impl WatchedDescriptor {
    fn ready(self: &Rc<Self>, readiness: Readiness) {
        // Another callback may have changed the interest since the port reported this.
        let readiness = readiness.only(self.interest.get());
        if readiness.is_none() {
            return;
        }
        let watch = Watch {
            watched: Rc::clone(self),
        };
        self.watched.call(|callback| callback(&watch, readiness));
    }
}

impl Live for WatchedDescriptor {
    fn completed(self: Rc<Self>, completion: Completion) {
        // Another callback may have stopped the watch since the port reported this.
        let is_stopped = self.watched.is_ended();
        if !completion.more {
            self.watched.note_ended();
            self.watched.unregister();
        }
        match completion.result {
            _ if is_stopped => {}
            Ok(Outcome::Ready(readiness)) => self.ready(readiness),
            Err(Failure::Os { call, source }) => {
                let descriptor = self.descriptor;
                log::warn!("the watch of descriptor {descriptor} has ended: {call}: {source}");
                let error = Readiness {
                    error: true,
                    ..Readiness::default()
                };
                self.ready(error);
            }
            other => log::error!("unexpected completion of a watch: {other:?}"),
        }
        if !completion.more {
            self.watched.drop_callback();
        }
    }

    fn stop(self: Rc<Self>) {
        self.watched.end();
    }

    fn abandon(&self) -> Option<String> {
        self.watched.abandon();
        None
    }
}
