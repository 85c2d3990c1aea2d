//! Sockets that one process hands to another on Windows, for a reactor there.
#![cfg(windows)]

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::windows::io::AsRawSocket;
use std::process::{Child, Command, Stdio};

use tidewaiter::port::{ListeningSocket, Resource, SharedSocket, Socket, inherited};
use tidewaiter::{Protocol, Reactor, Transport};

#[path = "support/shared.rs"]
mod shared;
#[path = "support/starting.rs"]
mod starting;

use starting::start;

/// Says what the started process is to take over.
const TAKES: &str = "TIDEWAITER_TEST_TAKES";

/// Sends back what it receives, and ends with its peer.
struct Echo;

impl Protocol for Echo {
    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        transport.write(data);
    }

    fn connection_lost(&mut self, transport: &Transport, _: tidewaiter::Reason) {
        transport.reactor().stop();
    }
}

/// The entry point of the processes that the tests start. In any other process, this test does nothing.
#[test]
fn is_a_worker() {
    let Ok(takes) = std::env::var(TAKES) else {
        return;
    };
    let socket = shared::receive(io::stdin()).expect("the parent hands a socket over");
    say("taken");
    let reactor = Reactor::new().expect("a port");
    match &*takes {
        "listener" => {
            let listener = reactor.listen_on(ListeningSocket::from(socket), |_peer| Echo);
            listener.expect("it listens");
        }
        "connection" => {
            let peer: SocketAddr = ([127, 0, 0, 1], 9).into();
            let adopted = reactor.adopt_stream(Socket::from(socket), peer, Echo);
            adopted.expect("it is a connection");
        }
        _ => {
            let datagrams = UdpSocket::from(socket);
            let mut bytes = [0; 16];
            let (count, peer) = datagrams.recv_from(&mut bytes).expect("a datagram comes");
            datagrams
                .send_to(&bytes[..count], peer)
                .expect("the peer waits");
            return;
        }
    }
    reactor.run().expect("the port works");
}

#[expect(clippy::print_stderr, reason = "its parent reads it")]
fn say(word: &str) {
    eprintln!("{word}");
}

/// A worker that was handed a socket, and has taken it over.
struct Worker(Child);

impl Worker {
    fn start(takes: &str, share: impl FnOnce(u32) -> io::Result<SharedSocket>) -> Worker {
        let mut command = Command::new(std::env::current_exe().expect("we are a program"));
        command
            .args(["--exact", "is_a_worker", "--nocapture"])
            .env(TAKES, takes)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = start(&mut command).expect("the worker starts");
        let socket = share(child.id()).expect("the socket has a copy");
        let mut input = child.stdin.take().expect("it is a pipe");
        input
            .write_all(socket.as_bytes())
            .expect("the worker reads");
        let mut word = [0; 5];
        let output = child.stderr.as_mut().expect("it is a pipe");
        output.read_exact(&mut word).expect("the worker answers");
        if &word != b"taken" {
            let mut complaint = String::new();
            output.read_to_string(&mut complaint).expect("it is text");
            panic!("the worker: {complaint}");
        }
        Worker(child)
    }

    fn end(mut self) {
        let status = self.0.wait().expect("it ends");
        assert!(status.success(), "{status}");
    }
}

fn assert_echo(client: &mut TcpStream) {
    client.write_all(b"hello").expect("somebody reads");
    let mut answer = [0; 5];
    client.read_exact(&mut answer).expect("somebody answers");
    assert_eq!(&answer, b"hello");
}

#[test]
fn a_listener_goes_on_in_another_process() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free address");
    let address = listener.local_addr().expect("it is bound");
    let worker = Worker::start("listener", |process| SharedSocket::new(&listener, process));
    drop(listener);
    let mut client = TcpStream::connect(address).expect("the worker listens");
    assert_echo(&mut client);
    drop(client);
    worker.end();
}

/// Goal: a connection that a reactor accepted goes to another process.
#[test]
fn a_connection_goes_on_in_another_process() {
    let reactor = Reactor::builder().signals(false).build().expect("a port");
    let taken = std::rc::Rc::new(std::cell::Cell::new(None));
    let (take, stopping) = (std::rc::Rc::clone(&taken), reactor.clone());
    let any: SocketAddr = ([127, 0, 0, 1], 0).into();
    let listener = reactor.listen_handing_over(any, move |socket, _peer| {
        take.set(Some(socket));
        stopping.stop();
    });
    let address = listener.expect("a free address").local_addr();
    let mut client = TcpStream::connect(address).expect("the reactor listens");
    reactor.run().expect("the port works");
    let socket = taken.take().expect("the client was accepted");
    let stream = TcpStream::try_from(socket).expect("it is a socket of the OS");
    let worker = Worker::start("connection", |process| SharedSocket::new(&stream, process));
    drop(stream);
    assert_echo(&mut client);
    drop(client);
    worker.end();
}

#[test]
fn a_datagram_socket_goes_on_in_another_process() {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free address");
    let address = socket.local_addr().expect("it is bound");
    let worker = Worker::start("datagrams", |process| SharedSocket::new(&socket, process));
    drop(socket);
    let client = UdpSocket::bind("127.0.0.1:0").expect("a free address");
    client.send_to(b"hello", address).expect("it is sent");
    let mut answer = [0; 5];
    client.recv(&mut answer).expect("the worker answers");
    assert_eq!(&answer, b"hello");
    worker.end();
}

#[test]
fn a_socket_is_copied_by_its_number() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free address");
    let copied = inherited(listener.as_raw_socket()).expect("it is open");
    assert!(matches!(copied, Resource::Listener(_)), "{copied:?}");
    drop(copied);
    assert!(listener.local_addr().is_ok(), "the original stays open");
    for number in [0, 3, u64::MAX] {
        let error = inherited(number).expect_err("no socket");
        assert!(error.raw_os_error().is_some(), "{number}: {error}");
    }
}

#[test]
fn what_is_no_socket_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free address");
    // No process has an odd number.
    let error = SharedSocket::new(&listener, 1).expect_err("there is no such process");
    assert!(error.raw_os_error().is_some(), "{error}");
    let error = shared::receive(&b"short"[..]).expect_err("too short");
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}
