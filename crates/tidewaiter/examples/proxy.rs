//! A TCP proxy with backpressure: `cargo run -p tidewaiter --example proxy -- 127.0.0.1:7001 localhost:7000`.

use std::{cell::OnceCell, net::SocketAddr, rc::Rc};
use tidewaiter::{Address, ConnectError, Error, Factory, Listener, ProducerKind, Protocol};
use tidewaiter::{Reactor, Reason, Transport, endpoint::HostPort};

/// This side's connection, once it exists, and the other side's.
#[derive(Clone, Default)]
struct Side(Rc<OnceCell<Transport>>, Rc<OnceCell<Transport>>);

impl Side {
    fn end_other(&self, end: impl FnOnce(&Transport)) {
        if let Some(other) = self.1.get() {
            other.unregister_producer();
            end(other);
        }
    }
}

impl Protocol for Side {
    fn connection_made(&mut self, transport: &Transport) {
        self.0.get_or_init(|| transport.clone());
        let Some(client) = self.1.get() else {
            // Reads nothing until the other side is connected.
            return transport.pause_producing();
        };
        // From here on, each side reads no faster than the other one sends.
        client.register_producer(transport.clone(), ProducerKind::Push);
        transport.register_producer(client.clone(), ProducerKind::Push);
        client.resume_producing();
        if !client.is_open() {
            transport.abort_connection();
        }
    }

    fn data_received(&mut self, _: &Transport, data: &[u8]) {
        self.1.get().into_iter().for_each(|other| other.write(data));
    }

    fn read_connection_lost(&mut self, _: &Transport) {
        self.end_other(Transport::lose_write_connection);
    }

    fn connection_lost(&mut self, _: &Transport, reason: Reason) {
        self.end_other(match reason {
            Reason::Done => Transport::lose_connection,
            _ => Transport::abort_connection,
        });
    }
}

impl Factory for Side {
    fn build_protocol(&mut self, _peer: Address) -> Option<Box<dyn Protocol>> {
        Some(Box::new(self.clone()))
    }

    fn connection_failed(&mut self, _: &Reactor, _: ConnectError) {
        self.end_other(Transport::abort_connection);
    }
}

/// Listens on `address`, and connects each client `to` another.
pub(crate) fn serve(on: &Reactor, address: SocketAddr, to: HostPort) -> Result<Listener, Error> {
    let reactor = on.clone();
    on.listen_tcp(address, move |_| {
        let client = Side::default();
        let server = Side(Rc::clone(&client.1), Rc::clone(&client.0));
        reactor.connect_tcp(to.clone(), server);
        client
    })
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let word = |n, usual: &str| std::env::args().nth(n).unwrap_or(usual.into());
    let (from, to) = (word(1, "127.0.0.1:7001"), word(2, "localhost:7000"));
    let reactor = Reactor::new()?;
    serve(&reactor, from.parse()?, to.parse()?)?;
    reactor.run()?;
    Ok(())
}
