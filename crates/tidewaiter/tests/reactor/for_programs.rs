//! Accepted connections that become the standard streams of other programs.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use tidewaiter::port::{Socket, SocketOption};
use tidewaiter::process::{ExitStatus, Stdio};
use tidewaiter::{Address, Listener, Process, ProcessProtocol, Reactor};

use crate::KILLED;
use crate::promises::support::{Countdown, any_port, reactor, run_clean};
use crate::support::real_child::child;
use crate::support::roles::{READY, Role};

/// The protocol of a child: expects its end.
struct Program {
    status: ExitStatus,
    countdown: Countdown,
}

impl ProcessProtocol for Program {
    fn process_ended(&mut self, process: &Process, status: ExitStatus) {
        assert_eq!(status, self.status);
        self.countdown.hit(process.reactor());
    }
}

/// Starts a child whose standard streams are the connection.
fn start(reactor: &Reactor, socket: &Socket, role: Role, protocol: Program) -> Process {
    let connection = Stdio::Descriptor(socket.raw_descriptor().expect("the OS made it"));
    let command = child(role)
        .stdin(connection.clone())
        .stdout(connection)
        .stderr(Stdio::Null);
    let started = reactor.spawn_process(&command, protocol);
    started.expect("the child starts")
}

/// Gives `count` connections to children in this role, which exit with 0.
fn serve(reactor: &Reactor, count: usize, role: Role) -> Listener {
    let (starter, countdown) = (reactor.clone(), Countdown::new(count));
    let take = move |socket: Socket, _| {
        let protocol = Program {
            status: ExitStatus::Code(0),
            countdown: countdown.clone(),
        };
        start(&starter, &socket, role, protocol);
    };
    let listener = reactor.listen_for_programs(any_port(), take);
    listener.expect("the port is free")
}

fn address(listener: &Listener) -> SocketAddr {
    let address = listener.local_addr().socket_addr();
    address.expect("it listens on TCP")
}

/// Sends a question and its end from another thread. Returns what came back until the end of file.
fn ask(address: SocketAddr, question: &'static [u8]) -> JoinHandle<(SocketAddr, Vec<u8>)> {
    thread::spawn(move || {
        let mut client = TcpStream::connect(address).expect("the reactor listens");
        client.write_all(question).expect("it fits into the socket");
        client.shutdown(Shutdown::Write).expect("it is open");
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).expect("it ends in order");
        (client.local_addr().expect("it has one"), answer)
    })
}

/// Goal: programs that know nothing of sockets serve connections, however early bytes arrive, and the end of a program is
/// the end of its connection.
#[test]
fn connections_are_the_standard_streams_of_children() {
    const CLIENTS: usize = 3;
    let reactor = reactor();
    let listener = serve(&reactor, CLIENTS, Role::Echo);
    let clients = [(); CLIENTS].map(|()| ask(address(&listener), b"\n<a question>\n"));
    run_clean(&reactor);
    for client in clients {
        let (_, answer) = client.join().expect("it asks");
        let expected = [READY, b"\n<a question>\n"].concat();
        assert!(answer.ends_with(&expected), "{answer:?}");
    }
    assert_eq!(reactor.metrics().bytes_received, 0);
}

/// Goal: programs that know that they serve a connection can use it as a socket, and ask for their peer.
#[test]
fn a_child_can_use_its_connection_as_a_socket() {
    let reactor = reactor();
    let listener = serve(&reactor, 1, Role::Peer);
    let client = ask(address(&listener), b"a question");
    run_clean(&reactor);
    let (ours, answer) = client.join().expect("it asks");
    let answers = |peer: &str| {
        let expected = [READY, format!("{peer}\na question").as_bytes()].concat();
        answer.ends_with(&expected)
    };
    let untold = cfg!(windows) && answers("untold");
    assert!(untold || answers(&ours.to_string()), "{answer:?}");
}

/// Goal: the connection is the child's alone: it stays until the child ends, and not longer.
#[test]
fn the_end_of_a_killed_child_is_the_end_of_its_connection() {
    let (reactor, countdown) = (reactor(), Countdown::new(1));
    let (to_client, started) = mpsc::channel();
    let starter = reactor.clone();
    let take = move |socket: Socket, _: Address| {
        let protocol = Program {
            status: KILLED,
            countdown: countdown.clone(),
        };
        let process = start(&starter, &socket, Role::Deaf, protocol);
        to_client.send(process.remote()).expect("the client waits");
    };
    let listener = reactor.listen_for_programs(any_port(), take);
    let address = address(&listener.expect("the port is free"));
    let client = thread::spawn(move || {
        let mut client = TcpStream::connect(address).expect("the reactor listens");
        let (mut seen, mut byte) = (Vec::new(), [0]);
        while !seen.ends_with(READY) {
            client.read_exact(&mut byte).expect("the child is ready");
            seen.push(byte[0]);
        }
        let process = started.recv().expect("it was started");
        process.kill().expect("the reactor runs");
        client.read(&mut byte).expect("it ends in order")
    });
    run_clean(&reactor);
    assert_eq!(client.join().expect("it reads"), 0);
}

/// Goal: options of the connection outlast its way to the program.
#[test]
fn options_can_be_set_before_the_socket_is_passed_on() {
    let reactor = reactor();
    let stopper = reactor.clone();
    let take = move |socket: Socket, peer: Address| {
        for option in [SocketOption::NoDelay(true), SocketOption::KeepAlive(None)] {
            socket.set_option(option).expect("it is a TCP socket");
        }
        let local = socket.local_addr().expect("it is connected");
        let stream = TcpStream::try_from(socket).expect("the OS made it");
        assert!(stream.nodelay().expect("it is open"));
        assert_eq!(local, stream.local_addr().expect("it is connected").into());
        assert_eq!(peer, stream.peer_addr().expect("it is connected").into());
        stopper.stop();
    };
    let listener = reactor.listen_for_programs(any_port(), take);
    let client = TcpStream::connect(address(&listener.expect("the port is free")));
    run_clean(&reactor);
    drop(client.expect("the reactor listens"));
}
