//! Reactors, and processes that fork.

use std::cell::{Cell, RefCell};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::rc::Rc;
use std::time::Duration;

use tidewaiter::{Listener, Metrics, Reactor};

use crate::promises::processes::Watch;
use crate::promises::support::{Countdown, Echo, Log, any_port, reactor};
use crate::support::alone::alone;
use crate::support::roles::{READY, Role};
use crate::support::system::{fork, join};

/// Longer than anything here takes; only a failure waits for it.
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

/// Turns until `client` has been answered, which another thread asks for.
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
                // The turn has what it was made for: it is not to wait.
                reactor.crash();
            });
            reactor.before_fork().expect("it can be suspended");
            assert!(
                reactor.iterate(None).is_err(),
                "it makes no turns meanwhile"
            );
            let mut owner = Some(reactor);
            let child = fork(|| {
                let reactor = owner.take().expect("it is there");
                reactor.after_fork().expect("it can go on");
                // The parent's ends are to be the only ones.
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
                    called.join().expect("no panic").expect("it is heard");
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

/// Goal: a child that forgets the reactor, or drops it, ends nothing of the parent's.
#[test]
fn a_copy_that_is_dropped_kills_and_closes_nothing() {
    alone(
        module_path!(),
        "a_copy_that_is_dropped_kills_and_closes_nothing",
        || {
            let reactor = reactor();
            let listener = reactor.listen_tcp(any_port(), |_| Echo).expect("a port");
            let client = serve(&reactor, connect(&listener), b"before the fork");
            let output = Rc::new(RefCell::new(Vec::new()));
            let all = Rc::clone(&output);
            let watch = Watch::new(&Log::default(), &Countdown::new(1))
                .data(move |_, _, data| *all.borrow_mut() = data.to_vec());
            let process = reactor
                .spawn_process(&crate::child(Role::Echo), watch)
                .expect("it starts");
            let until = |reactor: &Reactor, end: &[u8]| {
                while !output.borrow().ends_with(end) {
                    reactor.iterate(LONG).expect("it runs");
                }
            };
            until(&reactor, READY);
            let mut owner = Some(reactor);
            join(fork(|| {
                let reactor = owner.take().expect("it is there");
                assert!(reactor.iterate(None).is_err(), "it is another process's");
                drop(reactor);
            }));
            let reactor = owner.expect("the child had a copy");
            serve(&reactor, client, b"after the fork");
            process.write(b"and the child");
            until(&reactor, b"and the child");
            drop(reactor);
        },
    );
}
