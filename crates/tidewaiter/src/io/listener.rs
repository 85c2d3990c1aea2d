//! A listener whose connections are awaited.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::shared::Inlet;
use super::stream::Stream;
use super::waiting::Waiting;
use crate::error::Error;
use crate::os::Address;
use crate::port::ListenOptions;
use crate::reactor::Reactor;
use crate::transport::{self, Factory, Protocol};

/// How many connections wait for [`Listener::accept`]; the others wait in the backlog of the OS.
const WAITING_MAX: usize = 64;

/// Listens for connections, over TCP, UNIX sockets or named pipes: those that [`Reactor::listen`] listens to.
///
/// Dropping it closes the listening socket, and the connections that were not taken.
pub struct Listener {
    listener: transport::Listener,
    accepted: Rc<Accepted>,
}

impl Listener {
    /// Begins to listen, as [`Reactor::listen`] does.
    ///
    /// # Errors
    ///
    /// As [`Reactor::listen`].
    pub fn bind(reactor: &Reactor, options: impl Into<ListenOptions>) -> Result<Listener, Error> {
        Listener::bind_by(|factory| reactor.listen(options, factory))
    }

    pub(super) fn bind_by(
        listen: impl FnOnce(Accepting) -> Result<transport::Listener, Error>,
    ) -> Result<Listener, Error> {
        let accepted = Rc::new(Accepted::default());
        let listener = listen(Accepting(Rc::clone(&accepted)))?;
        accepted.pausing.replace(Some(listener.clone()));
        Ok(Listener { listener, accepted })
    }

    /// Waits for the next connection. Dropping the future loses none.
    ///
    /// While descriptors or memory have run out, this waits: the reactor goes on trying, and logs a warning.
    ///
    /// # Errors
    ///
    /// [`ConnectionAborted`](io::ErrorKind::ConnectionAborted) once the listener is closed: because the reactor stops.
    pub async fn accept(&mut self) -> io::Result<(Stream, Address)> {
        poll_fn(|context| self.poll_accept(context)).await
    }

    fn poll_accept(&self, context: &Context<'_>) -> Poll<io::Result<(Stream, Address)>> {
        let accepted = &self.accepted;
        let next = accepted.streams.borrow_mut().pop_front();
        if let Some(next) = next {
            if accepted.paused.replace(false) {
                self.listener.resume_accepting();
            }
            return Poll::Ready(Ok(next));
        }
        if accepted.closed.get() {
            let message = "the listener is closed";
            let closed = io::Error::new(io::ErrorKind::ConnectionAborted, message);
            return Poll::Ready(Err(closed));
        }
        accepted.waiting.wait(context)
    }

    /// The address at which it listens.
    #[must_use]
    pub fn local_addr(&self) -> Address {
        self.listener.local_addr()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.listener.stop_listening();
        // The listener holds what it accepted, which holds the listener.
        drop(self.accepted.pausing.take());
        drop(self.accepted.streams.take());
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Listener").field(&self.listener).finish()
    }
}

/// The connections that were accepted and not taken.
#[derive(Default)]
struct Accepted {
    streams: RefCell<VecDeque<(Stream, Address)>>,
    /// The listener, to be paused while many wait.
    pausing: RefCell<Option<transport::Listener>>,
    paused: Cell<bool>,
    closed: Cell<bool>,
    waiting: Waiting,
}

impl Accepted {
    fn add(&self, stream: Stream, peer: Address) {
        let waiting = {
            let mut streams = self.streams.borrow_mut();
            streams.push_back((stream, peer));
            streams.len()
        };
        if waiting >= WAITING_MAX
            && let Some(listener) = &*self.pausing.borrow()
            && !self.paused.replace(true)
        {
            listener.pause_accepting();
        }
        self.waiting.wake();
    }
}

/// The factory of a listener.
pub(super) struct Accepting(Rc<Accepted>);

impl Factory for Accepting {
    fn build_protocol(&mut self, peer: Address) -> Option<Box<dyn Protocol>> {
        let accepted = Rc::clone(&self.0);
        Some(Box::new(Inlet::new(move |transport, shared| {
            accepted.add(Stream::new(transport, shared), peer);
        })))
    }

    fn listener_closed(&mut self, _: &transport::Listener) {
        self.0.closed.set(true);
        self.0.waiting.wake();
    }
}

impl Drop for Accepting {
    /// Ends the listener of a reactor that is dropped before it has stopped.
    fn drop(&mut self) {
        self.0.closed.set(true);
        self.0.waiting.wake();
    }
}
