//! A callback that panics loses its own connection, and no other.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use tidewaiter::{Address, ConnectError, Factory, Producer, ProducerKind, Protocol, Transport};

use super::support::{
    Countdown, Echo, Log, Script, Silent, any_port, assert_empty, pair, reactor, run,
};

/// Goal: a panic affects one connection only: another one beside it works on.
/// Method: while the faulty connection is made and ends, a second one echoes; both ends are awaited.
fn panics_alone(faulty: impl FnOnce(Script) -> Script, expected: &str, panics: u64) {
    let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(3));
    let client = Script::new()
        .made(|transport| transport.write(b"hello"))
        .then_noted(&log, "client", &countdown);
    let server = Script::new().then_noted(&log, "server", &countdown);
    let _faulty = pair(&reactor, client, faulty(server));
    let bystander = Script::new()
        .made(|transport| transport.write(b"ping"))
        .data(|transport, data| {
            assert_eq!(data, b"ping");
            transport.lose_connection();
        })
        .then_noted(&log, "bystander", &countdown);
    let _other = pair(&reactor, bystander, Echo);
    run(&reactor);
    let mut events = log.take();
    events.sort();
    // The OS decides what the client sees: an end or, with data unread, a reset.
    let client = events.remove(1);
    assert!(
        ["client: done", "client: reset"].contains(&&*client),
        "{client}"
    );
    assert_eq!(
        events,
        ["bystander: done".to_owned(), format!("server: {expected}")]
    );
    assert_eq!(reactor.metrics().panics, panics);
    assert_empty(&reactor.metrics());
}

#[test]
fn a_panic_in_connection_made_loses_the_connection() {
    panics_alone(
        |script| script.made(|_| panic!("a deliberate panic")),
        "panicked",
        1,
    );
}

#[test]
fn a_panic_in_data_received_loses_the_connection() {
    panics_alone(
        |script| script.data(|_, _| panic!("a deliberate panic")),
        "panicked",
        1,
    );
}

#[test]
fn a_panic_after_closing_loses_the_connection_as_well() {
    let close_and_panic = |transport: &Transport| {
        transport.lose_connection();
        panic!("a deliberate panic");
    };
    panics_alone(|script| script.made(close_and_panic), "panicked", 1);
}

#[test]
fn a_panic_when_a_direction_ends_loses_the_connection() {
    let ends = |script: Script| {
        script
            .data(|transport, _| transport.lose_write_connection())
            .write_lost(|_| panic!("a deliberate panic"))
    };
    panics_alone(ends, "panicked", 1);
}

#[test]
fn a_panic_in_a_producer_loses_the_connection() {
    struct Faulty;
    impl Producer for Faulty {
        fn pause_producing(&mut self) {}
        fn resume_producing(&mut self) {
            panic!("a deliberate panic");
        }
        fn stop_producing(&mut self) {
            panic!("it is not called again");
        }
    }
    let produces = |script: Script| {
        script.made(|transport| transport.register_producer(Faulty, ProducerKind::Pull))
    };
    panics_alone(produces, "panicked", 1);
}

#[test]
fn a_panic_in_connection_lost_or_in_dropping_the_protocol_is_counted_and_all() {
    struct Faulty(Countdown);
    impl Protocol for Faulty {
        fn data_received(&mut self, _: &Transport, _: &[u8]) {}
        fn connection_lost(&mut self, transport: &Transport, _: tidewaiter::Reason) {
            self.0.hit(transport.reactor());
            panic!("a deliberate panic");
        }
    }
    impl Drop for Faulty {
        fn drop(&mut self) {
            panic!("a deliberate panic, too");
        }
    }
    let (reactor, countdown) = (reactor(), Countdown::new(2));
    let client = Script::new()
        .made(Transport::lose_connection)
        .then_done(&countdown);
    let _listener = pair(&reactor, client, Faulty(countdown));
    run(&reactor);
    assert_eq!(reactor.metrics().panics, 2);
    assert_empty(&reactor.metrics());
}

/// Panics the first time, or declines; serves afterwards.
struct Moody {
    asked: Cell<u32>,
    panics: bool,
}

impl Factory for Moody {
    fn build_protocol(&mut self, _: Address) -> Option<Box<dyn Protocol>> {
        let first = self.asked.replace(1) == 0;
        assert!(!(first && self.panics), "a deliberate panic");
        (!first).then(|| Box::new(Echo) as Box<dyn Protocol>)
    }
}

/// Goal: a factory that returns no protocol, or panics, loses that connection and serves the next one.
#[test]
fn a_factory_that_panics_or_declines_closes_that_connection_only() {
    for panics in [true, false] {
        let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(2));
        let factory = Moody {
            asked: Cell::new(0),
            panics,
        };
        let listener = reactor.listen_tcp(any_port(), factory).unwrap();
        let address = listener.local_addr();
        let second = Script::new()
            .made(|transport| transport.write(b"x"))
            .data(|transport, _| transport.lose_connection())
            .then_noted(&log, "second", &countdown);
        let second = Cell::new(Some(second));
        let lost = countdown.clone();
        let again = address.clone();
        let first = Script::new().lost(move |transport, _| {
            let second = second.take().expect("lost once");
            let second = Cell::new(Some(second));
            transport
                .reactor()
                .connect_tcp(again.clone(), move |_: Address| {
                    second.take().expect("connected once")
                });
            lost.hit(transport.reactor());
        });
        let first = Cell::new(Some(first));
        reactor.connect_tcp(address, move |_: Address| first.take().expect("once"));
        run(&reactor);
        assert_eq!(log.take(), ["second: done"]);
        assert_eq!(reactor.metrics().panics, u64::from(panics));
        assert_empty(&reactor.metrics());
    }
}

/// Goal: the same on the connecting side, where the connection exists already and must be closed. A factory that declines
/// is told that there is no connection, one that panics is not called again.
#[test]
fn a_connecting_factory_that_panics_or_declines_closes_the_connection() {
    struct Unwilling(bool, Log);
    impl Factory for Unwilling {
        fn build_protocol(&mut self, _: Address) -> Option<Box<dyn Protocol>> {
            assert!(!self.0, "a deliberate panic");
            None
        }
        fn connection_failed(&mut self, _: &tidewaiter::Reactor, error: ConnectError) {
            assert!(matches!(error, ConnectError::Declined { .. }), "{error}");
            self.1.add("declined");
        }
    }
    for panics in [true, false] {
        let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(1));
        let server = Cell::new(Some(Script::new().then_done(&countdown)));
        let listener = reactor
            .listen_tcp(any_port(), move |_: Address| server.take().expect("once"))
            .unwrap();
        let unwilling = Unwilling(panics, log.clone());
        let connector = reactor.connect_tcp(listener.local_addr(), unwilling);
        run(&reactor);
        assert_eq!(log.take().len(), usize::from(!panics));
        assert!(!connector.is_connecting());
        assert_eq!(reactor.metrics().panics, u64::from(panics));
        assert_empty(&reactor.metrics());
    }
}

#[test]
fn a_panic_on_being_told_of_a_failure_is_counted_and_all() {
    struct Faulty;
    impl Factory for Faulty {
        fn build_protocol(&mut self, _: Address) -> Option<Box<dyn Protocol>> {
            Some(Box::new(Silent))
        }
        fn connection_failed(&mut self, _: &tidewaiter::Reactor, _: ConnectError) {
            panic!("a deliberate panic");
        }
    }
    let reactor = reactor();
    reactor.connect_tcp(any_port(), Faulty).cancel();
    let seen = Rc::new(RefCell::new(0));
    let count = Rc::clone(&seen);
    reactor.call_later(std::time::Duration::from_millis(1), move |reactor| {
        *count.borrow_mut() += 1;
        reactor.stop();
    });
    run(&reactor);
    assert_eq!((*seen.borrow(), reactor.metrics().panics), (1, 1));
    assert_empty(&reactor.metrics());
}
