//! TCP connections: data both ways, half-closes, ends and their reasons.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

use tidewaiter::{Protocol, Reason, Transport};

use super::support::{any_port, reactor, run};

/// What happened to a connection, as text, in order.
type Log = Rc<RefCell<Vec<String>>>;

struct Echo;

impl Protocol for Echo {
    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        transport.write(data);
    }
}

/// Sends something, ends its writing, and gathers what comes back.
struct Client {
    message: Vec<u8>,
    answer: Vec<u8>,
    log: Log,
}

impl Protocol for Client {
    fn connection_made(&mut self, transport: &Transport) {
        self.log.borrow_mut().push("made".into());
        transport.write(&self.message);
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        self.answer.extend_from_slice(data);
        if self.answer.len() == self.message.len() {
            assert!(self.answer == self.message);
            transport.lose_connection();
        }
    }

    fn connection_lost(&mut self, transport: &Transport, reason: Reason) {
        self.log.borrow_mut().push(format!("lost: {reason}"));
        transport.reactor().stop();
    }
}

#[test]
fn an_echo_comes_back_whole_and_the_connection_ends_in_order() {
    for size in [1, 1000, 3_000_000] {
        let reactor = reactor();
        let log = Log::default();
        let listener = reactor.listen_tcp(any_port(), |_| Echo).unwrap();
        let client = Client {
            message: (0..size)
                .map(|n: u32| n.to_le_bytes()[1] ^ n.to_le_bytes()[0])
                .collect(),
            answer: Vec::new(),
            log: Rc::clone(&log),
        };
        let mut client = Some(client);
        reactor.connect_tcp(listener.local_addr(), move |_: SocketAddr| {
            client.take().unwrap()
        });
        run(&reactor);
        assert_eq!(*log.borrow(), ["made", "lost: closed in order"]);
        let metrics = reactor.metrics();
        assert_eq!(
            (metrics.live, metrics.in_flight, metrics.late_completions),
            (0, 0, 0)
        );
    }
}
