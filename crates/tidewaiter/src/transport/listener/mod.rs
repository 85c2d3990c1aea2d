//! Accepts connections: keeps an accept operation under way on each listening socket.

mod opening;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use super::Factory;
use super::stream::{Link, Stream};
use crate::error::Error;
use crate::os::Address;
use crate::port::{
    CloseMode, Completion, Failure, Handle, Operation, Outcome, RawDescriptor, Request, Socket,
    SocketOption, Token,
};
use crate::reactor::{DelayedCall, Live, LiveKind, Reactor};

/// After accepting failed, the listener waits this long before it tries again...
const RETRY_FIRST: Duration = Duration::from_millis(50);
/// ...and twice as long after each further failure, up to this.
const RETRY_LAST: Duration = Duration::from_secs(1);

/// Where accepted connections go.
pub(crate) enum Destination {
    /// To this reactor; the factory makes a protocol for each.
    Factory(Box<dyn Factory>),
    /// To a function that gets the bare socket and may pass it on, for instance to another reactor.
    HandOver(Box<dyn FnMut(Socket, Address)>),
}

pub(super) struct Inner {
    reactor: Reactor,
    handle: Handle,
    address: Address,
    token: Cell<Token>,
    destination: RefCell<Destination>,
    one_at_a_time: bool,
    /// The options that the OS does not pass on to connections.
    connection_options: Vec<SocketOption>,
    accepting: Cell<Option<Operation>>,
    paused: Cell<bool>,
    closing: Cell<bool>,
    /// The last failure's retry, until accepting succeeds.
    retry: RefCell<Option<Retry>>,
}

/// A delayed attempt to accept again after a failure. A listener has at most one, and nothing brings it forward.
struct Retry {
    /// The delay between the failure and the attempt.
    wait: Duration,
    call: DelayedCall,
}

/// A listening socket on a reactor. Dropping this does not close it; clones refer to the same listener.
#[derive(Clone)]
pub struct Listener {
    inner: Rc<Inner>,
}

impl Listener {
    /// The address that the socket listens on. If the options named port 0, it has the port that the OS chose.
    #[must_use]
    pub fn local_addr(&self) -> Address {
        self.inner.address.clone()
    }

    /// The reactor that this listener lives on.
    #[must_use]
    pub fn reactor(&self) -> &Reactor {
        &self.inner.reactor
    }

    /// The OS's number of the listening socket, which stays the reactor's; `None` for a simulated one,
    /// and once the listener is being closed. See
    /// [`Transport::raw_descriptor`](super::Transport::raw_descriptor).
    #[must_use]
    pub fn raw_descriptor(&self) -> Option<RawDescriptor> {
        if !self.inner.is_open() {
            return None;
        }
        let port = self.inner.reactor.port();
        port.raw_descriptor(self.inner.handle).ok()
    }

    /// The token that finds this listener on its reactor.
    pub(super) fn token(&self) -> Token {
        self.inner.token.get()
    }

    /// Stops listening. The OS resets connections that wait in the backlog; accepted connections live on.
    ///
    /// The loop closes the socket, and calls [`Factory::listener_closed`] right after that: nothing else gets
    /// the number or the address of the socket before. Does nothing the second time.
    pub fn stop_listening(&self) {
        self.inner.close();
    }

    /// Accepts no more connections for now: they wait in the backlog. Connections that the port had accepted
    /// already may still come, on Windows up to 32; none with
    /// [`ListenOptions::one_at_a_time`](crate::port::ListenOptions::one_at_a_time).
    pub fn pause_accepting(&self) {
        self.inner.paused.set(true);
        if let Some(operation) = self.inner.accepting.get()
            && self.inner.is_open()
        {
            self.inner.reactor.port_mut().cancel(operation);
        }
    }

    /// Accepts again. If accepting has failed, this does not shorten the pause that follows a failure.
    pub fn resume_accepting(&self) {
        self.inner.paused.set(false);
        self.inner.accept_more();
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Listener({})", self.inner.address)
    }
}

impl Inner {
    fn is_open(&self) -> bool {
        !self.closing.get()
    }

    fn accept_more(&self) {
        if self.paused.get() || !self.is_open() || self.accepting.get().is_some() {
            return;
        }
        if self.retry.borrow().as_ref().is_some_and(Retry::is_pending) {
            return;
        }
        let request = if self.one_at_a_time {
            Request::AcceptOne
        } else {
            Request::Accept
        };
        let mut port = self.reactor.port_mut();
        let submitted = port.submit(self.handle, request, self.token.get());
        match submitted {
            Ok(operation) => self.accepting.set(Some(operation)),
            Err(error) => log::error!("{}: accept: {error}", self.address),
        }
    }

    /// Takes the destination out, so that the factory can be dropped while the program still holds a [`Listener`].
    fn take_destination(&self) -> Destination {
        let nothing = Destination::HandOver(Box::new(|_, _| ()));
        self.destination.replace(nothing)
    }

    /// Calls the factory, if there is one.
    fn tell(self: &Rc<Self>, call: impl FnOnce(&mut dyn Factory, &Listener)) {
        let listener = Listener {
            inner: Rc::clone(self),
        };
        self.reactor.guard("a factory", || {
            if let Destination::Factory(factory) = &mut *self.destination.borrow_mut() {
                call(&mut **factory, &listener);
            }
        });
    }

    /// Stops accepting. The loop closes the socket once no operation is under way on it.
    pub(super) fn close(self: &Rc<Self>) {
        if self.closing.replace(true) {
            return;
        }
        self.end_retries();
        match self.accepting.get() {
            Some(operation) => {
                self.reactor.port_mut().cancel(operation);
            }
            None => {
                let inner = Rc::clone(self);
                self.reactor.soon(move |_| inner.release());
            }
        }
    }

    /// Closes the socket, and tells the factory before the OS can reuse the socket's number or address.
    ///
    /// No operation is under way on the handle, so the port closes it within the call.
    fn release(self: &Rc<Self>) {
        let closing =
            self.reactor
                .port_mut()
                .close(self.handle, CloseMode::Graceful, self.token.get());
        debug_assert!(
            closing.is_ok() || self.reactor.is_copied(),
            "a listener closes its own handle, once"
        );
        log::debug!("{}: no longer listening", self.address);
        self.tell(|factory, listener| factory.listener_closed(listener));
        let destination = self.take_destination();
        self.reactor
            .drop_guarded("the drop of a factory", destination);
    }

    fn accepted(&self, socket: Socket, peer: Address) {
        if !self.is_open() {
            // The port accepted it while the listener was being closed. Drop it, as the OS drops the backlog.
            return;
        }
        if self.end_retries() {
            log::info!("{}: accepting connections again", self.address);
        }
        self.reactor.counters().accepted.add(1);
        let protocol =
            self.reactor
                .guard("a factory", || match &mut *self.destination.borrow_mut() {
                    Destination::HandOver(take) => {
                        for option in &self.connection_options {
                            if let Err(error) = socket.set_option(option.clone()) {
                                log::debug!("{peer}: {error}");
                            }
                        }
                        take(socket, peer);
                        None
                    }
                    Destination::Factory(factory) => {
                        let protocol = factory.build_protocol(peer.clone())?;
                        Some((socket, peer, protocol))
                    }
                });
        let Some(Some((socket, peer, protocol))) = protocol else {
            return;
        };
        let options = &self.connection_options;
        if let Err(error) = begin_connection(&self.reactor, socket, peer, protocol, options) {
            log::error!("{}: {error}", self.address);
        }
    }

    /// Cancels the retry, because accepting works again or the listener closes. Returns whether there was one.
    fn end_retries(&self) -> bool {
        let retry = self.retry.take();
        if let Some(retry) = &retry {
            retry.call.cancel();
        }
        retry.is_some()
    }

    /// Schedules a retry after accepting failed, most likely because descriptors or memory have run out.
    fn failed(self: &Rc<Self>, call: &str, error: &io::Error) {
        if !self.is_open() {
            return;
        }
        let wait = match self.retry.take() {
            None => {
                log::warn!(
                    "{}: {call}: {error}: accepting pauses, connections wait in the backlog",
                    self.address
                );
                RETRY_FIRST
            }
            Some(retry) => (retry.wait * 2).min(RETRY_LAST),
        };
        let inner = Rc::clone(self);
        let call = self.reactor.call_later(wait, move |_| inner.accept_more());
        self.retry.replace(Some(Retry { wait, call }));
        self.tell(|factory, listener| factory.accept_failed(listener, error));
    }
}

impl Retry {
    fn is_pending(&self) -> bool {
        self.call.is_active()
    }
}

/// Puts an accepted socket on the reactor. To be called from the loop.
pub(super) fn begin_connection(
    reactor: &Reactor,
    socket: Socket,
    peer: Address,
    protocol: Box<dyn super::Protocol>,
    options: &[SocketOption],
) -> Result<(), Error> {
    let packets = socket.keeps_packets();
    let adopted = reactor.port_mut().adopt(socket);
    let handle = match adopted {
        Ok(handle) => handle,
        Err(source) => {
            reactor.drop_guarded("the drop of a protocol", protocol);
            let peer = Some(peer);
            return Err(Error::Adopt { peer, source });
        }
    };
    for option in options {
        if let Err(error) = reactor.port_mut().set_option(handle, option.clone()) {
            log::debug!("{peer}: {error}");
        }
    }
    let link = Link::to(peer, packets);
    // An error means that the reactor is stopping; the handle is then being closed.
    let _ = Stream::start(reactor, handle, link, protocol);
    Ok(())
}

impl Live for Inner {
    fn kind(&self) -> LiveKind {
        LiveKind::Listener
    }

    fn completed(self: Rc<Self>, completion: Completion) {
        let was_open = self.is_open();
        if !completion.more {
            self.accepting.set(None);
        }
        match completion.result {
            Ok(Outcome::Accepted { socket, peer }) => self.accepted(socket, peer),
            Ok(Outcome::Closed) => return self.reactor.unregister(self.token.get()),
            Ok(outcome) => log::error!("unexpected outcome for a listener: {outcome:?}"),
            Err(Failure::Cancelled) => {}
            Err(Failure::Os { call, source }) => self.failed(call, &source),
        }
        if was_open {
            // Accepting was resumed before its cancellation completed, or the operation accepts one connection only.
            self.accept_more();
        } else if self.accepting.get().is_none() {
            self.release();
        }
    }

    fn stop(self: Rc<Self>) {
        self.close();
    }

    fn abandon(&self) -> Option<String> {
        self.closing.set(true);
        self.reactor
            .drop_guarded("the drop of a factory", self.take_destination());
        None
    }
}
