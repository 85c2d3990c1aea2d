//! Reactors on several threads, and the listeners that they share.

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};
use std::time::Duration;

use tidewaiter::io::Stream;
use tidewaiter::port::PortKind;
use tidewaiter::port::sim::Sim;
use tidewaiter::{
    Address, Error, Factory, GroupListener, Protocol, Reactor, ReactorBuilder, ReactorGroup,
    Transport,
};

/// Far longer than any step of these tests takes: a test that waits this long fails.
const PATIENCE: Duration = Duration::from_secs(60);

const THREADS: usize = 3;

/// Tells each client which thread serves it, and then waits for the client to close.
struct Number(usize);

impl Protocol for Number {
    fn connection_made(&mut self, transport: &Transport) {
        let number = u8::try_from(self.0).expect("there are few threads");
        transport.write(&[number]);
    }

    fn data_received(&mut self, _: &Transport, _: &[u8]) {}
}

/// The default port, without signal handling: a signal would reach the groups of all tests.
fn builder() -> ReactorBuilder {
    Reactor::builder().signals(false)
}

fn start() -> ReactorGroup {
    ReactorGroup::start(THREADS, &builder()).expect("the group starts")
}

fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

fn numbering(thread: usize) -> impl Factory {
    move |_| Number(thread)
}

/// Connects, and returns the number of the thread that answered.
fn connect(address: impl ToSocketAddrs) -> (TcpStream, usize) {
    let mut client = TcpStream::connect(address).expect("the server listens");
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut number = [0];
    client.read_exact(&mut number).expect("a thread answers");
    (client, number[0].into())
}

#[test]
fn connections_are_spread_over_the_threads() {
    let group = start();
    let listener = group.listen(any_port(), numbering).unwrap();
    // Each thread's share is a third. The chance that all 200 connections miss two of the threads is 3^-199.
    let clients: Vec<_> = (0..200).map(|_| connect(listener.local_addr())).collect();
    let served: BTreeSet<usize> = clients.iter().map(|(_, thread)| *thread).collect();
    assert!(served.len() >= 2, "only {served:?} served");
    assert!(served.iter().all(|thread| *thread < THREADS));
    group.stop();
    group.join().unwrap();
}

#[test]
fn handed_over_connections_are_distributed_in_turn() {
    let group = start();
    let listener = group.listen_handing_over(any_port(), numbering).unwrap();
    let clients: Vec<_> = (0..4 * THREADS)
        .map(|_| connect(listener.local_addr()))
        .collect();
    for (count, (_, thread)) in clients.iter().enumerate() {
        assert_eq!(*thread, count % THREADS);
    }
    // Each client was answered, so each connection has been counted.
    let (note, noted) = mpsc::channel();
    for remote in group.remotes() {
        let note = note.clone();
        let look = move |reactor: &Reactor| {
            let metrics = reactor.metrics();
            note.send((metrics.accepted, metrics.adopted)).unwrap();
        };
        remote.call(look).unwrap();
    }
    let mut counts: Vec<_> = (0..THREADS).map(|_| noted.recv().unwrap()).collect();
    counts.sort_unstable();
    assert_eq!(counts, [(0, 4), (0, 4), (12, 4)]);
}

/// Goal: UNIX sockets, which the kernel does not spread, are spread by the group.
#[cfg(unix)]
#[test]
fn connections_of_a_unix_socket_are_spread() {
    let group = start();
    let path = std::env::temp_dir().join(format!("tw-group-{}", std::process::id()));
    let address = tidewaiter::UnixAddress::from_pathname(&path).unwrap();
    let listener = group.listen(address, numbering).unwrap();
    for count in 0..2 * THREADS {
        let mut client = std::os::unix::net::UnixStream::connect(&path).unwrap();
        let mut number = [0];
        client.read_exact(&mut number).unwrap();
        assert_eq!(usize::from(number[0]), count % THREADS);
    }
    listener.stop_listening();
    group.stop();
    group.join().unwrap();
    assert!(!path.exists(), "the listener removes its file");
}

#[test]
fn tasks_serve_the_connections_each_on_one_thread_and_a_panic_costs_one_connection() {
    let group = start();
    let listener = group.serve(any_port(), |mut stream: Stream, _peer| async move {
        let here = thread::current().id();
        let mut word = [0; 5];
        stream.read_exact(&mut word).await?;
        assert!(&word != b"panic", "a deliberate panic");
        assert_eq!(thread::current().id(), here, "a task stays on its thread");
        let name = thread::current().name().unwrap().to_owned();
        stream.write_all(name.as_bytes()).await
    });
    let address = listener.unwrap().local_addr();
    let talk = |word: &[u8]| {
        let mut client = TcpStream::connect(address.clone()).unwrap();
        client.write_all(word).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        std::io::read_to_string(client).unwrap()
    };
    for word in ["panic", "hi"] {
        assert_eq!(talk(word.as_bytes()), "", "it is closed, without an answer");
    }
    for _ in 0..2 * THREADS {
        let name = talk(b"hello");
        assert!(name.starts_with("reactor "), "{name}");
    }
    group.stop();
    group.join().unwrap();
}

type Listen = fn(&ReactorGroup, SocketAddr, Made) -> Result<GroupListener, Error>;
type Made = Arc<Mutex<Vec<(usize, ThreadId)>>>;

/// Both ways of sharing a listener, with factories that note on which thread they were made.
const WAYS: [Listen; 2] = [
    |group, address, made| group.listen(address, noting(made)),
    |group, address, made| group.listen_handing_over(address, noting(made)),
];

fn noting(made: Made) -> impl Fn(usize) -> Box<dyn FnMut(Address) -> Number> + Send + Sync {
    move |thread| {
        let here = thread::current().id();
        made.lock().unwrap().push((thread, here));
        Box::new(move |_| {
            assert_eq!(thread::current().id(), here);
            Number(thread)
        })
    }
}

#[test]
fn a_factory_is_made_once_on_each_thread_and_used_there() {
    for listen in WAYS {
        let (group, made) = (start(), Made::default());
        let listener = listen(&group, any_port(), Arc::clone(&made)).unwrap();
        for _ in 0..20 {
            connect(listener.local_addr());
        }
        drop(group);
        let made = made.lock().unwrap();
        let numbers: Vec<usize> = made.iter().map(|(thread, _)| *thread).collect();
        assert_eq!(numbers, Vec::from_iter(0..THREADS));
        for (count, (_, id)) in made.iter().enumerate() {
            assert!(made[..count].iter().all(|(_, other)| other != id));
        }
    }
}

#[test]
fn a_reactor_that_stops_stops_all_and_closes_their_listeners() {
    let group = start();
    let listener = group.listen(any_port(), numbering).unwrap();
    let clients: Vec<_> = (0..20).map(|_| connect(listener.local_addr())).collect();
    let remotes = group.remotes().to_vec();
    assert_eq!(remotes.len(), THREADS);
    remotes[1].stop().unwrap();
    group.join().unwrap();
    for remote in remotes {
        assert!(matches!(remote.call(|_| ()), Err(Error::Stopped)));
    }
    for (mut client, _) in clients {
        assert_eq!(client.read(&mut [0]).expect("it was closed in order"), 0);
    }
    let error = TcpStream::connect(listener.local_addr()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn stop_listening_closes_every_socket_drops_the_factories_and_spares_connections() {
    /// A factory that shows when it is dropped.
    struct Living(
        usize,
        #[expect(dead_code, reason = "its end is what counts")] mpsc::Sender<()>,
    );

    impl Factory for Living {
        fn build_protocol(&mut self, _: Address) -> Option<Box<dyn Protocol>> {
            Some(Box::new(Number(self.0)))
        }
    }

    let group = start();
    for sharing in [true, false] {
        let (alive, ended) = mpsc::channel();
        let alive = Mutex::new(alive);
        let make = move |thread| Living(thread, alive.lock().unwrap().clone());
        let listener = if sharing {
            group.listen(any_port(), make)
        } else {
            group.listen_handing_over(any_port(), make)
        };
        let listener = listener.unwrap();
        let (mut client, _) = connect(listener.local_addr());
        listener.stop_listening();
        let gone = ended.recv_timeout(PATIENCE).unwrap_err();
        assert_eq!(gone, RecvTimeoutError::Disconnected);
        let error = TcpStream::connect(listener.local_addr()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        client.set_nonblocking(true).unwrap();
        let error = client.read(&mut [0]).expect_err("it lives on");
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
    }
}

#[test]
fn a_port_that_is_taken_is_reported_and_the_group_goes_on() {
    let (group, taken) = (start(), TcpListener::bind(any_port()).unwrap());
    let address = taken.local_addr().unwrap();
    for listen in WAYS {
        let error = listen(&group, address, Made::default()).unwrap_err();
        let Error::Listen {
            address: at,
            source,
        } = error
        else {
            panic!("{error:?}");
        };
        assert_eq!((at, source.kind()), (address.into(), ErrorKind::AddrInUse));
    }
    drop(taken);
    let listener = group.listen(address, numbering).unwrap();
    connect(listener.local_addr());
}

#[test]
fn a_group_of_one_does_not_share_its_port() {
    let group = ReactorGroup::start(0, &builder()).unwrap();
    assert_eq!(group.remotes().len(), 1);
    let listener = group.listen(any_port(), numbering).unwrap();
    let error = group.listen(listener.local_addr(), numbering);
    assert!(matches!(error, Err(Error::Listen { .. })), "{error:?}");
    connect(listener.local_addr());
}

#[test]
fn a_panic_of_the_closure_that_makes_factories_reaches_the_caller() {
    let group = start();
    let listen = || {
        group.listen(any_port(), |thread| {
            assert_ne!(thread, 1, "a deliberate panic");
            numbering(thread)
        })
    };
    assert!(catch_unwind(AssertUnwindSafe(listen)).is_err());
    let listener = group.listen(any_port(), numbering).unwrap();
    connect(listener.local_addr());
    group.stop();
    group.join().unwrap();
}

#[test]
fn a_call_from_one_of_its_own_threads_is_refused_and_the_group_may_end_there() {
    let group = Arc::new(start());
    let (inside, remote) = (Arc::clone(&group), group.remotes()[0].clone());
    let (answer, answers) = mpsc::channel();
    remote
        .call(move |_| {
            // The last clone of the group is dropped here, after the test has dropped its own.
            while Arc::strong_count(&inside) > 1 {
                thread::yield_now();
            }
            answer.send(inside.listen(any_port(), numbering)).unwrap();
        })
        .unwrap();
    drop(group);
    let refused = answers.recv_timeout(PATIENCE).unwrap();
    assert!(matches!(refused, Err(Error::Running)), "{refused:?}");
}

#[test]
fn a_reactor_that_cannot_be_made_is_reported_by_start() {
    let kind = if cfg!(windows) {
        PortKind::Uring
    } else {
        PortKind::Iocp
    };
    let refused = ReactorGroup::start(THREADS, &builder().port(kind));
    assert!(matches!(refused, Err(Error::Port(_))), "{refused:?}");
}

#[test]
fn a_reactor_that_fails_is_reported_by_join() {
    // A simulated port refuses to wait when nothing can end the wait.
    let builder = builder().simulation(&Sim::new(1));
    let group = ReactorGroup::start(1, &builder).unwrap();
    let failed = group.join();
    assert!(matches!(failed, Err(Error::Port(_))), "{failed:?}");
}

#[cfg(unix)]
#[test]
fn a_signal_reaches_every_reactor_and_ends_the_group() {
    use rustix::process::{Signal, getpid, kill_process};

    let group = ReactorGroup::start(THREADS, &Reactor::builder()).unwrap();
    let (report, reports) = mpsc::channel();
    for (thread, remote) in group.remotes().iter().enumerate() {
        let (set, report) = (report.clone(), report.clone());
        let watch = move |reactor: &Reactor| {
            // The callback does not stop its reactor: a reactor that stops also stops the others.
            reactor.on_signal(move |_, _| report.send(thread).unwrap());
            set.send(thread).unwrap();
        };
        remote.call(watch).unwrap();
    }
    let all = || -> BTreeSet<usize> {
        let next = |_| reports.recv_timeout(PATIENCE).unwrap();
        (0..THREADS).map(next).collect()
    };
    assert_eq!(all().len(), THREADS, "each has its callback");
    kill_process(getpid(), Signal::TERM).unwrap();
    assert_eq!(all().len(), THREADS, "each got the signal");
    drop(group);

    let group = ReactorGroup::start(THREADS, &Reactor::builder()).unwrap();
    kill_process(getpid(), Signal::TERM).unwrap();
    group.join().unwrap();
}
