//! Storms of datagrams: every one is told once or, where the OS lost it, not at all, and nothing but a close ends a socket.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tidewaiter::port::{Datagram, DatagramError};
use tidewaiter::{Address, DatagramProtocol, DatagramTransport, Reactor, Reason};

use super::datagrams::{Echo, Silent, with_datagrams};
use super::support::{any_port, run_clean};
use crate::SIMULATED;

/// The number of clients, and of questions that each asks.
const CLIENTS: usize = 12;
const QUESTIONS: u32 = if SIMULATED { 400 } else { 100 };

/// How long the OS may take to lose a datagram before the client asks again.
const PATIENCE: Duration = Duration::from_millis(500);

/// The state of all clients.
struct Storm {
    /// Their servers, and an address where nobody is.
    servers: Vec<Address>,
    deserted: Address,
    left: Cell<usize>,
    errors: Cell<usize>,
    /// The number of datagrams that were sent to nobody.
    unheard: Cell<usize>,
    stopped: Cell<usize>,
}

/// Asks its questions one after the other, each again until it is answered; pauses, and sends to nobody, now and then.
#[derive(Clone)]
struct Client {
    storm: Rc<Storm>,
    number: usize,
    asked: Rc<Cell<u32>>,
    tries: Rc<Cell<u32>>,
    answered: Rc<RefCell<Vec<u32>>>,
}

impl Client {
    fn question(&self) -> [u8; 12] {
        let mut data = [0; 12];
        data[..4].copy_from_slice(&self.asked.get().to_le_bytes());
        data[4..8].copy_from_slice(&self.tries.get().to_le_bytes());
        data[8..].copy_from_slice(b"what");
        data
    }

    fn ask(&self, transport: &DatagramTransport) {
        let asked = self.asked.get();
        let servers = &self.storm.servers;
        let turn = usize::try_from(asked).expect("few") + self.number;
        transport.send_to(&self.question(), &servers[turn % servers.len()]);
        if turn.is_multiple_of(3) {
            self.storm.unheard.set(self.storm.unheard.get() + 1);
            transport.send_to(b"nobody hears this", &self.storm.deserted);
        }
        if turn.is_multiple_of(7) {
            transport.pause_receiving();
            let resumed = transport.clone();
            let later = Duration::from_micros(200);
            transport
                .reactor()
                .call_later(later, move |_| resumed.resume_receiving());
        }
        let (client, again) = (self.clone(), transport.clone());
        let tries = self.tries.get();
        transport.reactor().call_later(PATIENCE, move |_| {
            if again.is_open() && client.asked.get() == asked && client.tries.get() == tries {
                client.tries.set(tries + 1);
                client.ask(&again);
            }
        });
    }
}

impl DatagramProtocol for Client {
    fn started(&mut self, transport: &DatagramTransport) {
        self.ask(transport);
    }

    fn datagram_received(&mut self, transport: &DatagramTransport, datagram: &Datagram<'_>) {
        let sender = datagram.sender().expect("servers have addresses");
        assert!(self.storm.servers.contains(sender), "{sender}");
        let number = |at: usize| {
            let bytes = datagram[at..at + 4].try_into();
            u32::from_le_bytes(bytes.expect("four bytes"))
        };
        let (asked, tries) = (number(0), number(4));
        let key = asked * 100 + tries;
        assert!(
            !self.answered.borrow().contains(&key),
            "{asked} is told twice"
        );
        self.answered.borrow_mut().push(key);
        // An answer may be late: the question was asked again.
        if asked != self.asked.get() {
            return;
        }
        self.asked.set(asked + 1);
        self.tries.set(0);
        if asked + 1 < QUESTIONS {
            return self.ask(transport);
        }
        transport.close();
    }

    fn error_received(&mut self, _: &DatagramTransport, error: &DatagramError) {
        assert!(
            error
                .peer
                .as_ref()
                .is_none_or(|peer| *peer == self.storm.deserted)
        );
        self.storm.errors.set(self.storm.errors.get() + 1);
    }

    fn datagrams_dropped(&mut self, _: &DatagramTransport, count: usize) {
        panic!("{count} datagrams were dropped from a queue that is never full");
    }

    fn stopped(&mut self, transport: &DatagramTransport, reason: Reason) {
        assert_eq!(self.asked.get(), QUESTIONS, "{reason}");
        let storm = &self.storm;
        storm.stopped.set(storm.stopped.get() + 1);
        storm.left.set(storm.left.get() - 1);
        if storm.left.get() == 0 {
            transport.reactor().stop();
        }
    }
}

fn deserted(reactor: &Reactor) -> Address {
    let gone = reactor.listen_udp(any_port(), Silent).expect("it listens");
    let address = gone.local_addr().expect("it is bound");
    gone.close();
    address
}

#[test]
fn every_answer_is_told_once_and_only_a_close_ends_a_socket() {
    let Some(reactor) = with_datagrams() else {
        return;
    };
    let servers = (0..3).map(|_| {
        let server = reactor.listen_udp(any_port(), Echo).expect("it listens");
        server.local_addr().expect("it is bound")
    });
    let storm = Rc::new(Storm {
        servers: servers.collect(),
        deserted: deserted(&reactor),
        left: Cell::new(CLIENTS),
        errors: Cell::new(0),
        unheard: Cell::new(0),
        stopped: Cell::new(0),
    });
    for number in 0..CLIENTS {
        let client = Client {
            storm: Rc::clone(&storm),
            number,
            asked: Rc::default(),
            tries: Rc::default(),
            answered: Rc::default(),
        };
        reactor.listen_udp(any_port(), client).expect("it opens");
    }
    run_clean(&reactor);
    assert_eq!(storm.stopped.get(), CLIENTS);
    let (errors, unheard) = (storm.errors.get(), storm.unheard.get());
    assert!(
        errors <= unheard,
        "{errors} errors about {unheard} datagrams"
    );
}
