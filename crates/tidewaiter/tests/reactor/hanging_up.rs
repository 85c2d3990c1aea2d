//! The end of a connection that does not receive.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tidewaiter::port::PortKind;
use tidewaiter::{Reactor, Transport};

use super::support::{Countdown, Log, Script, pair, pattern, reactor, run_clean};

/// Whether the port reports the end of both directions in order without a receive.
fn tells_ends(reactor: &Reactor) -> bool {
    reactor.port_info().kind != PortKind::Iocp
}

type Shared = Rc<RefCell<Option<Transport>>>;

/// Calls `what` with a transport a little later, when all that is under way has arrived.
fn soon(transport: &Transport, what: impl FnOnce(&Transport) + 'static) {
    let later = transport.clone();
    transport
        .reactor()
        .call_later(Duration::from_millis(20), move |_| what(&later));
}

/// Goal: a paused connection without buffered data is lost at once when its peer resets it.
#[test]
fn a_reset_is_reported_while_paused() {
    let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(2));
    let client = Script::new()
        .made(|transport| soon(transport, Transport::abort_connection))
        .then_noted(&log, "client", &countdown);
    let server = Script::new()
        .made(Transport::pause_producing)
        .then_noted(&log, "server", &countdown);
    pair(&reactor, client, server);
    run_clean(&reactor);
    let mut lost = log.take();
    lost.sort();
    assert_eq!(lost, ["client: aborted", "server: reset"]);
}

/// Goal: the same for a paused connection with buffered data, which is dropped then.
#[test]
fn a_reset_is_reported_while_data_is_buffered() {
    let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(2));
    let client = Script::new()
        .made(|transport| {
            transport.write(b"hello");
            soon(transport, Transport::abort_connection);
        })
        .then_noted(&log, "client", &countdown);
    let server = Script::new()
        .made(Transport::pause_producing)
        .data(|_, data| unreachable!("it is paused, and was told {data:?}"))
        .then_noted(&log, "server", &countdown);
    pair(&reactor, client, server);
    run_clean(&reactor);
    let mut lost = log.take();
    lost.sort();
    assert_eq!(lost, ["client: aborted", "server: reset"]);
}

/// Goal: a reset after the peer's end of file is reported, too, although nothing receives any more.
#[test]
fn a_reset_is_reported_after_the_end_of_file() {
    for paused in [false, true] {
        let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(2));
        let client = Script::new()
            .made(Transport::lose_write_connection)
            .write_lost(|transport| soon(transport, Transport::abort_connection))
            .then_noted(&log, "client", &countdown);
        let server = Script::new()
            .made(move |transport| {
                if paused {
                    transport.pause_producing();
                }
            })
            .read_lost(move |_| assert!(!paused))
            .then_noted(&log, "server", &countdown);
        pair(&reactor, client, server);
        run_clean(&reactor);
        let mut lost = log.take();
        lost.sort();
        assert_eq!(lost, ["client: aborted", "server: reset"], "{paused}");
    }
}

/// Goal: all bytes that the peer sent before an orderly end are delivered after a pause, even if both
/// directions have ended meanwhile.
/// Method: the server ends its side and is paused; it resumes when the client's end has long arrived.
#[test]
fn an_orderly_end_loses_nothing() {
    for ends_its_side in [false, true] {
        let (reactor, countdown) = (reactor(), Countdown::new(2));
        let sent = pattern(100_000);
        let whole = sent.clone();
        let client = Script::new()
            .made(move |transport| {
                transport.write(&sent);
                transport.lose_write_connection();
            })
            .read_lost(|_| ())
            .then_done(&countdown);
        let received: Rc<RefCell<Vec<u8>>> = Rc::default();
        let (taken, all) = (Rc::clone(&received), Rc::clone(&received));
        let is_paused = Rc::new(Cell::new(true));
        let paused = Rc::clone(&is_paused);
        let server = Script::new()
            .made(move |transport| {
                transport.pause_producing();
                if ends_its_side {
                    transport.lose_write_connection();
                }
                let paused = Rc::clone(&is_paused);
                soon(transport, move |transport| {
                    paused.set(false);
                    transport.resume_producing();
                });
            })
            .data(move |_, data| {
                assert!(!paused.get(), "nothing is delivered while paused");
                taken.borrow_mut().extend_from_slice(data);
            })
            .then_done(&countdown);
        pair(&reactor, client, server);
        run_clean(&reactor);
        assert!(*all.borrow() == whole, "{} bytes", all.borrow().len());
    }
}

/// Goal: once both directions have ended and nothing is left to receive, a paused connection is lost.
#[test]
fn an_orderly_end_of_both_directions_is_reported_while_paused() {
    let (reactor, countdown) = (reactor(), Countdown::new(2));
    if !tells_ends(&reactor) {
        return;
    }
    let client = Script::new()
        .made(Transport::lose_write_connection)
        .read_lost(|_| ())
        .then_done(&countdown);
    let server = Script::new()
        .made(|transport| {
            transport.pause_producing();
            // By then, the peer's end of file has arrived.
            soon(transport, Transport::lose_write_connection);
        })
        .then_done(&countdown);
    pair(&reactor, client, server);
    run_clean(&reactor);
}

/// Goal: a pause that ends before anything arrives costs no operation, and any number of pauses with data costs
/// one.
#[test]
fn pauses_are_cheap() {
    let (reactor, countdown) = (reactor(), Countdown::new(2));
    let in_flight = Rc::new(Cell::new(0));
    let most = Rc::clone(&in_flight);
    let kept: Shared = Rc::default();
    let keep = Rc::clone(&kept);
    let client = Script::new()
        .made(move |transport| {
            transport.write(b"a");
            keep.replace(Some(transport.clone()));
        })
        .then_done(&countdown);
    let mut rounds = 0;
    let server = Script::new()
        .made(|transport| {
            transport.pause_producing();
            transport.resume_producing();
        })
        .data(move |transport, data| {
            assert_eq!(data, b"a");
            rounds += 1;
            most.set(most.get().max(transport.reactor().metrics().in_flight));
            if rounds == 20 {
                return transport.lose_connection();
            }
            transport.pause_producing();
            kept.borrow().as_ref().unwrap().write(b"a");
            soon(transport, Transport::resume_producing);
        })
        .then_done(&countdown);
    pair(&reactor, client, server);
    run_clean(&reactor);
    // The listener's accept, a receive at each end, a send that has just arrived, and one wait for a hang-up.
    assert!(in_flight.get() <= 5, "{}", in_flight.get());
}
