//! Watches of descriptors of Unix that other code owns.

use std::cell::Cell;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::time::Duration;

use tidewaiter::port::{Interest, Readiness};
use tidewaiter::{Error, Reactor};

use crate::promises::support::{Countdown, reactor, run, run_clean};
use crate::support::alone::alone;
use crate::watching::{READABLE, connection, sockets};

/// Goal: hang-ups and errors are reported without interest in them.
#[test]
fn hang_ups_and_errors_are_always_reported() {
    // kqueue does not have this.
    if !cfg!(target_os = "linux") {
        return;
    }
    let (reactor, countdown) = (reactor(), Countdown::new(2));
    let (client, server) = connection();
    socket2::SockRef::from(&server)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    let (pipe, reader) = {
        let (reader, writer) = std::io::pipe().unwrap();
        (OwnedFd::from(writer), reader)
    };
    let expectations: [(RawFd, bool); 2] = [(client.as_raw_fd(), true), (pipe.as_raw_fd(), false)];
    for (descriptor, hang_up) in expectations {
        let countdown = countdown.clone();
        let watch = reactor.watch(descriptor, Interest::NONE, move |watch, readiness| {
            let expected = Readiness {
                hang_up,
                error: true,
                ..Readiness::default()
            };
            assert_eq!(readiness, expected);
            watch.stop();
            countdown.hit(watch.reactor());
        });
        watch.unwrap();
    }
    reactor.iterate(Duration::ZERO).unwrap();
    drop((server, reader));
    run_clean(&reactor);
}

/// Goal: a file is always ready, and does not block the loop.
#[test]
fn files_are_always_ready() {
    let (reactor, countdown) = (reactor(), Countdown::new(4));
    let file = File::open(std::env::current_exe().unwrap()).unwrap();
    let watch = reactor.watch(
        file.as_raw_fd(),
        Interest::READABLE,
        move |watch, readiness| {
            assert_eq!(readiness, READABLE);
            watch.set_interest(Interest::NONE).unwrap();
            let (again, countdown) = (watch.clone(), countdown.clone());
            // A further call would fail the countdown.
            watch
                .reactor()
                .call_later(Duration::from_millis(5), move |reactor| {
                    again.set_interest(Interest::READABLE).unwrap();
                    countdown.hit(reactor);
                });
        },
    );
    watch.unwrap();
    run_clean(&reactor);
}

/// Goal: a descriptor that cannot be watched is refused with an error that names it.
#[test]
fn refusals_name_the_descriptor() {
    let reactor = reactor();
    let watch = |descriptor| match reactor.watch(descriptor, Interest::READABLE, |_, _| ()) {
        Err(Error::Watch {
            descriptor: named,
            source,
        }) => {
            assert_eq!(named, descriptor);
            source
        }
        other => panic!("{descriptor} was not refused: {other:?}"),
    };
    for descriptor in [-1, 1 << 20] {
        let bad = rustix::io::Errno::BADF.raw_os_error();
        assert_eq!(watch(descriptor).raw_os_error(), Some(bad));
    }
    let (ours, _theirs) = sockets();
    let kept = reactor
        .watch(ours.as_raw_fd(), Interest::READABLE, |_, _| ())
        .unwrap();
    let refusal = watch(ours.as_raw_fd());
    assert_eq!(refusal.kind(), ErrorKind::AlreadyExists);
    kept.stop();
    let again = reactor.watch(ours.as_raw_fd(), Interest::READABLE, |_, _| ());
    again.expect("it is watched no longer");
    assert_eq!(
        reactor.metrics().live,
        2,
        "the first one's end comes from the loop"
    );
}

/// Goal: a descriptor that was closed too early, while a child or another thread has a copy, neither makes the
/// loop spin nor disturbs other watches.
/// Method: the test keeps its last copy; a turn without events must last its whole time.
#[test]
fn a_descriptor_closed_too_early_does_not_make_the_loop_spin() {
    let reactor = reactor();
    let (ours, mut theirs) = sockets();
    let copy = ours.try_clone().unwrap();
    let early = reactor
        .watch(ours.as_raw_fd(), Interest::READABLE, |_, _| ())
        .unwrap();
    let (sound, mut other) = sockets();
    let called = Rc::new(Cell::new(false));
    let call = Rc::clone(&called);
    let kept = reactor
        .watch(sound.as_raw_fd(), Interest::READABLE, move |watch, _| {
            call.set(true);
            watch.stop();
        })
        .unwrap();
    drop(ours);
    early.stop();
    theirs.write_all(b"a").unwrap();
    let begun = reactor.metrics().turns;
    reactor.call_later(Duration::from_millis(50), Reactor::crash);
    run(&reactor);
    let turns = reactor.metrics().turns - begun;
    assert!(turns < 20, "{turns} turns in 50 ms");
    other.write_all(b"a").unwrap();
    reactor.iterate(Duration::from_secs(10)).unwrap();
    assert!(called.get() && kept.is_stopped());
    drop(copy);
}

/// Goal: when the set of watched descriptors is rebuilt, a descriptor that was closed too early is not confused
/// with the socket that has its number by now.
/// Method: one of two watches is stopped too late, which makes the port replace the set; the number of the
/// other one is given to a socket that is always readable.
#[test]
fn a_stranger_with_the_number_of_a_watch_is_not_watched() {
    alone(
        module_path!(),
        "a_stranger_with_the_number_of_a_watch_is_not_watched",
        || {
            let reactor = reactor();
            let (first, mut first_peer) = sockets();
            let (second, _second_peer) = sockets();
            let (stranger, mut stranger_peer) = sockets();
            stranger_peer.write_all(b"a").unwrap();
            let reported = Rc::new(Cell::new(false));
            let stopped = reactor.watch(first.as_raw_fd(), Interest::READABLE, |_, _| ());
            let seen = Rc::clone(&reported);
            let number = second.as_raw_fd();
            let watch = reactor.watch(number, Interest::READABLE, move |_, _| seen.set(true));
            reactor.iterate(Duration::ZERO).unwrap();
            let _copy = first.try_clone().unwrap();
            drop((first, second));
            let stranger = rustix::io::fcntl_dupfd_cloexec(&stranger, number).unwrap();
            assert_eq!(stranger.as_raw_fd(), number);
            stopped.unwrap().stop();
            first_peer.write_all(b"a").unwrap();
            for _ in 0..5 {
                reactor.iterate(Duration::from_millis(5)).unwrap();
            }
            assert!(!reported.get(), "a stranger's readiness is reported");
            assert!(watch.is_ok());
        },
    );
}
