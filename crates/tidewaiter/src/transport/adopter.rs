//! Takes over connected sockets and pipes that were made elsewhere, also from other threads.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use super::listener::begin_connection;
use super::stream::{Direction, Link, Protocol, Stream, Transport};
use super::{Factory, close_unawaited};
use crate::error::Error;
use crate::os::Address;
use crate::port::{Completion, Handle, Resource, Socket, Token};
use crate::reactor::{Live, Reactor, Remote};

/// The reactor's end of an [`Adopter`]: holds the factory, and is found by its token.
pub(super) struct Inlet {
    reactor: Reactor,
    token: Cell<Token>,
    factory: RefCell<Box<dyn Factory>>,
}

/// Passes connected sockets from any thread to the reactor that [made it](Reactor::adopter), where each gets a protocol
/// from one factory. Clones share that factory. Dropping the last clone drops the factory, on the reactor's thread.
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
    /// Takes over a connected stream socket that was accepted or made elsewhere, whose peer is `peer`. The protocol's
    /// [`connection_made`](Protocol::connection_made) is called from the loop. A connection that has ended meanwhile
    /// is lost after that.
    ///
    /// # Errors
    ///
    /// [`Error::Adopt`] with the OS's reason, or with [`InvalidInput`](io::ErrorKind::InvalidInput) for a socket of
    /// another kind; [`Error::Stopped`]. The socket is closed then.
    pub fn adopt_stream(
        &self,
        socket: impl Into<Socket>,
        peer: impl Into<Address>,
        protocol: impl Protocol + 'static,
    ) -> Result<Transport, Error> {
        self.check_open()?;
        // `into` is the program's code and may call the reactor, so run it before we borrow the port.
        let (socket, peer): (Socket, Address) = (socket.into(), peer.into());
        let packets = socket.keeps_packets();
        let adopted = self.port_mut().adopt(socket);
        match adopted {
            Ok(handle) => self.begin_adopted(handle, Link::to(peer, packets), Box::new(protocol)),
            Err(source) => Err(adopt_error(Some(peer), source)),
        }
    }

    /// Takes over a connected stream socket or one end of a pipe that was made elsewhere, such as one that a service
    /// manager [passed on](crate::port::activated). The protocol's [`connection_made`](Protocol::connection_made) is
    /// called from the loop.
    ///
    /// A pipe is [read or written](crate::ChildFd) in one direction only. On Windows, it must have been opened for
    /// overlapped I/O; [`open_descriptors`](Reactor::open_descriptors) takes other pipes, too.
    ///
    /// # Errors
    ///
    /// [`Error::Adopt`] with the OS's reason; with [`NotConnected`](io::ErrorKind::NotConnected) for a socket without a
    /// peer, also if it has lost its peer meanwhile; with [`InvalidInput`](io::ErrorKind::InvalidInput) for a listening
    /// socket, which [`listen_on`](Reactor::listen_on) takes, and others that are no stream. [`Error::Stopped`]. The
    /// socket or pipe is closed then.
    ///
    /// ```
    /// # use tidewaiter::{Protocol, Reactor, Transport};
    /// # struct Silent;
    /// # impl Protocol for Silent {
    /// #     fn data_received(&mut self, _: &Transport, _: &[u8]) {}
    /// # }
    /// # let reactor = Reactor::new()?;
    /// let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    /// let client = std::net::TcpStream::connect(listener.local_addr()?)?;
    /// let transport = reactor.adopt(client, Silent)?;
    /// assert_eq!(transport.peer_addr(), Some(listener.local_addr()?.into()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn adopt(
        &self,
        resource: impl Into<Resource>,
        protocol: impl Protocol + 'static,
    ) -> Result<Transport, Error> {
        self.check_open()?;
        // As in `adopt_stream`.
        let resource = resource.into();
        let packets = matches!(&resource, Resource::Socket(socket) if socket.keeps_packets());
        let link = match &resource {
            Resource::Socket(_) => None,
            Resource::PipeReader(_) => Some(Link::pipe(Direction::In)),
            Resource::PipeWriter(_) => Some(Link::writer(true)),
            Resource::Listener(_) | Resource::Datagrams(_) => {
                return Err(no_connection("the socket is no connection"));
            }
            Resource::File(_) => return Err(no_connection("a file is no connection")),
        };
        let adopted = self.port_mut().adopt(resource);
        let handle = adopted.map_err(|source| adopt_error(None, source))?;
        let link = match link {
            Some(link) => link,
            None => {
                let peer = self.port().peer_addr(handle);
                let peer = peer.map_err(|source| {
                    close_unawaited(self, handle);
                    adopt_error(None, source)
                })?;
                Link::to(peer, packets)
            }
        };
        self.begin_adopted(handle, link, Box::new(protocol))
    }

    fn begin_adopted(
        &self,
        handle: Handle,
        link: Link,
        protocol: Box<dyn Protocol>,
    ) -> Result<Transport, Error> {
        let stream = Stream::register(self, handle, link, protocol)?;
        self.counters().adopted.add(1);
        let begun = Rc::clone(&stream);
        self.soon(move |_| begun.begin());
        Ok(Transport::of(&stream))
    }

    /// Makes a way for other threads to put connected TCP sockets on this reactor, such as those that
    /// [`listen_handing_over`](Reactor::listen_handing_over) accepted elsewhere. Of the factory, only
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
    ///     adopter.adopt_stream(socket, peer)
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

fn no_connection(message: &'static str) -> Error {
    let source = io::Error::new(io::ErrorKind::InvalidInput, message);
    adopt_error(None, source)
}

fn adopt_error(peer: Option<Address>, source: io::Error) -> Error {
    Error::Adopt { peer, source }
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
    pub fn adopt_stream(
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
        if let Err(error) = begin_connection(&self.reactor, socket, peer, protocol, &[]) {
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
