//! Pull producers that write large pieces: the last partial segment of a piece is held back, but not for long.

use std::cell::{Cell, RefCell};
use std::net::TcpStream;
use std::rc::Rc;
use std::time::Duration;

use socket2::{Domain, SockRef, Type};
use tidewaiter::{Producer, ProducerKind, Transport};

use super::promises::support::{Countdown, Script, any_port, reactor, run_clean};

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
