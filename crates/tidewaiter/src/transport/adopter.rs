//! Passes connected sockets from other threads to a reactor.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use super::Factory;
use super::listener::begin_connection;
use super::stream::Protocol;
use crate::error::Error;
use crate::os::Address;
use crate::port::{Completion, Socket, Token};
use crate::reactor::{Live, Reactor, Remote};

/// The reactor's end of an [`Adopter`]: holds the factory, and is found by its token.
pub(super) struct Inlet {
    reactor: Reactor,
    token: Cell<Token>,
    factory: RefCell<Box<dyn Factory>>,
}

/// Passes connected sockets from any thread to the reactor that made it, where each gets a protocol from one
/// factory. Clones share that factory. Dropping the last clone drops the factory, on the reactor's thread.
#[derive(Clone)]
pub struct Adopter {
    registration: Arc<Registration>,
}

/// Removes the reactor's end of an adopter when its last clone is dropped.
struct Registration {
    remote: Remote,
    token: Token,
}

impl Reactor {
    /// Makes a way for other threads to put connected TCP sockets on this reactor, such as those that
    /// [`listen_tcp_handing_over`](Reactor::listen_tcp_handing_over) accepted elsewhere. Of the factory, only
    /// [`build_protocol`](Factory::build_protocol) is called.
    ///
    /// ```
    /// use std::net::{TcpListener, TcpStream};
    /// use tidewaiter::{Protocol, Reactor, Transport};
    ///
    /// struct Greeter;
    ///
    /// impl Protocol for Greeter {
    ///     fn connection_made(&mut self, transport: &Transport) {
    ///         transport.write(b"hello");
    ///         transport.reactor().stop();
    ///     }
    ///     fn data_received(&mut self, _: &Transport, _: &[u8]) {}
    /// }
    ///
    /// let reactor = Reactor::new()?;
    /// let adopter = reactor.adopter(|_peer| Greeter)?;
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let client = TcpStream::connect(listener.local_addr()?)?;
    /// let thread = std::thread::spawn(move || {
    ///     let (socket, peer) = listener.accept().expect("a client connects");
    ///     adopter.adopt_tcp(socket, peer)
    /// });
    /// reactor.run()?;
    /// thread.join().expect("it does not panic")?;
    /// assert_eq!(std::io::read_to_string(client)?, "hello");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`].
    pub fn adopter(&self, factory: impl Factory + 'static) -> Result<Adopter, Error> {
        let inlet = Rc::new(Inlet {
            reactor: self.clone(),
            token: Cell::new(Token::default()),
            factory: RefCell::new(Box::new(factory)),
        });
        let token = self.register(Rc::clone(&inlet) as Rc<dyn Live>)?;
        inlet.token.set(token);
        let remote = self.remote();
        Ok(Adopter {
            registration: Arc::new(Registration { remote, token }),
        })
    }
}

impl Adopter {
    /// Passes `socket`, which is connected to `peer`, to the reactor. Never blocks.
    ///
    /// A later failure on the reactor's thread is logged, and closes the socket; so does a reactor that begins to
    /// stop before it takes over the socket.
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`] when the reactor has stopped. The socket is closed then.
    pub fn adopt_tcp(
        &self,
        socket: impl Into<Socket>,
        peer: impl Into<Address>,
    ) -> Result<(), Error> {
        let (socket, peer) = (socket.into(), peer.into());
        let token = self.registration.token;
        self.registration.remote.call(move |reactor| {
            // A stopping reactor has dropped its end; the socket is then closed here.
            if let Some(inlet) = reactor.find::<Inlet>(token) {
                inlet.take(socket, peer);
            }
        })
    }

    /// The reactor's end. To be called on the reactor's thread.
    pub(super) fn inlet(&self, reactor: &Reactor) -> Option<Rc<Inlet>> {
        reactor.find(self.registration.token)
    }
}

impl fmt::Debug for Adopter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Adopter")
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let token = self.token;
        // An error means that the reactor has stopped, and has dropped its end by itself.
        let _ = self.remote.call(move |reactor| {
            if let Some(inlet) = reactor.find::<Inlet>(token) {
                inlet.stop();
            }
        });
    }
}

impl Inlet {
    fn take(&self, socket: Socket, peer: Address) {
        self.reactor.counters().adopted.add(1);
        let protocol = self
            .reactor
            .guard("a factory", || self.build_protocol(peer.clone()));
        let Some(Some(protocol)) = protocol else {
            return;
        };
        if let Err(error) = begin_connection(&self.reactor, socket, peer, protocol) {
            log::error!("accepted elsewhere: {error}");
        }
    }

    pub(super) fn build_protocol(&self, peer: Address) -> Option<Box<dyn Protocol>> {
        self.factory.borrow_mut().build_protocol(peer)
    }
}

impl Live for Inlet {
    fn completed(self: Rc<Self>, completion: Completion) {
        log::error!("unexpected completion for an adopter: {completion:?}");
    }

    fn stop(self: Rc<Self>) {
        self.reactor.unregister(self.token.get());
        let reactor = self.reactor.clone();
        reactor.drop_guarded("the drop of a factory", self);
    }

    fn abandon(&self) -> Option<String> {
        None
    }
}
