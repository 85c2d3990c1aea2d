//! UDP: a command for each peer, and standard input and output over datagrams.

use std::io::{Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Stdio};

use crate::child::READY;
use crate::starting::start;
use crate::support::{PATIENCE, Server, field, tidewaiter};

struct Client {
    socket: UdpSocket,
    /// The bytes that have come so far. A child's output is cut into datagrams anywhere.
    got: Vec<u8>,
}

impl Client {
    fn new(server: &Server) -> Client {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        socket.connect(address(server)).expect("it is an address");
        socket
            .set_read_timeout(Some(PATIENCE))
            .expect("it can be set");
        Client {
            socket,
            got: Vec::new(),
        }
    }

    fn send(&self, data: &[u8]) {
        self.socket.send(data).expect("it is sent");
    }

    /// Receives until this has come.
    fn await_bytes(&mut self, expected: &[u8]) {
        let mut data = [0; 1 << 16];
        while !self.got.ends_with(expected) {
            let count = self.socket.recv(&mut data).expect("the child answers");
            self.got.extend_from_slice(&data[..count]);
        }
    }

    fn local(&self) -> String {
        self.socket.local_addr().expect("it is bound").to_string()
    }
}

fn address(server: &Server) -> SocketAddr {
    let address = server.place.strip_prefix("udp:").expect("UDP");
    address.parse().expect("an address")
}

#[test]
fn each_peer_has_a_child_of_its_own() {
    let server = Server::start_on("udp:127.0.0.1:0", "echo", &[]);
    let mut clients = [Client::new(&server), Client::new(&server)];
    for (client, text) in clients.iter_mut().zip([&b"one"[..], b"two"]) {
        client.send(text);
        client.await_bytes(text);
        let told = client.got.strip_suffix(text);
        assert!(told.is_some_and(|told| told.ends_with(READY)));
    }
    // The children live on.
    for (client, text) in clients.iter_mut().zip([&b"uno"[..], b"due"]) {
        client.send(text);
        client.await_bytes(text);
    }
    let pids: Vec<String> = (0..2)
        .map(|_| field(&server.await_line("msg=connected"), "pid").to_owned())
        .collect();
    assert_ne!(pids[0], pids[1]);
}

#[test]
fn the_child_is_told_of_its_peer() {
    let server = Server::start_on("udp:127.0.0.1:0", "environment", &[]);
    let mut client = Client::new(&server);
    client.send(b"?");
    let port = address(&server).port();
    client.await_bytes(format!("UDPLOCALPORT={port}\n").as_bytes());
    let told = String::from_utf8_lossy(&client.got).into_owned();
    let local = client.socket.local_addr().expect("it is bound");
    for line in [
        "PROTO=UDP\n".to_owned(),
        "REMOTE_ADDR=127.0.0.1\n".to_owned(),
        format!("UDPREMOTEPORT={}\n", local.port()),
        "TCPREMOTEIP=\n".to_owned(),
    ] {
        assert!(told.contains(&line), "{line} is not in {told}");
    }
}

/// Goal: a silent peer's child reads the end of its input and exits by itself; the peer's next datagram starts another.
#[test]
fn a_silent_peer_is_forgotten() {
    let server = Server::start_on("udp:127.0.0.1:0", "echo", &["--idle-timeout", "300ms"]);
    let mut client = Client::new(&server);
    for text in [&b"first"[..], b"second"] {
        client.send(text);
        client.await_bytes(text);
        let line = server.await_line("connection ended");
        assert_eq!(field(&line, "peer"), client.local());
        assert!(line.contains("reason=\"idle timeout\""), "{line}");
        assert!(line.contains("exit=\"exit code 0\""), "{line}");
    }
}

#[test]
fn a_full_server_drops_the_datagrams_of_new_peers() {
    let server = Server::start_on("udp:127.0.0.1:0", "echo", &["--max-clients", "1"]);
    let mut first = Client::new(&server);
    first.send(b"first");
    first.await_bytes(b"first");
    let second = Client::new(&server);
    second.send(b"second");
    let line = server.await_line("full: a datagram is dropped");
    assert_eq!(field(&line, "peer"), second.local());
    first.send(b"still");
    first.await_bytes(b"still");
}

#[test]
fn empty_and_large_datagrams_pass() {
    let server = Server::start_on("udp:127.0.0.1:0", "echo", &[]);
    let mut client = Client::new(&server);
    client.send(b"");
    let large: Vec<u8> = (0..=250).cycle().take(9000).collect();
    client.send(&large);
    client.await_bytes(&large);
    client.send(b"small");
    client.await_bytes(b"small");
}

/// Starts the command, and writes to its standard input, which stays open.
fn converse(address: SocketAddr, input: &[u8]) -> Child {
    let mut command = tidewaiter();
    command
        .args(["connect", &format!("udp:{address}")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut process = start(&mut command).expect("the command starts");
    let stdin = process.stdin.as_mut().expect("it is a pipe");
    stdin.write_all(input).expect("the command reads");
    process
}

/// Method: the input ends once the answer has come: the server's child may need longer to start than the command waits
/// after the end of its input.
#[test]
fn connect_exchanges_datagrams_until_nothing_more_comes() {
    let server = Server::start_on("udp:127.0.0.1:0", "echo", &[]);
    let mut process = converse(address(&server), b"hello");
    let stdout = process.stdout.as_mut().expect("it is a pipe");
    let (mut told, mut byte) = (Vec::new(), [0]);
    while !told.ends_with(&[READY, b"hello"].concat()) {
        stdout.read_exact(&mut byte).expect("the child answers");
        told.push(byte[0]);
    }
    let output = process.wait_with_output().expect("it ends");
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{message}");
    assert_eq!(output.stdout, b"");
}

/// Goal: a peer that refuses datagrams is an error with its address.
#[cfg(target_os = "linux")]
#[test]
fn connect_says_that_the_other_side_refuses() {
    // No OS assigns this port. A socket that was closed just now may have a copy in the child of another test.
    let address = SocketAddr::from(([127, 0, 0, 1], 1));
    let process = converse(address, b"anybody?");
    let output = process.wait_with_output().expect("it ends");
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("refused"), "{message}");
}

/// Goal: the end of the server is the end of all children, in order, and they are served until then.
#[cfg(unix)]
#[test]
fn the_server_drains() {
    let mut command = tidewaiter();
    let script = "read line; echo $line; read line; echo $line";
    command.args(["serve", "-v", "udp:127.0.0.1:0", "--", "sh", "-c", script]);
    let server = Server::run(command);
    let mut client = Client::new(&server);
    client.send(b"hello\n");
    client.await_bytes(b"hello\n");
    crate::shutdown::terminate(&server);
    server.await_line("received terminate");
    client.send(b"still\n");
    client.await_bytes(b"still\n");
    assert_eq!(server.wait().code(), Some(0));
}

/// Goal: a server that drains forgets silent peers as before, which ends their children.
#[cfg(unix)]
#[test]
fn a_server_that_drains_waits_for_no_silent_peer() {
    let server = Server::start_on("udp:127.0.0.1:0", "echo", &["--idle-timeout", "500ms"]);
    let mut client = Client::new(&server);
    client.send(b"hello");
    client.await_bytes(b"hello");
    crate::shutdown::terminate(&server);
    assert_eq!(server.wait().code(), Some(0));
}
