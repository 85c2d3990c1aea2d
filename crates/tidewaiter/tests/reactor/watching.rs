//! Watches of sockets that other code owns, on every system that has them.

use std::cell::{Cell, RefCell};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::rc::Rc;
use std::time::Duration;

use tidewaiter::port::{Interest, Readiness};
use tidewaiter::{Reactor, Watch};

use crate::promises::support::{
    Countdown, Echo, Log, Script, Silent, any_port, pair, reactor, run, run_clean,
};
use crate::support::number::number;

#[cfg(windows)]
type Socket = std::net::TcpStream;
#[cfg(unix)]
type Socket = std::os::unix::net::UnixStream;

/// Two connected sockets, non-blocking.
pub(crate) fn sockets() -> (Socket, Socket) {
    #[cfg(unix)]
    let (ours, theirs) = Socket::pair().expect("descriptors are free");
    #[cfg(windows)]
    let (ours, theirs) = connection();
    for socket in [&ours, &theirs] {
        socket.set_nonblocking(true).expect("sockets can");
    }
    (ours, theirs)
}

/// Two connected TCP sockets.
pub(crate) fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(any_port()).expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    let client = TcpStream::connect(address).expect("it listens");
    (client, listener.accept().expect("a client connected").0)
}

pub(crate) const READABLE: Readiness = Readiness {
    readable: true,
    writable: false,
    hang_up: false,
    error: false,
    closed: false,
};

/// Goal: the callback is called every turn while the descriptor is ready, and not after that.
/// Method: three bytes are read, one at each call; a further turn must make no call.
#[test]
fn readiness_is_reported_as_long_as_it_lasts() {
    let reactor = reactor();
    let (ours, mut theirs) = sockets();
    theirs.write_all(b"abc").unwrap();
    let calls = Rc::new(Cell::new(0));
    let count = Rc::clone(&calls);
    let descriptor = number(&ours);
    let watch = reactor
        .watch(descriptor, Interest::READABLE, move |watch, readiness| {
            assert_eq!(readiness, READABLE);
            (&ours).read_exact(&mut [0]).expect("a byte is there");
            count.set(count.get() + 1);
            if count.get() == 3 {
                let watch = watch.clone();
                watch
                    .reactor()
                    .clone()
                    .call_later(Duration::from_millis(20), move |reactor| {
                        watch.stop();
                        reactor.stop();
                    });
            }
        })
        .unwrap();
    assert_eq!(watch.descriptor(), descriptor);
    // Dropping the watch must not stop it.
    drop(watch);
    run_clean(&reactor);
    assert_eq!(calls.get(), 3);
}

/// Goal: a descriptor that stays ready because nothing reads from it is reported in each turn, beside
/// everything else.
/// Method: stop after some calls, and count the turns; there must be as many.
#[test]
fn a_descriptor_that_stays_ready_starves_nothing() {
    let reactor = reactor();
    let (ours, mut theirs) = sockets();
    theirs.write_all(b"a").unwrap();
    let calls = Rc::new(Cell::new(0_u64));
    let count = Rc::clone(&calls);
    let countdown = Countdown::new(2);
    let (done, handle) = (countdown.clone(), reactor.clone());
    reactor
        .watch(number(&ours), Interest::READABLE, move |_, _| {
            count.set(count.get() + 1);
            if count.get() == 11 {
                done.hit(&handle);
            }
        })
        .unwrap();
    // A listener and an ordinary connection share the turns.
    let client = Script::new()
        .made(|transport| transport.write(b"hello"))
        .data({
            let countdown = countdown.clone();
            move |transport, _| countdown.hit(transport.reactor())
        });
    let _listener = pair(&reactor, client, Echo);
    run_clean(&reactor);
    let turns = reactor.metrics().turns;
    assert!(
        calls.get() > 10 && calls.get() <= turns,
        "{} of {turns}",
        calls.get()
    );
    // The last turns belong to the stop.
    assert!(turns - calls.get() < 10, "{} of {turns}", calls.get());
}

/// Goal: turns that never wait, one after the other, starve nothing.
/// Method: beside an endless chain of calls without delay, a connection is made and its bytes are echoed; then
/// a delayed call is due; then another thread stops the reactor.
#[test]
fn an_endless_chain_of_calls_starves_nothing() {
    fn link(reactor: &Reactor) {
        reactor.call_later(Duration::ZERO, link);
    }
    fn stop_from_another_thread(reactor: &Reactor) {
        let remote = reactor.remote();
        std::thread::spawn(move || remote.call(Reactor::stop).expect("it still runs"));
    }
    let reactor = reactor();
    link(&reactor);
    let client = Script::new()
        .made(|transport| transport.write(b"hello"))
        .data(|transport, _| {
            let reactor = transport.reactor();
            reactor.call_later(Duration::from_millis(5), stop_from_another_thread);
        });
    let _listener = pair(&reactor, client, Echo);
    run_clean(&reactor);
}

/// Goal: readiness is reported if the interest includes it, and not after the interest was dropped.
/// Method: an idle socket is writable; then nothing; then readable once its peer writes.
#[test]
fn the_interest_can_be_changed() {
    let (reactor, log) = (reactor(), Log::default());
    let (ours, theirs) = sockets();
    let noted = log.clone();
    let peer = RefCell::new(theirs);
    reactor
        .watch(
            number(&ours),
            Interest::WRITABLE,
            move |watch, readiness| {
                noted.add(format!("{readiness:?}"));
                if readiness.readable {
                    watch.stop();
                    assert_eq!(
                        watch.set_interest(Interest::NONE).unwrap_err().kind(),
                        ErrorKind::NotFound
                    );
                    return watch.reactor().stop();
                }
                watch.set_interest(Interest::NONE).unwrap();
                peer.borrow_mut().write_all(b"a").unwrap();
                let watch = watch.clone();
                watch
                    .reactor()
                    .clone()
                    .call_later(Duration::from_millis(20), move |_| {
                        watch.set_interest(Interest::READABLE).unwrap();
                    });
            },
        )
        .unwrap();
    run_clean(&reactor);
    let writable = Readiness {
        writable: true,
        ..Readiness::default()
    };
    assert_eq!(
        log.take(),
        [format!("{writable:?}"), format!("{READABLE:?}")]
    );
}

/// Goal: after a stop, or without interest, there is no call, even for readiness that the same wait reported.
/// Method: of three that are ready at once, the first called stops one and drops the interest in another.
#[test]
fn a_stopped_watch_is_not_called_in_the_same_turn() {
    let reactor = reactor();
    let pairs = [sockets(), sockets(), sockets()];
    let watches: Rc<RefCell<Vec<Watch>>> = Rc::default();
    let calls = Rc::new(Cell::new(0));
    for (ours, theirs) in &pairs {
        let mut theirs = theirs;
        theirs.write_all(b"a").unwrap();
        let (all, calls) = (Rc::clone(&watches), Rc::clone(&calls));
        let watch = reactor.watch(number(ours), Interest::READABLE, move |watch, _| {
            calls.set(calls.get() + 1);
            let others = all.take();
            let mut others = (others.iter()).filter(|o| o.descriptor() != watch.descriptor());
            others.next().unwrap().stop();
            others.next().unwrap().set_interest(Interest::NONE).unwrap();
            watch.stop();
            let reactor = watch.reactor();
            reactor.call_later(Duration::from_millis(20), Reactor::stop);
        });
        watches.borrow_mut().push(watch.unwrap());
    }
    run_clean(&reactor);
    assert_eq!(calls.get(), 1);
}

/// Goal: after the stop, the callback may close the descriptor and reuse its number, and the new descriptor can
/// be watched by itself.
/// Method: replace the socket by another with the same number that never becomes ready.
#[test]
fn a_number_can_be_used_again_right_after() {
    let reactor = reactor();
    let (ours, mut theirs) = sockets();
    theirs.write_all(b"a").unwrap();
    let reused = number(&ours);
    let ours = Cell::new(Some(ours));
    let kept: Rc<RefCell<Vec<Socket>>> = Rc::default();
    let keep = Rc::clone(&kept);
    reactor
        .watch(reused, Interest::READABLE, move |watch, _| {
            watch.stop();
            drop(ours.take());
            let (mut again, mut peer) = sockets();
            if number(&again) != reused {
                // Other test threads may have taken the number; then this test shows nothing.
                std::mem::swap(&mut again, &mut peer);
            }
            let watching =
                (watch.reactor()).watch(number(&again), Interest::READABLE, |_, readiness| {
                    panic!("there was nothing to report: {readiness:?}")
                });
            watching.expect("nothing watches that one");
            keep.borrow_mut().extend([again, peer]);
            let reactor = watch.reactor();
            reactor.call_later(Duration::from_millis(20), Reactor::stop);
        })
        .unwrap();
    run_clean(&reactor);
    assert_eq!(kept.take().len(), 2);
}

/// Goal: a port is free as soon as the owner of the socket bound to it has closed it.
#[test]
fn a_port_is_free_when_its_socket_is_closed() {
    let reactor = reactor();
    let listener = TcpListener::bind(any_port()).unwrap();
    let address = listener.local_addr().unwrap();
    let watch = reactor
        .watch(number(&listener), Interest::READABLE, |_, _| ())
        .unwrap();
    // The OS is told within a turn.
    reactor.iterate(Duration::ZERO).unwrap();
    watch.stop();
    drop(listener);
    // A child that another test has just forked may hold a copy of it, until its program starts.
    let begun = std::time::Instant::now();
    while let Err(error) = TcpListener::bind(address) {
        assert!(
            begun.elapsed().as_secs() < 60,
            "something holds the old socket: {error}"
        );
        std::thread::yield_now();
    }
}

/// Goal: a panic stops the watch in which it occurred, and no other.
#[test]
fn a_panic_stops_one_watch() {
    let (reactor, countdown) = (reactor(), Countdown::new(2));
    let (faulty, mut theirs) = sockets();
    theirs.write_all(b"a").unwrap();
    let watch = reactor
        .watch(number(&faulty), Interest::READABLE, |_, _| {
            panic!("on purpose")
        })
        .unwrap();
    let (sound, mut other) = sockets();
    other.write_all(b"ab").unwrap();
    let descriptor = number(&sound);
    reactor
        .watch(descriptor, Interest::READABLE, move |watch, _| {
            (&sound).read_exact(&mut [0]).unwrap();
            countdown.hit(watch.reactor());
        })
        .unwrap();
    run(&reactor);
    assert_eq!(reactor.metrics().panics, 1);
    assert!(watch.is_stopped());
    assert_eq!(reactor.metrics().live, 0);
}

/// Goal: many watches are all served.
#[test]
fn many_watches_are_reported() {
    let (reactor, countdown) = (reactor(), Countdown::new(crate::MANY));
    let mut kept = Vec::new();
    for _ in 0..crate::MANY {
        let (ours, mut theirs) = sockets();
        theirs.write_all(b"a").unwrap();
        let countdown = countdown.clone();
        let watch = reactor.watch(number(&ours), Interest::READABLE, move |watch, _| {
            watch.stop();
            countdown.hit(watch.reactor());
        });
        watch.unwrap();
        kept.push((ours, theirs));
    }
    run_clean(&reactor);
}

/// Goal: a reactor that stops drops its watches, without a call.
#[test]
fn stopping_ends_watches() {
    let reactor = reactor();
    let (ours, _theirs) = sockets();
    let token = Rc::new(());
    let owned = Rc::clone(&token);
    let watch = reactor
        .watch(number(&ours), Interest::READABLE, move |_, _| {
            unreachable!("{owned:?}")
        })
        .unwrap();
    let _listener = reactor.listen_tcp(any_port(), |_| Silent).unwrap();
    reactor.call_later(Duration::ZERO, Reactor::stop);
    run_clean(&reactor);
    assert!(watch.is_stopped());
    assert_eq!(
        Rc::strong_count(&token),
        1,
        "what the callback owned is gone"
    );
    watch.stop();
}
