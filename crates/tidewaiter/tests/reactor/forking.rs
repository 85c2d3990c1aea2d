//! Reactors in processes that fork.

use std::cell::{Cell, RefCell};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tidewaiter::port::{Interest, Socket};
use tidewaiter::process::{Signal, SignalTarget};
use tidewaiter::{
    Adopter, Error, Listener, Metrics, Process, Reactor, ReactorGroup, Remote, Transport,
};

use crate::promises::processes::Watch;
use crate::promises::support::{Countdown, Echo, Log, Script, any_port, reactor};
use crate::support::alone::alone;
use crate::support::roles::{READY, Role};
use crate::support::system::{fork, join};

/// Longer than any step of these tests takes; only a failure waits this long.
const LONG: Duration = Duration::from_secs(60);

fn connect(listener: &Listener) -> TcpStream {
    let client = TcpStream::connect(listener.local_addr()).expect("it listens");
    client.set_read_timeout(Some(LONG)).expect("a timeout");
    client
}

fn echoed(client: &mut TcpStream, data: &[u8]) {
    client.write_all(data).expect("it is connected");
    let mut answer = vec![0; data.len()];
    client.read_exact(&mut answer).expect("it is answered");
    assert_eq!(answer, data);
}

/// Makes turns until another thread has sent `data` to the reactor and received it back.
fn serve(reactor: &Reactor, mut client: TcpStream, data: &'static [u8]) -> TcpStream {
    let remote = reactor.remote();
    let asking = std::thread::spawn(move || {
        echoed(&mut client, data);
        remote.wake();
        client
    });
    while !asking.is_finished() {
        reactor.iterate(Duration::from_millis(10)).expect("it runs");
    }
    asking.join().expect("it was answered")
}

/// A running child that sends back what it is sent.
struct EchoingChild {
    process: Process,
    output: Rc<RefCell<Vec<u8>>>,
}

impl EchoingChild {
    /// Starts it, and makes turns until it is ready.
    fn start(reactor: &Reactor) -> EchoingChild {
        let output = Rc::new(RefCell::new(Vec::new()));
        let all = Rc::clone(&output);
        let protocol = Watch::new(&Log::default(), &Countdown::new(1))
            .data(move |_, _, data| *all.borrow_mut() = data.to_vec());
        let process = reactor
            .spawn_process(&crate::child(Role::Echo), protocol)
            .expect("it starts");
        let child = EchoingChild { process, output };
        child.await_output(reactor, READY);
        child
    }

    /// Sends it `data`, and makes turns until that is back.
    fn serve(&self, reactor: &Reactor, data: &[u8]) {
        self.process.write(data);
        self.await_output(reactor, data);
    }

    /// Makes turns until its output ends in `end`.
    fn await_output(&self, reactor: &Reactor, end: &[u8]) {
        while !self.output.borrow().ends_with(end) {
            reactor.iterate(LONG).expect("it runs");
        }
    }
}

/// Goal: listeners, a connection, delayed calls, remotes and work on threads all go on in the child.
#[test]
fn a_daemon_takes_its_reactor_along() {
    alone(module_path!(), "a_daemon_takes_its_reactor_along", || {
        for used_before in [false, true] {
            let reactor = reactor();
            let listener = reactor.listen_tcp(any_port(), |_| Echo).expect("a port");
            let mut client = connect(&listener);
            if used_before {
                client = serve(&reactor, client, b"before the fork");
                reactor.defer_to_thread(|| (), |_, _| ());
            }
            let mut clients = Some((client, connect(&listener)));
            let remote = reactor.remote();
            let calls = Rc::new(Cell::new(0));
            let count = Rc::clone(&calls);
            reactor.call_later(Duration::from_millis(1), move |reactor| {
                count.set(count.get() + 1);
                // The turn has done its work and must not wait.
                reactor.crash();
            });
            reactor.before_fork().expect("it can be suspended");
            assert!(
                reactor.iterate(None).is_err(),
                "it makes no turns meanwhile"
            );
            let mut owner = Some(reactor);
            let child = fork(|| {
                let reactor = owner.take().expect("it exists");
                reactor.after_fork().expect("the port resumes");
                // The parent's ends must be the only ones.
                drop(clients.take());
                let count = Rc::clone(&calls);
                reactor.defer_to_thread(
                    || 10,
                    move |_, done| {
                        count.set(count.get() + done.expect("there is a thread"));
                    },
                );
                std::thread::scope(|scope| {
                    let called = scope.spawn(|| remote.call(|_| ()));
                    called.join().expect("no panic").expect("the call is made");
                });
                let over =
                    |metrics: &Metrics| metrics.accepted == 2 && metrics.living.transports == 0;
                while !over(&reactor.metrics()) || calls.get() < 11 {
                    reactor.iterate(LONG).expect("it runs");
                }
                assert!(reactor.metrics().remote_calls > 0);
                assert_eq!(reactor.metrics().panics, 0);
            });
            let reactor = owner.expect("the child had a copy");
            let (mut client, mut later) = clients.expect("the child had copies");
            drop((reactor, listener));
            echoed(&mut client, b"an old connection");
            echoed(&mut later, b"a new connection");
            drop((client, later));
            join(child);
        }
    });
}

/// Goal: a child that leaks the reactor, or drops it, ends nothing of the parent.
#[test]
fn a_copy_that_is_dropped_kills_and_closes_nothing() {
    alone(
        module_path!(),
        "a_copy_that_is_dropped_kills_and_closes_nothing",
        || {
            let reactor = reactor();
            let listener = reactor.listen_tcp(any_port(), |_| Echo).expect("a port");
            let client = serve(&reactor, connect(&listener), b"before the fork");
            let child = EchoingChild::start(&reactor);
            let mut owner = Some(reactor);
            join(fork(|| {
                let reactor = owner.take().expect("it exists");
                assert!(reactor.iterate(None).is_err(), "it is another process's");
                drop(reactor);
            }));
            let reactor = owner.expect("the child had a copy");
            serve(&reactor, client, b"after the fork");
            child.serve(&reactor, b"and the child");
            drop(reactor);
        },
    );
}

/// The parts of the original that a copy could harm.
struct Parts {
    listener: Listener,
    server: Transport,
    process: Process,
    watch: tidewaiter::Watch,
    remote: Remote,
    adopter: Adopter,
}

/// Makes every call with which a copy could do harm.
fn use_all(reactor: &Reactor, parts: &Parts) {
    let address = parts.listener.local_addr();
    refuse_reactor_calls(reactor, parts);
    let Parts {
        listener,
        server,
        process,
        watch,
        ..
    } = parts;
    assert!(server.local_addr().is_err() && server.raw_descriptor().is_none());
    assert!(server.set_no_delay(true).is_err());
    assert!(server.set_keep_alive(Some(LONG)).is_err());
    server.pause_producing();
    server.write(b"small");
    server.write(&[b'x'; 100_000]);
    server.write_bytes(vec![b'x'; 100_000]);
    server.lose_write_connection();
    server.resume_producing();
    server.close_connection_now();
    server.abort_connection();
    for target in [SignalTarget::Tree, SignalTarget::Process] {
        let signalled = process.signal(Signal::Kill, target);
        let error = signalled.expect_err("it is the original's child");
        assert_eq!(error.kind(), ErrorKind::ResourceBusy);
    }
    assert!(process.terminate().is_err() && process.kill().is_err());
    process.write(b"from the copy");
    process.lose_connection();
    assert!(watch.set_interest(Interest::NONE).is_err());
    watch.stop();
    listener.pause_accepting();
    listener.resume_accepting();
    assert!(listener.raw_descriptor().is_none());
    listener.stop_listening();
    reactor.connect_tcp(address, |_| Echo);
    reactor.call_later(Duration::ZERO, |_| unreachable!("a copy makes no turns"));
    reactor.defer_to_thread(
        || unreachable!("a copy starts no threads"),
        |_, _: Result<(), _>| unreachable!("a copy makes no turns"),
    );
    parts.remote.wake();
    reactor.stop();
    assert!(reactor.iterate(None).is_err());
}

fn refuse_reactor_calls(reactor: &Reactor, parts: &Parts) {
    fn assert_busy(call: &str, result: Result<(), Error>) {
        let error = result.expect_err(call);
        let cause = std::error::Error::source(&error).expect(call);
        let cause = cause.downcast_ref::<std::io::Error>().expect(call);
        assert_eq!(cause.kind(), ErrorKind::ResourceBusy, "{call}: {error}");
    }
    fn socket() -> Socket {
        let (socket, _) = UnixStream::pair().expect("descriptors are free");
        Socket::from(OwnedFd::from(socket))
    }
    let peer = any_port();
    assert_busy("run", reactor.run().map(drop));
    assert_busy("iterate", reactor.iterate(None));
    assert_busy("before_fork", reactor.before_fork());
    assert!(reactor.after_fork().is_err());
    let listening = reactor.listen_tcp(any_port(), |_| Echo);
    assert_busy("listen_tcp", listening.map(drop));
    let std_listener = TcpListener::bind(any_port()).expect("a port is free");
    let listening = reactor.listen_on(std_listener, |_| Echo);
    assert_busy("listen_on", listening.map(drop));
    let adopted = reactor.adopt_stream(socket(), peer, Echo);
    assert_busy("adopt_stream", adopted.map(drop));
    let watched = reactor.watch(0, Interest::READABLE, |_, _| ());
    assert_busy("watch", watched.map(drop));
    let watched = reactor.watch_handle(0, |_| ());
    assert_busy("watch_handle", watched.map(drop));
    let adopted = parts.adopter.adopt_stream(socket(), peer);
    assert_busy("Adopter::adopt_stream", adopted);
    assert_busy("Remote::call", parts.remote.call(|_| ()));
    assert_busy("Remote::stop", parts.remote.stop());
    let watch = Watch::new(&Log::default(), &Countdown::new(1));
    let spawned = reactor.spawn_process(&crate::child(Role::Echo), watch);
    let error = spawned.expect_err("spawn_process");
    assert_eq!(error.source.kind(), ErrorKind::ResourceBusy);
}

/// Listens, sends back what it receives, and notes each transport.
fn noting(reactor: &Reactor, transports: &Rc<RefCell<Vec<Transport>>>) -> Listener {
    let transports = Rc::clone(transports);
    let listener = reactor.listen_tcp(any_port(), move |_| {
        let made = Rc::clone(&transports);
        Script::new()
            .made(move |transport| made.borrow_mut().push(transport.clone()))
            .data(Transport::write)
    });
    listener.expect("a port")
}

/// Goal: every call on a copy is refused or does nothing: the original's connection, child, watch and listener
/// go on.
#[test]
fn every_call_on_a_copy_is_refused_and_harmless() {
    alone(
        module_path!(),
        "every_call_on_a_copy_is_refused_and_harmless",
        || {
            let reactor = reactor();
            let transports = Rc::new(RefCell::new(Vec::new()));
            let listener = noting(&reactor, &transports);
            let client = serve(&reactor, connect(&listener), b"before the fork");
            let child = EchoingChild::start(&reactor);
            let (watched, mut other) = UnixStream::pair().expect("descriptors are free");
            let ready = Rc::new(Cell::new(false));
            let seen = Rc::clone(&ready);
            let watch = reactor
                .watch(watched.as_raw_fd(), Interest::READABLE, move |_, _| {
                    seen.set(true);
                })
                .expect("a socket can be watched");
            let parts = Parts {
                server: transports.borrow()[0].clone(),
                remote: reactor.remote(),
                adopter: reactor.adopter(|_| Echo).expect("it runs"),
                listener: listener.clone(),
                process: child.process.clone(),
                watch,
            };
            let mut owner = Some(reactor);
            join(fork(|| {
                let reactor = owner.take().expect("it exists");
                use_all(&reactor, &parts);
                drop(reactor);
                // The program keeps the transports and the child beyond the reactor.
                parts.server.abort_connection();
                assert!(parts.process.kill().is_err());
            }));
            let reactor = owner.expect("the child had a copy");
            let (begun, still) = (Instant::now(), Duration::from_millis(20));
            reactor.iterate(still).expect("it runs");
            assert!(begun.elapsed() >= still, "nothing woke it");
            assert!(!ready.get() && child.process.status().is_none());
            serve(&reactor, client, b"after the fork");
            child.serve(&reactor, b"and the child");
            serve(&reactor, connect(&listener), b"and the listener");
            other.write_all(b"and the watch").expect("it is connected");
            while !ready.get() {
                reactor.iterate(LONG).expect("it runs");
            }
            assert_eq!(reactor.metrics().panics, 0);
        },
    );
}

/// Goal: a copy of a group has no threads to wait for.
#[test]
fn a_copy_of_a_group_waits_for_no_thread() {
    alone(
        module_path!(),
        "a_copy_of_a_group_waits_for_no_thread",
        || {
            let builder = Reactor::builder().signals(false);
            let group = ReactorGroup::start(2, &builder).expect("threads");
            let mut group = Some(group);
            for joins in [true, false] {
                join(fork(|| {
                    let group = group.take().expect("it exists");
                    group.stop();
                    assert!(group.listen(any_port(), |_| |_| Echo).is_err());
                    if joins {
                        assert!(matches!(group.join(), Err(Error::Port(_))));
                    }
                }));
            }
            let group = group.expect("the child had a copy");
            let listener = group.listen(any_port(), |_| |_| Echo).expect("a port");
            let mut client = TcpStream::connect(listener.local_addr()).expect("it listens");
            echoed(&mut client, b"it lives");
            group.stop();
            group.join().expect("it stops");
        },
    );
}
