//! A number of the OS's is used for one thing alone, from the moment it is told until its user is told of the
//! end: whatever else opens and closes meanwhile.

use std::cell::RefCell;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::time::Duration;

use tidewaiter::port::RawDescriptor;
use tidewaiter::{Factory, Listener, Protocol};

use crate::promises::support::{any_port, reactor, run_clean};
use crate::support::number::number;

/// More than there are numbers that other tests may have left free.
const MANY_STRANGERS: usize = 64;

/// Sockets that are none of the reactor's.
fn strangers() -> Vec<TcpListener> {
    (0..MANY_STRANGERS)
        .map(|_| TcpListener::bind(any_port()).expect("descriptors are free"))
        .collect()
}

fn have(strangers: &[TcpListener], wanted: RawDescriptor) -> bool {
    strangers.iter().any(|stranger| number(stranger) == wanted)
}

/// Checks, when the listener is closed, that nothing got its number before.
struct Watchful {
    number: RawDescriptor,
    strangers: Rc<RefCell<Vec<TcpListener>>>,
}

impl Factory for Watchful {
    fn build_protocol(&mut self, peer: SocketAddr) -> Option<Box<dyn Protocol>> {
        panic!("{peer} connects to nobody");
    }

    fn listener_closed(&mut self, listener: &Listener) {
        assert_eq!(listener.raw_descriptor(), None);
        assert!(!have(&self.strangers.borrow(), self.number));
        let again = TcpListener::bind(listener.local_addr());
        assert!(again.is_ok(), "the address is free: {again:?}");
        listener.reactor().stop();
    }
}

/// Goal: the number of a listener that was stopped stays taken until its factory hears of the end, and its
/// address is free then.
/// Method: once in a callback, once while accepting is paused, sockets are opened right after the call.
#[test]
fn a_listener_keeps_its_number_until_its_factory_is_told() {
    for paused in [false, true] {
        let reactor = reactor();
        let socket = TcpListener::bind(any_port()).expect("a port is free");
        let strangers_opened = Rc::default();
        let factory = Watchful {
            number: number(&socket),
            strangers: Rc::clone(&strangers_opened),
        };
        let listener = reactor.listen_tcp_on(socket, factory).expect("it listens");
        if paused {
            listener.pause_accepting();
        }
        // From the second turn on: by then the port accepts, or has ended that.
        reactor.call_later(Duration::from_millis(1), move |_| {
            listener.stop_listening();
            assert_eq!(listener.raw_descriptor(), None);
            strangers_opened.replace(strangers());
        });
        run_clean(&reactor);
    }
}
