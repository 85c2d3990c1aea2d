//! Makes connections: resolves a name, races its addresses, and keeps the first that answers.

mod opening;
mod options;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::stream::{Link, Stream};
use super::{Factory, close_unawaited};
use crate::endpoint::{self, AddressKind, AttemptId, Endpoint, HostPort, Race, Step, Target};
use crate::error::ConnectError;
use crate::os::Address;
use crate::port::{
    CloseMode, Completion, Failure, Handle, Operation, Outcome, RawDescriptor, Request,
    RequestKind, Socket, Token,
};
use crate::reactor::{DelayedCall, Live, Lookup, Reactor, WorkLost};
pub use options::ConnectOptions;

/// The pause before another attempt to connect to a UNIX socket whose backlog is full.
const RETRY: Duration = Duration::from_millis(10);

type OnFailure = Box<dyn FnOnce(&Reactor, ConnectError)>;

/// A connection attempt to one address.
struct Attempt {
    id: AttemptId,
    address: Address,
    handle: Handle,
    operation: Operation,
    /// The attempt is given up; only its close is still under way.
    closing: bool,
}

struct Inner {
    reactor: Reactor,
    options: ConnectOptions,
    /// The addresses to connect from, of which each family has the first; none if the OS chooses.
    local: RefCell<Vec<Address>>,
    /// The addresses that are wanted; others are refused.
    kind: AddressKind,
    /// The socket to connect, if the program made it.
    socket: RefCell<Option<Socket>>,
    token: Cell<Token>,
    factory: RefCell<Option<Box<dyn Factory>>>,
    /// Hears of a failure in the factory's place.
    on_failure: RefCell<Option<OnFailure>>,
    lookup: Cell<Option<Lookup>>,
    race: RefCell<Option<Race>>,
    attempts: RefCell<Vec<Attempt>>,
    next_attempt: RefCell<Option<DelayedCall>>,
    limit: RefCell<Option<DelayedCall>>,
    /// Whether the outcome is known: connected, failed or cancelled.
    settled: Cell<bool>,
    unregistered: Cell<bool>,
}

/// A connection that is being made. Dropping this does not cancel it; clones refer to the same connection.
#[derive(Clone)]
pub struct Connector {
    inner: Rc<Inner>,
}

impl Connector {
    /// Gives up: [`Factory::connection_failed`] is called from the loop with [`ConnectError::Cancelled`]. Does
    /// nothing once the connection is made or has failed.
    pub fn cancel(&self) {
        let inner = Rc::clone(&self.inner);
        self.inner
            .reactor
            .soon(move |_| inner.fail(ConnectError::Cancelled));
    }

    /// Calls `callback` from the loop if the connection is not made, in the place of [`Factory::connection_failed`]. A later
    /// call replaces an earlier one. Does nothing once the outcome is known.
    ///
    /// ```
    /// use tidewaiter::{Protocol, Reactor, Transport};
    ///
    /// struct Client;
    ///
    /// impl Protocol for Client {
    ///     fn data_received(&mut self, _: &Transport, _: &[u8]) {}
    /// }
    ///
    /// # let closed = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    /// let reactor = Reactor::new()?;
    /// reactor.connect_tcp(closed, |_peer| Client).on_failure(|reactor, error| {
    ///     println!("no connection: {error}");
    ///     reactor.stop();
    /// });
    /// reactor.run()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn on_failure(self, callback: impl FnOnce(&Reactor, ConnectError) + 'static) -> Connector {
        if self.is_connecting() {
            let replaced = self.inner.on_failure.replace(Some(Box::new(callback)));
            drop(replaced);
        }
        self
    }

    /// The OS's number of the socket that is being connected: see
    /// [`Transport::raw_descriptor`](super::Transport::raw_descriptor). `None` before the loop has begun to
    /// connect, while several addresses are being tried, and once the connection is made or has failed.
    #[must_use]
    pub fn raw_descriptor(&self) -> Option<RawDescriptor> {
        let inner = &*self.inner;
        match &inner.attempts.borrow()[..] {
            [attempt] if !attempt.closing => {
                inner.reactor.port().raw_descriptor(attempt.handle).ok()
            }
            _ => None,
        }
    }

    /// Whether the connection is neither made nor failed yet.
    #[must_use]
    pub fn is_connecting(&self) -> bool {
        !self.inner.settled.get() && !self.inner.unregistered.get()
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connector({})", self.inner.options.endpoint)
    }
}

impl Inner {
    fn begin(self: &Rc<Self>) {
        if let Some(after) = self.options.timeout {
            let inner = Rc::clone(self);
            let limit = self.reactor.call_later(after, move |_| {
                let message = format!("no answer within {after:?}");
                let source = io::Error::new(io::ErrorKind::TimedOut, message);
                inner.fail(ConnectError::TimedOut { source });
            });
            self.limit.replace(Some(limit));
        }
        match &self.options.local {
            None => self.find_peer(),
            Some(local) => self.find(local, |inner, addresses| {
                inner.local.replace(addresses);
                inner.find_peer();
            }),
        }
    }

    fn find_peer(self: &Rc<Self>) {
        self.find(&self.options.endpoint, |inner, addresses| {
            let inner = Rc::clone(inner);
            let reactor = inner.reactor.clone();
            reactor.soon(move |_| inner.start_race(addresses));
        });
    }

    /// Calls `found` with the addresses of an endpoint: now, or later if a name has to be looked up.
    fn find(
        self: &Rc<Self>,
        endpoint: &Endpoint,
        found: impl FnOnce(&Rc<Inner>, Vec<Address>) + 'static,
    ) {
        match endpoint.read(self.kind) {
            Ok(Target::Address(address)) => found(self, vec![address]),
            Ok(Target::Host(host)) => self.look_up(host, found),
            Err(source) => {
                let inner = Rc::clone(self);
                self.reactor
                    .soon(move |_| inner.fail(ConnectError::Endpoint(source)));
            }
        }
    }

    /// Looks the name up on another thread.
    fn look_up(
        self: &Rc<Self>,
        target: HostPort,
        found: impl FnOnce(&Rc<Inner>, Vec<Address>) + 'static,
    ) {
        let resolver = self.reactor.resolver();
        let (inner, host) = (Rc::clone(self), target.host.clone());
        let refused = host.clone();
        let lookup = self.reactor.look_up(
            move || match resolver {
                Some(resolver) => endpoint::look_up(&target, &*resolver),
                None => endpoint::look_up(&target, endpoint::ask_os),
            },
            move |_, resolved| match inner.resolved(resolved, host) {
                Ok(addresses) if !inner.settled.get() => found(&inner, addresses),
                Ok(_) => {}
                Err(error) => inner.fail(error),
            },
        );
        match lookup {
            Ok(lookup) => self.lookup.set(Some(lookup)),
            Err(source) => {
                let (inner, host) = (Rc::clone(self), refused);
                let error = ConnectError::Resolve { host, source };
                self.reactor.soon(move |_| inner.fail(error));
            }
        }
    }

    fn resolved(
        &self,
        resolved: Result<io::Result<Vec<SocketAddr>>, WorkLost>,
        host: String,
    ) -> Result<Vec<Address>, ConnectError> {
        self.lookup.set(None);
        match resolved {
            Ok(Ok(addresses)) => Ok(addresses.into_iter().map(Address::from).collect()),
            Ok(Err(source)) => Err(ConnectError::Resolve { host, source }),
            Err(WorkLost::Stopped) => Err(ConnectError::Stopped),
            Err(lost) => {
                let source = io::Error::other(lost);
                Err(ConnectError::Resolve { host, source })
            }
        }
    }

    fn no_address(self: &Rc<Self>, source: io::Error) {
        let host = match self.options.endpoint.read(self.kind) {
            Ok(Target::Host(target)) => target.host,
            _ => self.options.endpoint.to_string(),
        };
        self.fail(ConnectError::Resolve { host, source });
    }

    fn start_race(self: &Rc<Self>, mut addresses: Vec<Address>) {
        if self.settled.get() {
            return;
        }
        // The program's socket connects once.
        if let Some(socket) = &*self.socket.borrow() {
            let fits = |address: &Address| socket.is_of_family_of(address);
            let first = addresses.iter().position(fits).unwrap_or(0);
            addresses = vec![addresses.swap_remove(first)];
        }
        if self.options.local.is_some() {
            addresses.retain(|address| self.local_for(address).is_some());
        }
        if addresses.is_empty() {
            let message = "no address of the local address's family";
            let source = io::Error::new(io::ErrorKind::AddrNotAvailable, message);
            self.no_address(source);
            return;
        }
        self.race
            .replace(Some(Race::new(&addresses, self.options.attempt_delay)));
        self.advance();
    }

    /// Takes the race's next steps.
    fn advance(self: &Rc<Self>) {
        while !self.settled.get() {
            let now = self.reactor.now();
            let step = match self.race.borrow_mut().as_mut() {
                Some(race) => race.next(now),
                None => return,
            };
            match step {
                Step::Connect(address, id) => self.attempt(address, id),
                Step::WaitUntil(when) => return self.wait_until(when, now),
                Step::Wait => return,
                Step::Failed => return self.lost_race(),
            }
        }
    }

    fn lost_race(self: &Rc<Self>) {
        let race = self.race.take();
        if let Some((address, error)) = race.and_then(Race::into_failure) {
            self.fail(Self::explain(address, error));
        }
    }

    fn wait_until(self: &Rc<Self>, when: Instant, now: Instant) {
        let inner = Rc::clone(self);
        let delay = when.saturating_duration_since(now);
        let call = self.reactor.call_later(delay, move |_| inner.advance());
        if let Some(earlier) = self.next_attempt.replace(Some(call)) {
            earlier.cancel();
        }
    }

    fn attempt(&self, address: Address, id: AttemptId) {
        let checked = self.kind.check(&address);
        let opened = checked.and_then(|()| match self.socket.take() {
            Some(socket) => self.reactor.port_mut().adopt(socket),
            None => self.open(&address),
        });
        let started = opened.and_then(|handle| {
            self.set_options(handle)
                .inspect_err(|_| close_unawaited(&self.reactor, handle))?;
            let request = Request::connect(address.clone());
            let submitted = self
                .reactor
                .port_mut()
                .submit(handle, request, self.token.get());
            let operation = submitted.inspect_err(|_| close_unawaited(&self.reactor, handle))?;
            Ok(Attempt {
                id,
                address,
                handle,
                operation,
                closing: false,
            })
        });
        match started {
            Ok(attempt) => self.attempts.borrow_mut().push(attempt),
            Err(error) => self.attempt_failed(id, error),
        }
    }

    fn set_options(&self, handle: Handle) -> io::Result<()> {
        let mut port = self.reactor.port_mut();
        let mut options = self.options.socket_options.iter().cloned();
        options.try_for_each(|option| port.set_option(handle, option))
    }

    fn open(&self, address: &Address) -> io::Result<Handle> {
        let (mut port, local) = (self.reactor.port_mut(), self.local_for(address));
        match (address, local.as_ref()) {
            (_, local) if self.options.packets => port.open_packets(address, local),
            (Address::Pipe(name), None) => port.open_pipe(name, &self.options.pipe),
            (_, local) => port.open_stream(address, local),
        }
    }

    /// The address from which a socket connects to `peer`; `None` if the OS chooses, or if none fits.
    fn local_for(&self, peer: &Address) -> Option<Address> {
        let local = self.local.borrow();
        local.iter().find(|own| peer.is_of_family_of(own)).cloned()
    }

    fn attempt_failed(&self, id: AttemptId, error: io::Error) {
        let now = self.reactor.now();
        if let Some(race) = self.race.borrow_mut().as_mut() {
            race.failed(id, error, now);
        }
    }

    fn explain(address: Address, source: io::Error) -> ConnectError {
        match source.kind() {
            io::ErrorKind::ConnectionRefused => ConnectError::Refused { address, source },
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
                ConnectError::Unreachable { address, source }
            }
            io::ErrorKind::TimedOut => ConnectError::TimedOut { source },
            _ => ConnectError::Os { address, source },
        }
    }

    fn connected(self: &Rc<Self>, handle: Handle, peer: Address) {
        self.settle();
        // Close the losing attempts.
        self.attempts
            .borrow_mut()
            .retain(|attempt| attempt.handle != handle);
        self.close_attempts();
        self.leave_when_done();
        self.reactor.counters().connected.add(1);
        let Some(mut factory) = self.factory.take() else {
            return;
        };
        let protocol = self
            .reactor
            .guard("a factory", || factory.build_protocol(peer.clone()));
        match protocol {
            Some(Some(protocol)) => {
                let packets = self.options.keep_packets(&peer);
                let link = Link::to(peer, packets);
                // An error means that the reactor is stopping; the handle is then being closed.
                let _ = Stream::start(&self.reactor, handle, link, protocol);
            }
            Some(None) => {
                close_unawaited(&self.reactor, handle);
                self.tell_failure(&mut *factory, ConnectError::Declined { address: peer });
            }
            None => close_unawaited(&self.reactor, handle),
        }
        self.forget_callbacks(factory);
    }

    fn tell_failure(&self, factory: &mut dyn Factory, error: ConnectError) {
        let on_failure = self.on_failure.take();
        self.reactor.guard("a factory", || match on_failure {
            Some(on_failure) => on_failure(&self.reactor, error),
            None => factory.connection_failed(&self.reactor, error),
        });
    }

    fn forget_callbacks(&self, factory: Box<dyn Factory>) {
        let on_failure = self.on_failure.take();
        self.reactor
            .drop_guarded("the drop of a factory", (factory, on_failure));
    }

    /// Reports `error` to the factory, unless the outcome is known already. To be called from the loop.
    fn fail(self: &Rc<Self>, error: ConnectError) {
        if self.settled.get() {
            return;
        }
        log::debug!("{error}");
        self.settle();
        self.close_attempts();
        self.leave_when_done();
        if let Some(mut factory) = self.factory.take() {
            self.tell_failure(&mut *factory, error);
            self.forget_callbacks(factory);
        }
    }

    fn settle(&self) {
        self.settled.set(true);
        for call in [self.limit.take(), self.next_attempt.take()]
            .into_iter()
            .flatten()
        {
            call.cancel();
        }
        if let Some(lookup) = self.lookup.take() {
            self.reactor.give_up(lookup);
        }
        self.race.take();
        self.socket.take();
    }

    fn close_attempts(&self) {
        for attempt in &mut *self.attempts.borrow_mut() {
            self.close_attempt(attempt);
        }
    }

    fn close_attempt(&self, attempt: &mut Attempt) {
        if !std::mem::replace(&mut attempt.closing, true) {
            let mode = CloseMode::Reset;
            let closing = self
                .reactor
                .port_mut()
                .close(attempt.handle, mode, self.token.get());
            debug_assert!(closing.is_ok(), "an attempt's handle is closed once");
            if let Ok(operation) = closing {
                // From here on, the attempt awaits the completion of its close.
                attempt.operation = operation;
            }
        }
    }

    /// Unregisters from the reactor once the outcome is known and every attempt is closed.
    fn leave_when_done(&self) {
        let done = self.settled.get() && self.attempts.borrow().is_empty();
        if done && !self.unregistered.replace(true) {
            self.reactor.unregister(self.token.get());
        }
    }

    fn connect_completed(self: &Rc<Self>, completion: Completion) {
        let mut attempts = self.attempts.borrow_mut();
        let Some(attempt) = attempts
            .iter_mut()
            .find(|a| a.operation == completion.operation)
        else {
            // This attempt is being closed already.
            return;
        };
        match completion.result {
            Ok(_) => {
                let (handle, address) = (attempt.handle, attempt.address.clone());
                drop(attempts);
                self.connected(handle, address);
            }
            Err(failure) => {
                let (id, address) = (attempt.id, attempt.address.clone());
                self.close_attempt(attempt);
                drop(attempts);
                let error = match failure {
                    Failure::Cancelled => io::Error::other("cancelled"),
                    Failure::Os { source, .. } => source,
                };
                if error.kind() == io::ErrorKind::WouldBlock && matches!(address, Address::Unix(_))
                {
                    return self.try_again(address, id);
                }
                self.attempt_failed(id, error);
                self.advance();
            }
        }
    }

    /// Connects again after a pause: the backlog is full, and the OS does not report when it is not.
    fn try_again(self: &Rc<Self>, address: Address, id: AttemptId) {
        let inner = Rc::clone(self);
        let again = self.reactor.call_later(RETRY, move |_| {
            inner.attempt(address, id);
            inner.advance();
        });
        self.next_attempt.replace(Some(again));
    }
}

impl Live for Inner {
    fn completed(self: Rc<Self>, completion: Completion) {
        match (completion.kind, &completion.result) {
            (RequestKind::Connect, _) => self.connect_completed(completion),
            (RequestKind::Close, Ok(Outcome::Closed)) => {
                let gone = completion.operation;
                self.attempts
                    .borrow_mut()
                    .retain(|attempt| attempt.operation != gone);
                self.leave_when_done();
            }
            _ => log::error!("unexpected completion for a connector: {completion:?}"),
        }
    }

    fn stop(self: Rc<Self>) {
        self.fail(ConnectError::Stopped);
    }

    fn abandon(&self) -> Option<String> {
        self.settled.set(true);
        drop(self.socket.take());
        // The port closes their handles when it is dropped.
        self.attempts.take();
        let callbacks = (self.factory.take(), self.on_failure.take());
        self.reactor
            .drop_guarded("the drop of a factory", callbacks);
        None
    }
}
