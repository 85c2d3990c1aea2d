//! The end of a reactor, and of the objects that live on it then.

use std::cell::{Cell, RefCell};
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use tidewaiter::process::Command;
use tidewaiter::{
    Address, ProcessProtocol, Producer, ProducerKind, Protocol, Reactor, Reason, Transport,
};

use super::support::{Echo, Script, Silent, any_port, pair, reactor, run, run_clean};
use crate::support::reasons::kind_of;
use crate::support::roles::Role;

/// Goal: a stop with much under way tells each connection once that the reactor stopped, and leaves nothing.
#[test]
fn a_stop_ends_a_thousand_connections_in_the_middle_of_everything() {
    let reactor = reactor();
    let lost = Rc::new(Cell::new(0));
    let made = Rc::new(Cell::new(0));
    let script = move |lost: &Rc<Cell<usize>>, made: &Rc<Cell<usize>>| {
        let (lost, made) = (Rc::clone(lost), Rc::clone(made));
        let mut ended = false;
        Script::new()
            .made(move |transport| {
                transport.write(&[1; 1000]);
                made.set(made.get() + 1);
                if made.get() == crate::MANY {
                    transport.reactor().stop();
                }
            })
            .data(Transport::write)
            .lost(move |_, reason| {
                assert_eq!(kind_of(&reason), "stopped");
                assert!(!std::mem::replace(&mut ended, true), "once");
                lost.set(lost.get() + 1);
            })
    };
    let (servers_lost, servers_made) = (Rc::clone(&lost), Rc::clone(&made));
    let listener = reactor.listen_tcp(any_port(), move |_: Address| {
        script(&servers_lost, &servers_made)
    });
    let address = listener.unwrap().local_addr();
    for _ in 0..crate::MANY {
        let (lost, made) = (Rc::clone(&lost), Rc::clone(&made));
        // Some are still connecting when the reactor stops; they are told so.
        reactor.connect_tcp(address.clone(), Client(move || script(&lost, &made)));
    }
    run_clean(&reactor);
    assert!(made.get() >= crate::MANY);
    assert_eq!(lost.get(), made.get(), "every connection is lost once");
    let metrics = reactor.metrics();
    assert_eq!(metrics.accepted + metrics.connected, made.get() as u64);
}

/// Connects, or is told that the reactor stopped.
struct Client<F>(F);

impl<F: FnMut() -> P, P: Protocol + 'static> tidewaiter::Factory for Client<F> {
    fn build_protocol(&mut self, _: Address) -> Option<Box<dyn Protocol>> {
        Some(Box::new(self.0()))
    }

    fn connection_failed(&mut self, _: &tidewaiter::Reactor, error: tidewaiter::ConnectError) {
        assert!(
            matches!(error, tidewaiter::ConnectError::Stopped),
            "{error}"
        );
    }
}

/// A peer outside of the reactor: a thread that connects to the reactor's listener.
fn os_peer<T: Send + 'static>(
    address: Address,
    work: impl FnOnce(TcpStream) -> T + Send + 'static,
) -> thread::JoinHandle<T> {
    thread::spawn(move || work(TcpStream::connect(address).expect("it listens")))
}

#[test]
fn a_stop_sends_the_written_bytes() {
    if crate::SIMULATED {
        // The peers are on the same reactor, and stop as well.
        return;
    }
    const SIZE: usize = 4 << 20;
    let reactor = reactor();
    let listener = reactor.listen_tcp(any_port(), |_: Address| {
        Script::new()
            .made(|transport| {
                transport.write_bytes(vec![9; SIZE]);
                transport.reactor().stop();
            })
            .lost(|_, reason| assert_eq!(kind_of(&reason), "stopped"))
    });
    let peer = os_peer(listener.unwrap().local_addr(), |mut stream| {
        let mut received = Vec::new();
        stream.read_to_end(&mut received).map(|_| received.len())
    });
    run_clean(&reactor);
    assert_eq!(peer.join().unwrap().unwrap(), SIZE);
}

/// Goal: a peer that reads nothing does not keep the reactor from stopping.
#[test]
fn a_stop_does_not_wait_for_ever_for_a_peer_that_does_not_read() {
    struct Told(Rc<Cell<u32>>);
    impl Producer for Told {
        fn pause_producing(&mut self) {}
        fn resume_producing(&mut self) {}
        fn stop_producing(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }
    let reactor = reactor();
    let stopped = Rc::new(Cell::new(0));
    let told = Rc::clone(&stopped);
    let client = Script::new()
        .made(move |transport| {
            transport.write_bytes(vec![0; 64 << 20]);
            transport.register_producer(Told(Rc::clone(&told)), ProducerKind::Push);
            let call = |reactor: &Reactor| reactor.stop();
            transport
                .reactor()
                .call_later(Duration::from_millis(20), call);
        })
        .lost(|_, reason| assert!(!reason.is_done(), "{reason}"));
    let deaf = Script::new().made(Transport::pause_producing);
    let begun = Instant::now();
    if crate::SIMULATED {
        pair(&reactor, client, deaf);
        run_clean(&reactor);
    } else {
        let listener = TcpListener::bind(any_port()).unwrap();
        let client = Cell::new(Some(client));
        let address = listener.local_addr().unwrap();
        reactor.connect_tcp(address, move |_: Address| client.take().unwrap());
        let peer = thread::spawn(move || listener.accept().unwrap());
        run_clean(&reactor);
        drop(peer.join().unwrap());
    }
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert_eq!(stopped.get(), 1, "its producer was told once");
}

/// Notes when it is dropped, and then calls everything that it has access to.
struct Dropped {
    count: Rc<Cell<usize>>,
    transport: RefCell<Option<Transport>>,
}

impl Dropped {
    fn new(count: &Rc<Cell<usize>>) -> Dropped {
        Dropped {
            count: Rc::clone(count),
            transport: RefCell::default(),
        }
    }
}

impl Protocol for Dropped {
    fn connection_made(&mut self, transport: &Transport) {
        self.transport.replace(Some(transport.clone()));
        transport.register_producer(Dropped::new(&self.count), ProducerKind::Push);
        transport.write_bytes(vec![0; 16 << 20]);
        transport.pause_producing();
        let reactor = transport.reactor();
        reactor.call_later(Duration::from_millis(10), Reactor::crash);
    }

    fn data_received(&mut self, _: &Transport, _: &[u8]) {}

    fn connection_lost(&mut self, _: &Transport, reason: Reason) {
        panic!("the reactor is dropped without callbacks: {reason}");
    }
}

impl Producer for Dropped {
    fn pause_producing(&mut self) {}
    fn resume_producing(&mut self) {}
}

impl ProcessProtocol for Dropped {}

impl Drop for Dropped {
    fn drop(&mut self) {
        self.count.set(self.count.get() + 1);
        if let Some(transport) = self.transport.take() {
            transport.write(b"x");
            transport.resume_producing();
            transport.unregister_producer();
            transport.abort_connection();
            assert!(!transport.is_open() && transport.local_addr().is_err());
            assert!(transport.set_no_delay(true).is_err());
            let reactor = transport.reactor();
            reactor.stop();
            assert!(reactor.listen_tcp(any_port(), |_: Address| Silent).is_err());
            let command = Command::new("no-such-program-anywhere");
            assert!(reactor.spawn_process(&command, Gone).is_err());
            reactor
                .connect_tcp(any_port(), |_: Address| Silent)
                .cancel();
        }
    }
}

struct Gone;

impl ProcessProtocol for Gone {}

/// Goal: a reactor dropped while objects live on it drops them all, without callbacks; handles that the program
/// keeps do nothing.
#[test]
fn a_dropped_reactor_drops_what_lives_on_it_without_callbacks() {
    let count = Rc::new(Cell::new(0));
    let reactor = reactor();
    let factory = Dropped::new(&count);
    let listener = reactor.listen_tcp(any_port(), move |_: Address| {
        let _ = &factory;
        Echo
    });
    let kept = listener.unwrap();
    pair(&reactor, Dropped::new(&count), Dropped::new(&count));
    let process = reactor.spawn_process(&crate::child(Role::Deaf), Dropped::new(&count));
    let process = process.unwrap();
    run(&reactor);
    assert_eq!(count.get(), 0);
    let clone = reactor.clone();
    drop(reactor);
    // The factory, two protocols with a producer each, and the child's protocol.
    assert_eq!(count.get(), 6);
    assert_eq!(clone.metrics().panics, 0);
    assert!(process.kill().is_err() && process.pipe(0).is_none());
    kept.stop_listening();
    kept.resume_accepting();
    clone.stop();
    assert!(!clone.is_running() && clone.run().is_err());
    assert!(clone.remote().stop().is_err());
}

#[test]
fn a_reactor_that_never_ran_drops_what_it_was_given() {
    let count = Rc::new(Cell::new(0));
    let reactor = reactor();
    let factory = Dropped::new(&count);
    let listening = reactor.listen_tcp(any_port(), move |_: Address| {
        let _ = &factory;
        Silent
    });
    let factory = Dropped::new(&count);
    reactor.connect_tcp(listening.unwrap().local_addr(), move |_: Address| {
        let _ = &factory;
        Silent
    });
    let child = reactor.spawn_process(&crate::child(Role::Deaf), Dropped::new(&count));
    child.unwrap();
    let (held, work) = (Dropped::new(&count), || 1);
    reactor.defer_to_thread(work, move |_, _| drop(held));
    let held = Dropped::new(&count);
    reactor.call_later(Duration::from_secs(1), move |_| drop(held));
    let _kept = reactor.clone();
    drop(reactor);
    assert_eq!(count.get(), 5);
}

/// Goal: a reactor that crashed can continue where it was.
#[test]
fn connections_outlive_a_crash() {
    let reactor = reactor();
    let answered = Rc::new(Cell::new(0));
    let seen = Rc::clone(&answered);
    let client = Script::new()
        .made(|transport| {
            transport.write(b"1");
            transport.reactor().crash();
        })
        .data(move |transport, _| {
            seen.set(seen.get() + 1);
            transport.write(b"2");
            if seen.get() == 3 {
                transport.reactor().stop();
            } else {
                transport.reactor().crash();
            }
        });
    pair(&reactor, client, Echo);
    for answers in 0..3 {
        run(&reactor);
        assert_eq!(answered.get(), answers);
    }
    run_clean(&reactor);
    assert_eq!(answered.get(), 3);
}
