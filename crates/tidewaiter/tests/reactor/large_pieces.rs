//! Pull producers that write large pieces: they are asked for more within a turn, and the last partial segment of a piece is
//! held back, but not for long.

use std::cell::{Cell, RefCell};
use std::net::TcpStream;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use socket2::{Domain, SockRef, Type};
use tidewaiter::{Producer, ProducerKind, Transport};

use super::promises::support::{
    Checker, Countdown, Script, any_port, pair, pattern, reactor, run_clean,
};

const PIECES: usize = 10;

/// Writes a number of pieces, then nothing more, and stays registered.
struct Source {
    to: Transport,
    piece: usize,
    written: Rc<Cell<usize>>,
    /// A second handle to the connection's socket, which shows the socket's options.
    socket: TcpStream,
    /// Whether partial segments were held back, at each call.
    held: Rc<RefCell<Vec<bool>>>,
    countdown: Countdown,
}

impl Producer for Source {
    fn pause_producing(&mut self) {}

    fn resume_producing(&mut self) {
        let held = SockRef::from(&self.socket).tcp_cork().unwrap();
        self.held.borrow_mut().push(held);
        if self.written.get() < PIECES * self.piece {
            self.written.set(self.written.get() + self.piece);
            self.to.write_bytes(vec![7; self.piece]);
            return;
        }
        let (countdown, socket) = (self.countdown.clone(), self.socket.try_clone().unwrap());
        self.to
            .reactor()
            .call_later(Duration::ZERO, move |reactor| {
                let held = SockRef::from(&socket).tcp_cork().unwrap();
                assert!(!held, "nothing follows that it could leave with");
                countdown.hit(reactor);
            });
    }
}

/// Returns whether partial segments were held back each time the producer was asked for more.
fn held(piece: usize) -> Vec<bool> {
    let (reactor, countdown) = (reactor(), Countdown::new(2));
    let received = Cell::new(0);
    let all = countdown.clone();
    let server = RefCell::new(Some(Script::new().data(move |transport, data| {
        received.set(received.get() + data.len());
        if received.get() == PIECES * piece {
            all.hit(transport.reactor());
        }
    })));
    let take = move |_| server.take().expect("connected once");
    let listener = reactor.listen_tcp(any_port(), take).unwrap();
    let socket: TcpStream = socket2::Socket::new(Domain::IPV4, Type::STREAM, None)
        .unwrap()
        .into();
    let ours = socket.try_clone().unwrap();
    let seen = Rc::new(RefCell::default());
    let sees = Rc::clone(&seen);
    let client = RefCell::new(Some(Script::new().made(move |transport| {
        let source = Source {
            to: transport.clone(),
            piece,
            written: Rc::default(),
            socket: ours.try_clone().unwrap(),
            held: Rc::clone(&sees),
            countdown: countdown.clone(),
        };
        transport.register_producer(source, ProducerKind::Pull);
    })));
    let take = move |_| client.take().expect("connected once");
    reactor.connect_tcp_with(socket, listener.local_addr(), take);
    run_clean(&reactor);
    seen.take()
}

#[test]
fn partial_segments_of_large_pieces_are_held_back_while_pieces_follow() {
    let held = held(64 * 1024);
    assert_eq!(held.len(), PIECES + 1);
    // From the first request for more on.
    assert!(held[2..].iter().all(|&held| held), "{held:?}");
}

#[test]
fn partial_segments_of_small_pieces_are_not_held_back() {
    assert_eq!(held(1000), [false; PIECES + 1]);
}

/// Writes a pattern in pieces, and notes the turn in which it was asked for each.
struct Pattern {
    to: Transport,
    left: Bytes,
    asked_in: Rc<RefCell<Vec<u64>>>,
}

impl Producer for Pattern {
    fn pause_producing(&mut self) {}

    fn resume_producing(&mut self) {
        let turn = self.to.reactor().metrics().turns;
        self.asked_in.borrow_mut().push(turn);
        let piece = self.left.len().min(64 * 1024);
        self.to.write_bytes(self.left.split_to(piece));
        if self.left.is_empty() {
            self.to.unregister_producer();
            self.to.lose_connection();
        }
    }
}

#[test]
fn a_turn_asks_for_many_large_pieces_but_not_without_end() {
    const TOTAL: usize = 16 << 20;
    /// The pieces that are sent in a turn, and the one that is left for an operation.
    const ASKED_MAX: usize = (1 << 20) / (64 * 1024) + 1;
    let (reactor, countdown) = (reactor(), Countdown::new(2));
    let asked_in = Rc::new(RefCell::default());
    let (notes, sent) = (Rc::clone(&asked_in), countdown.clone());
    let client = Script::new()
        .made(move |transport| {
            let source = Pattern {
                to: transport.clone(),
                left: pattern(TOTAL).into(),
                asked_in: Rc::clone(&notes),
            };
            transport.register_producer(source, ProducerKind::Pull);
        })
        .lost(move |transport, _| sent.hit(transport.reactor()));
    let received = Rc::new(Checker::default());
    let checks = Rc::clone(&received);
    let server = Script::new()
        .data(move |_, data| checks.take(data))
        .lost(move |transport, _| countdown.hit(transport.reactor()));
    let listener = pair(&reactor, client, server);
    run_clean(&reactor);
    drop(listener);
    assert_eq!(received.received.get(), TOTAL);
    let asked_in = asked_in.take();
    let in_one_turn: Vec<usize> = asked_in.chunk_by(|a, b| a == b).map(<[u64]>::len).collect();
    let most = in_one_turn.iter().max();
    assert!(
        most.is_some_and(|most| (2..=ASKED_MAX).contains(most)),
        "{in_one_turn:?}"
    );
}
