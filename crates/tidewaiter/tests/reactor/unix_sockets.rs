//! UNIX sockets: streams to and from addresses in the file system and abstract names.

use std::cell::{Cell, RefCell};
use std::io::ErrorKind;
use std::path::Path;
use std::rc::Rc;

use socket2::{Domain, SockAddr, Socket, Type};
use tidewaiter::bytes::Bytes;
use tidewaiter::io::{Listener, Stream, copy_bidirectional};
use tidewaiter::{Address, ConnectError, Error, Factory, Protocol, Reactor, UnixAddress};

use super::promises::io_support::{self, check};
use super::promises::support::{
    Countdown, Echo, Log, Script, Silent, any_port, pattern, reactor, run_clean,
};
use crate::support::folder::Folder;
use crate::support::unix_sockets::has_unix_sockets;

/// Addresses of both kinds, with the folder of the first.
fn addresses() -> (Folder, Vec<UnixAddress>) {
    let folder = Folder::new();
    let mut addresses = vec![folder.socket("a")];
    let name = folder.path().to_string_lossy();
    // Only Linux has abstract names.
    addresses.extend(UnixAddress::from_abstract_name(name.as_bytes()));
    (folder, addresses)
}

#[test]
fn an_echo_comes_back_whole_over_a_path_and_an_abstract_name() {
    if !has_unix_sockets() {
        return;
    }
    let (_folder, addresses) = addresses();
    for address in addresses {
        let (reactor, countdown) = (reactor(), Countdown::new(1));
        let factory = |peer: Address| {
            let unnamed = Address::from(UnixAddress::unnamed());
            assert_eq!(peer, unnamed, "the client has no name");
            Echo
        };
        let listener = reactor
            .listen_unix(address.clone(), factory)
            .expect("a free address");
        assert_eq!(listener.local_addr(), address.clone().into());
        let message = pattern(3_000_000);
        let (sent, answer) = (message.clone(), RefCell::new(Vec::new()));
        let peer = address.clone();
        let client = Script::new()
            .made(move |transport| {
                assert_eq!(transport.peer_addr(), Some(peer.clone().into()));
                let own = transport.local_addr().expect("it is open");
                assert_eq!(own, UnixAddress::unnamed().into());
                transport.write(&sent);
            })
            .data(move |transport, data| {
                answer.borrow_mut().extend_from_slice(data);
                if answer.borrow().len() == message.len() {
                    assert!(*answer.borrow() == message);
                    transport.lose_connection();
                }
            })
            .then_done(&countdown);
        let client = Cell::new(Some(client));
        reactor.connect_unix(address, move |_| client.take().expect("connected once"));
        run_clean(&reactor);
    }
}

#[test]
fn each_side_of_a_unix_socket_ends_its_writing_and_still_receives() {
    if !has_unix_sockets() {
        return;
    }
    let folder = Folder::new();
    let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(2));
    let side = |name: &'static str| {
        let log = log.clone();
        Script::new()
            .made(|transport| {
                transport.write(b"hello");
                transport.lose_write_connection();
            })
            .data(move |_, data| log.add(format!("{name}: {}", String::from_utf8_lossy(data))))
            .then_done(&countdown)
    };
    let (client, server) = (
        Cell::new(Some(side("client"))),
        Cell::new(Some(side("server"))),
    );
    let listener = reactor.listen(folder.socket("a"), move |_| {
        server.take().expect("one connection only")
    });
    let address = listener.expect("a free path").local_addr();
    reactor.connect(address, move |_| client.take().expect("connected once"));
    run_clean(&reactor);
    let mut events = log.take();
    events.sort();
    assert_eq!(events, ["client: hello", "server: hello"]);
}

#[test]
fn a_tcp_connection_is_joined_to_a_unix_socket() {
    const BYTES: usize = 2 << 20;
    if !has_unix_sockets() {
        return;
    }
    let folder = Folder::new();
    let reactor = reactor();
    check(&reactor, async {
        let (client, mut front) = io_support::pair(&reactor).await;
        let mut listener = Listener::bind(&reactor, folder.socket("a")).unwrap();
        let address = listener.local_addr();
        let mut back = Stream::connect(&reactor, address).await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        let copying = reactor.spawn(async move {
            let copied = copy_bidirectional(&mut front, &mut back).await;
            (copied, front, back)
        });
        let (mut reads, mut writes) = client.split();
        let writing = reactor.spawn(async move {
            let mut bytes = Bytes::from(pattern(BYTES));
            writes.write_all_buf(&mut bytes).await.unwrap();
            writes.shutdown().await.unwrap();
        });
        let mut request = Vec::new();
        server.read_to_end(&mut request).await.unwrap();
        assert!(request == pattern(BYTES), "{} bytes", request.len());
        writing.await.unwrap();
        server.write_all(b"thanks").await.unwrap();
        drop(server);
        let mut answer = Vec::new();
        reads.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"thanks");
        let (copied, _front, _back) = copying.await.unwrap();
        assert_eq!(copied.unwrap(), (BYTES as u64, 6));
    });
}

/// A factory that keeps why connecting failed, and stops the reactor.
#[derive(Clone, Default)]
struct Failing(Rc<RefCell<Option<ConnectError>>>);

impl Factory for Failing {
    fn build_protocol(&mut self, _: Address) -> Option<Box<dyn Protocol>> {
        panic!("nobody listens");
    }

    fn connection_failed(&mut self, reactor: &Reactor, error: ConnectError) {
        self.0.replace(Some(error));
        reactor.stop();
    }
}

/// Leaves the file of a server that has died.
fn leave_dead(path: &Path) {
    let server = Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
    let address = SockAddr::unix(path).expect("a short path");
    // It does not listen: a child that another test has just forked may hold a copy of it, until its program starts.
    server.bind(&address).expect("a free path");
}

/// Returns why connecting fails.
fn failure(connect: impl FnOnce(&Reactor, Failing)) -> ConnectError {
    let (reactor, failing) = (reactor(), Failing::default());
    connect(&reactor, failing.clone());
    run_clean(&reactor);
    failing.0.take().expect("it failed")
}

#[test]
fn connecting_to_nobody_fails_with_the_oss_reason() {
    if !has_unix_sockets() {
        return;
    }
    let folder = Folder::new();
    let missing = folder.socket("missing");
    let error = failure(|reactor, failing| drop(reactor.connect_unix(missing.clone(), failing)));
    let is_missing = matches!(&error, ConnectError::Os { address, source }
        if *address == missing.clone().into() && source.kind() == ErrorKind::NotFound);
    // Windows does not tell a path without a file from one without a server.
    let is_refused = cfg!(windows) && matches!(error, ConnectError::Refused { .. });
    assert!(is_missing || is_refused, "{error}");

    let dead = folder.socket("dead");
    if crate::SIMULATED {
        // The file of a socket goes with it there.
        return;
    }
    let path = dead.as_pathname().expect("a path");
    leave_dead(path);
    let error = failure(|reactor, failing| drop(reactor.connect_unix(dead, failing)));
    assert!(matches!(error, ConnectError::Refused { .. }), "{error}");
}

#[test]
fn addresses_of_another_kind_than_the_call_names_are_refused() {
    if !has_unix_sockets() {
        return;
    }
    let folder = Folder::new();
    let unix = folder.socket("a");
    let reactor = reactor();
    let refused = [
        reactor.listen_tcp(unix.clone(), |_| Silent),
        reactor.listen_unix(any_port(), |_| Silent),
    ];
    for refused in refused {
        let error = refused.expect_err("the wrong kind");
        assert!(
            matches!(&error, Error::Listen { source, .. }
            if source.kind() == ErrorKind::InvalidInput),
            "{error}"
        );
    }
    let refused = [
        failure(|reactor, failing| drop(reactor.connect_tcp(unix, failing))),
        failure(|reactor, failing| drop(reactor.connect_unix(any_port(), failing))),
    ];
    for error in refused {
        assert!(
            matches!(&error, ConnectError::Os { source, .. }
            if source.kind() == ErrorKind::InvalidInput),
            "{error}"
        );
    }
}

/// Goal: clients that come faster than the server accepts wait, as they do with TCP.
#[test]
fn a_client_waits_for_room_in_the_backlog() {
    const CLIENTS: usize = 20;
    if cfg!(windows) {
        // It refuses clients for which there is no room.
        return;
    }
    let folder = Folder::new();
    let (reactor, countdown) = (reactor(), Countdown::new(CLIENTS));
    let mut options = tidewaiter::port::ListenOptions::new(folder.socket("a"));
    options.backlog = 1;
    options.one_at_a_time = true;
    let listener = reactor.listen_unix(options, move |_| {
        let countdown = countdown.clone();
        Script::new().made(move |transport| countdown.hit(transport.reactor()))
    });
    let listener = listener.expect("a free path");
    listener.pause_accepting();
    for _ in 0..CLIENTS {
        reactor.connect(listener.local_addr(), |_| Silent);
    }
    reactor.call_later(std::time::Duration::from_millis(30), move |_| {
        listener.resume_accepting();
    });
    run_clean(&reactor);
}

/// Goal: an attempt that finds no room in the backlog fails at its time limit. Systems count the room differently.
#[test]
fn a_full_backlog_ends_an_attempt_at_its_time_limit() {
    const CLIENTS: usize = 20;
    if cfg!(windows) {
        // It refuses clients for which there is no room.
        return;
    }
    let folder = Folder::new();
    let (reactor, log) = (reactor(), Log::default());
    let mut options = tidewaiter::port::ListenOptions::new(folder.socket("a"));
    options.backlog = 1;
    options.one_at_a_time = true;
    let listener = reactor.listen_unix(options, |_| Silent);
    listener.expect("a free path").pause_accepting();
    let countdown = Countdown::new(CLIENTS);
    // The first has all the time it needs: on a busy machine, there might be room for none.
    for limit in [60_000].into_iter().chain([50; CLIENTS - 1]) {
        let limited = tidewaiter::ConnectOptions::from(folder.socket("a"));
        let limited = limited.timeout(std::time::Duration::from_millis(limit));
        reactor.connect_unix(limited, Attempt(log.clone(), countdown.clone()));
    }
    run_clean(&reactor);
    let outcomes = log.take();
    let failed = outcomes
        .iter()
        .filter(|outcome| *outcome == "no room")
        .count();
    assert!((1..CLIENTS).contains(&failed), "{outcomes:?}");
}

/// A client that notes whether there was room for it.
struct Attempt(Log, Countdown);

impl Factory for Attempt {
    fn build_protocol(&mut self, _: Address) -> Option<Box<dyn Protocol>> {
        let countdown = self.1.clone();
        self.0.add("room");
        let client = Script::new().made(move |transport| countdown.hit(transport.reactor()));
        Some(Box::new(client))
    }

    fn connection_failed(&mut self, reactor: &Reactor, error: ConnectError) {
        assert!(
            matches!(
                error,
                ConnectError::TimedOut { .. } | ConnectError::Refused { .. }
            ),
            "{error}"
        );
        self.0.add("no room");
        self.1.hit(reactor);
    }
}

/// Goal: a client whose own path is as long as the OS takes, a byte longer than ours may be, is served as any other.
#[cfg(unix)]
#[test]
fn a_client_with_the_longest_path_is_served() {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};

    if crate::SIMULATED {
        // The client is a socket of the OS.
        return;
    }
    let folder = Folder::new();
    let (reactor, countdown) = (reactor(), Countdown::new(1));
    let server = folder.socket("a");
    let start = folder.path().to_str().expect("plain text").to_owned() + "/";
    // As long as possible: systems differ by a few bytes.
    let own = (0..=200).rev().find_map(|length: usize| {
        let name = start.clone() + &"x".repeat(length.checked_sub(start.len())?);
        SocketAddrUnix::new(name).ok()
    });
    let listener = reactor.listen_unix(server.clone(), move |peer: Address| {
        let countdown = countdown.clone();
        assert!(peer.to_string().contains("xx"), "{peer}");
        Script::new().made(move |transport| countdown.hit(transport.reactor()))
    });
    listener.expect("a free path");
    let client = rustix::net::socket(AddressFamily::UNIX, SocketType::STREAM, None);
    let client = client.expect("a socket");
    rustix::net::bind(&client, &own.expect("a path of some length")).expect("a free path");
    let path = server.as_pathname().expect("a path");
    let to = SocketAddrUnix::new(path).expect("a short path");
    rustix::net::connect(&client, &to).expect("it listens");
    run_clean(&reactor);
}
