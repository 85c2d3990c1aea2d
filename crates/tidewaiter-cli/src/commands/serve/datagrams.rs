//! UDP: each peer that sends something gets a COMMAND of its own.
//!
//! A datagram's bytes go to COMMAND's standard input, and what COMMAND writes goes back as datagrams. Nothing says that a
//! peer is gone, so that a session ends when no datagram has come or gone for a while.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::rc::Rc;

use tidewaiter::port::{Datagram, DatagramError, DatagramSocket};
use tidewaiter::{Address, DatagramProtocol, DatagramTransport, Error, Reason};

use super::connection::Connection;
use super::peer::Peer;
use super::server::Server;
use super::session::Session;

type Sessions = Rc<RefCell<HashMap<Address, Rc<Session>>>>;

/// The server's side of one UDP socket.
struct Socket {
    server: Rc<Server>,
    sessions: Sessions,
}

/// Serves the UDP socket at `address`. Returns the address that it is bound to.
pub(super) fn open(server: &Rc<Server>, address: Address) -> Result<Address, Error> {
    let transport = server.reactor.listen_udp(address, Socket::new(server))?;
    bound_to(&transport)
}

/// Serves a datagram socket that was made elsewhere. Returns the address that it is bound to.
pub(super) fn adopt(server: &Rc<Server>, socket: DatagramSocket) -> Result<Address, Error> {
    let transport = server
        .reactor
        .adopt_datagrams(socket, Socket::new(server))?;
    bound_to(&transport)
}

fn bound_to(transport: &DatagramTransport) -> Result<Address, Error> {
    let address = transport.local_addr();
    address.map_err(|source| Error::Adopt { peer: None, source })
}

impl DatagramProtocol for Socket {
    fn datagram_received(&mut self, transport: &DatagramTransport, datagram: &Datagram<'_>) {
        let Some(sender) = datagram.sender() else {
            return;
        };
        let session = self.sessions.borrow().get(sender).cloned();
        let session = session.or_else(|| self.begin(transport, sender));
        if let Some(session) = session {
            session.client_data_received(datagram.bytes());
        }
    }

    fn error_received(&mut self, _: &DatagramTransport, error: &DatagramError) {
        log::debug!("udp: {error}");
        let session = error.peer.as_ref();
        let session = session.and_then(|peer| self.sessions.borrow().get(peer).cloned());
        let is_gone = matches!(
            error.source.kind(),
            io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset
        );
        if let Some(session) = session.filter(|_| is_gone) {
            session.peer_gone("peer unreachable");
        }
    }

    fn write_paused(&mut self, _: &DatagramTransport) {
        for session in self.sessions.borrow().values() {
            session.pause_output();
        }
    }

    fn write_resumed(&mut self, _: &DatagramTransport) {
        for session in self.sessions.borrow().values() {
            session.resume_output();
        }
    }

    fn stopped(&mut self, transport: &DatagramTransport, reason: Reason) {
        if !matches!(reason, Reason::Done | Reason::Stopped) {
            log::error!("{transport:?}: {reason}");
        }
    }
}

impl Socket {
    fn new(server: &Rc<Server>) -> Socket {
        Socket {
            server: Rc::clone(server),
            sessions: Sessions::default(),
        }
    }

    /// Begins the session of a new peer; none if the server is full or shuts down.
    fn begin(&self, transport: &DatagramTransport, sender: &Address) -> Option<Rc<Session>> {
        if !self.server.has_place() {
            log::debug!(peer:% = sender; "full: a datagram is dropped");
            return None;
        }
        let (sessions, gone) = (Rc::clone(&self.sessions), sender.clone());
        let forget = move || drop(sessions.borrow_mut().remove(&gone));
        let peer = Peer::new(transport.clone(), sender.clone(), forget);
        let connection = Connection::Datagrams(peer);
        let session = Session::new(
            Rc::clone(&self.server) as _,
            transport.reactor(),
            connection,
            sender.clone(),
        );
        let mut sessions = self.sessions.borrow_mut();
        sessions.insert(sender.clone(), Rc::clone(&session));
        drop(sessions);
        self.server.enter(&session);
        Some(session)
    }
}
