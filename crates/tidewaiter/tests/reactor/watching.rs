//! Watches of descriptors that other code owns.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

use tidewaiter::port::{Interest, Readiness};
use tidewaiter::{Error, Reactor, Watch};

use crate::promises::support::{
    Countdown, Echo, Log, Script, Silent, any_port, pair, reactor, run, run_clean,
};
use crate::support::alone::alone;

/// Two connected sockets, non-blocking.
fn sockets() -> (UnixStream, UnixStream) {
    let (ours, theirs) = UnixStream::pair().expect("descriptors are free");
    for socket in [&ours, &theirs] {
        socket.set_nonblocking(true).expect("sockets can");
    }
    (ours, theirs)
}

/// Two connected TCP sockets.
fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(any_port()).expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    let client = TcpStream::connect(address).expect("it listens");
    (client, listener.accept().expect("a client connected").0)
}

const READABLE: Readiness = Readiness {
    readable: true,
    writable: false,
    hang_up: false,
    error: false,
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
    let descriptor = ours.as_raw_fd();
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
/// Method: count turns until a delayed call stops the reactor; there must be as many calls.
#[test]
fn a_descriptor_that_stays_ready_starves_nothing() {
    let reactor = reactor();
    let (ours, mut theirs) = sockets();
    theirs.write_all(b"a").unwrap();
    let calls = Rc::new(Cell::new(0_u64));
    let count = Rc::clone(&calls);
    reactor
        .watch(ours.as_raw_fd(), Interest::READABLE, move |_, _| {
            count.set(count.get() + 1);
        })
        .unwrap();
    // A listener and an ordinary connection share the turns.
    let countdown = Countdown::new(2);
    let done = countdown.clone();
    reactor.call_later(Duration::from_millis(50), move |reactor| done.hit(reactor));
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
            ours.as_raw_fd(),
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
        let watch = reactor.watch(ours.as_raw_fd(), Interest::READABLE, move |watch, _| {
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
    let number = ours.as_raw_fd();
    let ours = Cell::new(Some(ours));
    let kept: Rc<RefCell<Vec<UnixStream>>> = Rc::default();
    let keep = Rc::clone(&kept);
    reactor
        .watch(number, Interest::READABLE, move |watch, _| {
            watch.stop();
            drop(ours.take());
            let (mut again, mut peer) = sockets();
            if again.as_raw_fd() != number {
                // Other test threads may have taken the number; then this test shows nothing.
                std::mem::swap(&mut again, &mut peer);
            }
            let watching =
                (watch.reactor()).watch(again.as_raw_fd(), Interest::READABLE, |_, readiness| {
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
        .watch(listener.as_raw_fd(), Interest::READABLE, |_, _| ())
        .unwrap();
    // The OS is told within a turn.
    reactor.iterate(Duration::ZERO).unwrap();
    watch.stop();
    drop(listener);
    TcpListener::bind(address).expect("nothing holds the old socket");
}

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

/// Goal: a panic stops the watch in which it occurred, and no other.
#[test]
fn a_panic_stops_one_watch() {
    let (reactor, countdown) = (reactor(), Countdown::new(2));
    let (faulty, mut theirs) = sockets();
    theirs.write_all(b"a").unwrap();
    let watch = reactor
        .watch(faulty.as_raw_fd(), Interest::READABLE, |_, _| {
            panic!("on purpose")
        })
        .unwrap();
    let (sound, mut other) = sockets();
    other.write_all(b"ab").unwrap();
    let descriptor = sound.as_raw_fd();
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

/// Goal: many watches are all served.
#[test]
fn many_watches_are_reported() {
    let (reactor, countdown) = (reactor(), Countdown::new(crate::MANY));
    let mut kept = Vec::new();
    for _ in 0..crate::MANY {
        let (ours, mut theirs) = sockets();
        theirs.write_all(b"a").unwrap();
        let countdown = countdown.clone();
        let watch = reactor.watch(ours.as_raw_fd(), Interest::READABLE, move |watch, _| {
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
        .watch(ours.as_raw_fd(), Interest::READABLE, move |_, _| {
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
