//! The client of a session: passes its events to the session.

use std::rc::Rc;

use tidewaiter::{Address, Protocol, Reason, Transport};

use super::connection::Connection;
use super::server::Server;
use super::session::Session;

pub(super) struct Client {
    server: Rc<Server>,
    peer: Address,
    session: Option<Rc<Session>>,
}

impl Client {
    pub(super) fn new(server: &Rc<Server>, peer: Address) -> Client {
        Client {
            server: Rc::clone(server),
            peer,
            session: None,
        }
    }
}

impl Protocol for Client {
    fn connection_made(&mut self, transport: &Transport) {
        let owner = Rc::clone(&self.server);
        let connection = Connection::Joined(transport.clone());
        let session = Session::new(owner, transport.reactor(), connection, self.peer.clone());
        self.session = Some(Rc::clone(&session));
        self.server.enter(&session);
    }

    fn data_received(&mut self, _: &Transport, data: &[u8]) {
        if let Some(session) = &self.session {
            session.client_data_received(data);
        }
    }

    fn read_connection_lost(&mut self, _: &Transport) {
        if let Some(session) = &self.session {
            session.client_output_ended();
        }
    }

    fn connection_lost(&mut self, _: &Transport, reason: Reason) {
        if let Some(session) = self.session.take() {
            session.client_lost(&reason);
        }
    }
}
