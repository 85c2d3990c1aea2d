//! Tests of the examples.
//!
//! The examples are compiled into this file, so that the tests run the code that the documentation shows. Those that end by
//! themselves are in `example_programs.rs`.
#![allow(
    dead_code,
    reason = "the tests do not call the `main` of every example"
)]

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tidewaiter::port::sim::Sim;
use tidewaiter::{Address, Protocol, Reactor, Reason, Transport};

#[path = "../examples/async_chat.rs"]
mod async_chat;
#[path = "../examples/directory.rs"]
mod directory;
#[path = "../examples/echo.rs"]
mod echo;
#[path = "../examples/file_server.rs"]
mod file_server;
#[path = "../examples/proxy.rs"]
mod proxy;
#[path = "../examples/serial.rs"]
mod serial;
#[path = "../examples/several_reactors.rs"]
mod several_reactors;
#[path = "../examples/watch.rs"]
mod watch;

/// An address at which nobody listens: no OS assigns this port.
const DESERTED: &str = "127.0.0.1:1";

fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// Sends `request`, ends its side, and returns the whole answer.
fn talk(address: Address, request: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).expect("the server listens");
    let mut writer = stream.try_clone().expect("a stream is shared");
    thread::scope(|scope| {
        scope.spawn(move || {
            writer.write_all(request).expect("the other side reads");
            writer.shutdown(Shutdown::Write).expect("it still does");
        });
        let mut answer = Vec::new();
        stream
            .read_to_end(&mut answer)
            .expect("the end comes in order");
        answer
    })
}

/// Runs `client` on a thread while `reactor` runs on this one.
fn run_with<T: Send + 'static>(
    reactor: &Reactor,
    client: impl FnOnce() -> T + Send + 'static,
) -> T {
    let remote = reactor.remote();
    let thread: JoinHandle<T> = thread::spawn(move || {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(client));
        remote.stop().expect("the reactor runs until now");
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    reactor.run().expect("the port works");
    thread.join().expect("the client succeeds")
}

fn megabytes() -> Vec<u8> {
    (0..3_000_000_u32)
        .map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1])
        .collect()
}

#[test]
fn the_echo_server_sends_everything_back() {
    let reactor = Reactor::builder().signals(false).build().expect("a port");
    let listener = echo::serve(&reactor, any_port()).expect("a free address");
    let address = listener.local_addr();
    let same = run_with(&reactor, move || talk(address, &megabytes()) == megabytes());
    assert!(same);
}

#[test]
fn the_chat_passes_lines_to_all_others() {
    let reactor = Reactor::builder().signals(false).build().expect("a port");
    let listener = tidewaiter::io::Listener::bind(&reactor, any_port()).expect("a free address");
    let address = listener.local_addr().socket_addr().expect("it is one");
    reactor.spawn(async_chat::serve(reactor.clone(), listener));
    let lines = run_with(&reactor, move || {
        let [mut first, mut second] =
            [(); 2].map(|()| TcpStream::connect(address).expect("it listens"));
        let mut lines = Vec::new();
        for text in ["one\n", "two\n"] {
            second.write_all(text.as_bytes()).expect("it is open");
            let mut line = [0; 4];
            first.read_exact(&mut line).expect("the others get it");
            lines.push(line);
            std::mem::swap(&mut first, &mut second);
        }
        lines
    });
    assert_eq!(lines, [*b"one\n", *b"two\n"]);
}

#[test]
fn the_chat_disconnects_those_that_do_not_read() {
    const LINE: &[u8] = &[b'x'; 4095];
    const ROUNDS: usize = 256;
    let reactor = Reactor::builder().signals(false).build().expect("a port");
    let listener = tidewaiter::io::Listener::bind(&reactor, any_port()).expect("a free address");
    let address = listener.local_addr().socket_addr().expect("it is one");
    reactor.spawn(async_chat::serve(reactor.clone(), listener));
    let (sent, received) = run_with(&reactor, move || {
        let [mut writer, mut reader, mut slow] =
            [(); 3].map(|()| TcpStream::connect(address).expect("it listens"));
        // Each line shows that its sender is a member.
        for member in [&mut reader, &mut slow] {
            member.write_all(b"here\n").expect("it is open");
            writer.read_exact(&mut [0; 5]).expect("the others get it");
        }
        let lines = [LINE, b"\n"].concat().repeat(16);
        let mut same = vec![0; lines.len()];
        reader
            .read_exact(&mut same[..5])
            .expect("it was there first");
        for _ in 0..ROUNDS {
            writer.write_all(&lines).expect("it is open");
            reader.read_exact(&mut same).expect("it reads all");
            assert!(same == lines);
        }
        let mut received = Vec::new();
        // The system may drop what was not read.
        let _ = slow.read_to_end(&mut received);
        (ROUNDS * lines.len(), received.len())
    });
    assert!(received < sent, "{received} of {sent} bytes were received");
}

#[test]
fn the_watch_of_a_directory_tells_what_happens() {
    let name = format!("tidewaiter-example-{}", std::process::id());
    let path = std::env::temp_dir().join(name);
    std::fs::create_dir(&path).expect("a new name");
    let reactor = Reactor::builder().signals(false).build().expect("a port");
    let told = Rc::new(RefCell::new(Vec::new()));
    let (lines, stopping) = (Rc::clone(&told), reactor.clone());
    let watch = directory::watch(&reactor, &path, move |line| {
        if line == "created last" {
            stopping.stop();
        }
        lines.borrow_mut().push(line);
    });
    let watched = match watch {
        // Neither Linux nor Windows.
        Err(error) if error.kind() == std::io::ErrorKind::Unsupported => false,
        watch => watch.is_ok(),
    };
    if watched {
        reactor.iterate(Duration::ZERO).expect("the port works");
        std::fs::create_dir(path.join("first")).expect("a new name");
        std::fs::rename(path.join("first"), path.join("second")).expect("another name");
        std::fs::create_dir(path.join("last")).expect("a new name");
        reactor.run().expect("the port works");
        let expected = ["created first", "first is now second", "created last"];
        let mut told = told.take();
        told.retain(|line| !line.starts_with("changed"));
        assert_eq!(told, expected);
    }
    std::fs::remove_dir_all(&path).expect("it is ours");
}

#[test]
fn a_serial_port_that_is_not_there_is_refused() {
    let reactor = Reactor::builder().signals(false).build().expect("a port");
    let refused = serial::open(&reactor, "no-such-port", 9600).expect_err("there is none");
    assert_eq!(refused.kind(), std::io::ErrorKind::NotFound);
}

#[test]
fn the_file_server_sends_files_of_its_directory_only() {
    let directory = std::env::temp_dir().join(format!("tidewaiter-served-{}", std::process::id()));
    std::fs::create_dir(&directory).expect("it is new");
    std::fs::write(directory.join("large"), megabytes()).expect("there is room");
    let reactor = Reactor::builder().signals(false).build().expect("a port");
    let served = file_server::serve(&reactor, directory.clone(), any_port());
    let address = served.expect("a free address").local_addr();
    run_with(&reactor, move || {
        assert!(talk(address.clone(), b"large\n") == megabytes());
        let missing = talk(address.clone(), b"small\n");
        assert!(String::from_utf8_lossy(&missing).contains("small"));
        assert_eq!(talk(address, b"../large\n"), b"no such file\n");
    });
    std::fs::remove_dir_all(directory).expect("it is still there");
}

/// Goal: none of the echoes in the documentation holds more than a bounded amount for a peer that does not
/// read.
#[test]
fn every_documented_echo_reads_no_faster_than_its_peer() {
    for shown in [
        include_str!("../../../README.md"),
        include_str!("../src/lib.rs"),
        include_str!("../src/transport/group.rs"),
        include_str!("../examples/echo.rs"),
    ] {
        let (_, echo) = shown.split_once("impl Protocol for Echo").expect("an echo");
        let (made, _) = echo.split_once("fn data_received").expect("it receives");
        assert!(
            made.contains("transport.pause_while_congested();"),
            "{echo}"
        );
    }
}

#[test]
fn the_echo_reads_no_faster_than_its_client() {
    let sim = Sim::new(1);
    let reactor = Reactor::builder().simulation(&sim).build().expect("a port");
    let echo = echo::serve(&reactor, any_port()).expect("a free address");
    let client = Rc::new(RefCell::new(None));
    let taken = Rc::new(RefCell::new(Vec::new()));
    let (connected, taking) = (Rc::clone(&client), Rc::clone(&taken));
    reactor.connect_tcp(echo.local_addr(), move |_| {
        End::Both(Rc::clone(&connected), Rc::clone(&taking))
    });
    let left = Rc::new(Cell::new(0));
    let counted = Rc::clone(&left);
    reactor.call_later(NAP / 2, move |_| {
        counted.set(client.borrow().as_ref().map_or(0, Transport::queued));
    });
    reactor.run().expect("the port works");
    // The bytes on their way are in the connection's buffers and in the echo's queue, of 64 KiB each.
    assert!(left.get() > megabytes().len() - 512 * 1024, "{left:?}");
    assert!(*taken.borrow() == megabytes());
}

#[test]
fn the_proxy_passes_data_and_half_closes_on_both_ways() {
    let reactor = Reactor::builder().signals(false).build().expect("a port");
    let server = TcpListener::bind(any_port()).expect("a free address");
    let target = server.local_addr().expect("it listens");
    let target = target.to_string().parse().expect("an address is a target");
    let listener = proxy::serve(&reactor, any_port(), target).expect("a free address");
    let address = listener.local_addr();
    // The server answers only after it has received the whole request, including its end.
    let server = thread::spawn(move || {
        let (mut stream, _) = server.accept().expect("the proxy connects");
        let mut request = Vec::new();
        stream
            .read_to_end(&mut request)
            .expect("the end comes in order");
        request.reverse();
        stream.write_all(&request).expect("the proxy reads");
    });
    let answer = run_with(&reactor, move || talk(address, &megabytes()));
    server.join().expect("the server did its part");
    assert!(answer.into_iter().rev().eq(megabytes()));
    let metrics = reactor.metrics();
    assert_eq!(
        (metrics.accepted, metrics.connected, metrics.live),
        (1, 1, 0)
    );
}

/// Sends many bytes, or begins to read only after a while.
enum End {
    Sender(Rc<RefCell<Option<Transport>>>),
    Sluggard(Rc<RefCell<Vec<u8>>>),
    Both(Rc<RefCell<Option<Transport>>>, Rc<RefCell<Vec<u8>>>),
}

const NAP: Duration = Duration::from_secs(60);

impl Protocol for End {
    fn connection_made(&mut self, transport: &Transport) {
        if let End::Sender(own) | End::Both(own, _) = self {
            transport.write_bytes(megabytes());
            transport.lose_write_connection();
            own.replace(Some(transport.clone()));
        }
        if let End::Sluggard(_) | End::Both(..) = self {
            transport.pause_producing();
            let own = transport.clone();
            let awake = move |_: &Reactor| own.resume_producing();
            transport.reactor().call_later(NAP, awake);
        }
    }

    fn data_received(&mut self, _: &Transport, data: &[u8]) {
        if let End::Sluggard(taken) | End::Both(_, taken) = self {
            taken.borrow_mut().extend_from_slice(data);
        }
    }

    fn connection_lost(&mut self, transport: &Transport, reason: Reason) {
        assert!(reason.is_done(), "{reason}");
        if let End::Sluggard(_) | End::Both(..) = self {
            transport.reactor().stop();
        }
    }
}

#[test]
fn the_proxy_reads_from_one_side_no_faster_than_the_other_reads() {
    let sim = Sim::new(1);
    let reactor = Reactor::builder().simulation(&sim).build().expect("a port");
    let taken = Rc::new(RefCell::new(Vec::new()));
    let taking = Rc::clone(&taken);
    let sluggard = reactor.listen_tcp(any_port(), move |_| End::Sluggard(Rc::clone(&taking)));
    let target = sluggard.expect("a free address").local_addr().to_string();
    let target = target.parse().expect("an address is a target");
    let proxy = proxy::serve(&reactor, any_port(), target).expect("a free address");
    let sender = Rc::new(RefCell::new(None));
    let sending = Rc::clone(&sender);
    reactor.connect_tcp(proxy.local_addr(), move |_| {
        End::Sender(Rc::clone(&sending))
    });
    let left = Rc::new(Cell::new(0));
    let counted = Rc::clone(&left);
    reactor.call_later(NAP / 2, move |_| {
        counted.set(sender.borrow().as_ref().map_or(0, Transport::queued));
    });
    reactor.run().expect("the port works");
    // The bytes on their way are in two connections' buffers and in the proxy's queue, of 64 KiB each.
    assert!(left.get() > megabytes().len() - 512 * 1024, "{left:?}");
    assert!(*taken.borrow() == megabytes());
}

#[test]
fn the_proxy_resets_a_client_when_it_cannot_connect() {
    let reactor = Reactor::builder().signals(false).build().expect("a port");
    let target = DESERTED.parse().expect("an address is a target");
    let listener = proxy::serve(&reactor, any_port(), target).expect("a free address");
    let address = listener.local_addr();
    let read = run_with(&reactor, move || {
        let mut stream = TcpStream::connect(address).expect("the proxy listens");
        stream.read(&mut [0; 16]).map_err(|error| error.kind())
    });
    // Wine shuts a socket down before it closes it, so a read at that moment sees an end of file first.
    let seen_by_halves = cfg!(windows) && read == Ok(0);
    assert!(
        seen_by_halves || read == Err(std::io::ErrorKind::ConnectionReset),
        "{read:?}"
    );
}

#[test]
fn several_reactors_share_a_listener() {
    let (group, listener) = several_reactors::serve(3, any_port()).expect("a free address");
    let greetings: BTreeSet<Vec<u8>> = (0..100).map(|_| talk(listener.local_addr(), b"")).collect();
    let expected: BTreeSet<Vec<u8>> = (0..3)
        .map(|number| format!("reactor {number} says hello\n").into_bytes())
        .collect();
    assert_eq!(greetings, expected);
    group.stop();
    group.join().expect("all of them ended well");
}

#[test]
fn the_watch_tells_what_arrives() {
    let reactor = Reactor::builder().signals(false).build().expect("a port");
    let socket = std::net::UdpSocket::bind(any_port()).expect("a free port");
    let address = socket.local_addr().expect("it is bound");
    let told = Rc::new(RefCell::new(Vec::new()));
    let noted = Rc::clone(&told);
    let watching = watch::watch(&reactor, socket, move |watch, data| {
        noted.borrow_mut().push(data.to_vec());
        if noted.borrow().len() == 2 {
            watch.stop();
            watch.reactor().stop();
        }
    });
    watching.expect("sockets can be watched");
    let sender = std::net::UdpSocket::bind(any_port()).expect("a free port");
    for text in ["one", "two"] {
        sender
            .send_to(text.as_bytes(), address)
            .expect("it is sent");
    }
    reactor.run().expect("the port works");
    assert_eq!(*told.borrow(), [b"one", b"two"]);
}
