//! A send for which nothing waits ends no wait, and what waits for a send is not delayed.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use socket2::SockRef;
use tidewaiter::port::{Datagram, DatagramError, ListenOptions, SocketOption};
use tidewaiter::{DatagramProtocol, DatagramTransport, Reactor, Remote};

use super::promises::datagrams;
use super::promises::support::{Echo, Script, any_port, assert_empty, reactor, run};
use super::support::random::Random;

const MESSAGES: u64 = 200;

/// Longer than any answer takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Its drop stops the reactor.
struct Stops(Remote);

impl Drop for Stops {
    fn drop(&mut self) {
        self.0.stop().expect("the reactor runs");
    }
}

/// Runs the reactor until the client, on a thread of its own, has had all its answers; returns the number of turns meanwhile.
fn turns(reactor: &Reactor, client: impl FnOnce() + Send + 'static) -> u64 {
    let stops = Stops(reactor.remote());
    let client = thread::spawn(move || {
        let _at_the_end = stops;
        client();
    });
    run(reactor);
    client.join().expect("the client has its answers");
    reactor.metrics().turns
}

#[track_caller]
fn assert_one_turn_for_each_message(turns: u64) {
    assert!(
        (MESSAGES..MESSAGES + MESSAGES / 2).contains(&turns),
        "{turns} turns for {MESSAGES} messages"
    );
}

fn echo(reactor: &Reactor) -> SocketAddr {
    let listener = reactor
        .listen_tcp(any_port(), |_| Echo)
        .expect("a free port");
    listener.local_addr().socket_addr().expect("it has one")
}

/// Exchanges messages with an echo, one at a time.
fn exchange_messages(address: SocketAddr) {
    let mut client = TcpStream::connect(address).expect("it listens");
    client.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    for number in 0..MESSAGES {
        let message = number.to_be_bytes();
        client.write_all(&message).expect("it is connected");
        let mut answer = [0; 8];
        client.read_exact(&mut answer).expect("an answer");
        assert_eq!(answer, message);
    }
}

#[test]
fn an_echo_of_one_message_at_a_time_takes_a_turn_for_each() {
    let reactor = reactor();
    let address = echo(&reactor);
    assert_one_turn_for_each_message(turns(&reactor, move || exchange_messages(address)));
}

#[test]
fn a_loop_of_the_program_takes_a_turn_for_each_message_inside_of_a_hook() {
    let reactor = crate::open(Reactor::builder().around_wait(|wait| wait()));
    let address = echo(&reactor);
    let over = Arc::new(AtomicBool::new(false));
    let done = Arc::clone(&over);
    let remote = reactor.remote();
    let client = thread::spawn(move || {
        exchange_messages(address);
        done.store(true, Ordering::Release);
        remote.wake();
    });
    while !over.load(Ordering::Acquire) {
        reactor.iterate(None).expect("the port works");
    }
    client.join().expect("the client has its answers");
    assert_one_turn_for_each_message(reactor.metrics().turns);
}

#[test]
fn an_echo_of_one_datagram_at_a_time_takes_a_turn_for_each() {
    let reactor = reactor();
    let socket = reactor.listen_udp(any_port(), datagrams::Echo);
    let address = socket.expect("a free port").local_addr();
    let address = address.ok().and_then(|address| address.socket_addr());
    let address: SocketAddr = address.expect("it has one");
    let taken = turns(&reactor, move || {
        let client = UdpSocket::bind(any_port()).expect("a free port");
        client.connect(address).expect("it is on this machine");
        client.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        for number in 0..MESSAGES {
            let message = number.to_be_bytes();
            client.send(&message).expect("there is room for one");
            let mut answer = [0; 8];
            let len = client.recv(&mut answer).expect("an answer");
            assert_eq!(answer[..len], message);
        }
    });
    assert_one_turn_for_each_message(taken);
}

fn connect(reactor: &Reactor, address: SocketAddr, script: Script) {
    let mut script = Some(script);
    reactor.connect_tcp(address, move |_| {
        script.take().expect("one connection only")
    });
}

impl AsRef<[u8]> for Stops {
    fn as_ref(&self) -> &[u8] {
        b"sent"
    }
}

#[test]
fn memory_is_dropped_once_it_is_sent_though_nothing_else_happens() {
    let reactor = reactor();
    let mute = TcpListener::bind(any_port()).expect("a free port");
    let sends = Script::new().made(|transport| {
        let memory = Stops(transport.reactor().remote());
        transport.write_bytes(Bytes::from_owner(memory));
    });
    let address = mute.local_addr().expect("it is bound");
    connect(&reactor, address, sends);
    run(&reactor);
}

#[test]
fn memory_of_datagrams_is_dropped_once_it_is_sent_though_nothing_else_happens() {
    let reactor = reactor();
    let mute = UdpSocket::bind(any_port()).expect("a free port");
    let address = mute.local_addr().expect("it is bound");
    let socket = reactor.connect_udp(address, datagrams::Silent);
    let memory = Stops(reactor.remote());
    let socket = socket.expect("it is on this machine");
    reactor.call_later(Duration::ZERO, move |_| {
        socket.send_bytes(Bytes::from_owner(memory), None);
    });
    run(&reactor);
}

/// Stops the reactor when a datagram could not be sent.
struct StopsOnError;

impl DatagramProtocol for StopsOnError {
    fn datagram_received(&mut self, _: &DatagramTransport, _: &Datagram<'_>) {}

    fn error_received(&mut self, transport: &DatagramTransport, _: &DatagramError) {
        transport.reactor().stop();
    }
}

#[test]
fn the_failure_of_a_send_is_told_though_nothing_else_happens() {
    let reactor = reactor();
    let mute = UdpSocket::bind(any_port()).expect("a free port");
    let address = mute.local_addr().expect("it is bound");
    let socket = reactor.connect_udp(address, StopsOnError);
    let socket = socket.expect("it is on this machine");
    reactor.call_later(Duration::ZERO, move |_| {
        // No datagram of IPv4 is as large.
        socket.send(&[0; 65_530]);
    });
    run(&reactor);
}

#[test]
fn a_close_that_begins_after_the_send_needs_no_other_event() {
    for delay in [Duration::ZERO, Duration::from_millis(1)] {
        let reactor = reactor();
        let listener = TcpListener::bind(any_port()).expect("a free port");
        let closes = Script::new()
            .made(move |transport| {
                transport.write(b"sent");
                let closed = transport.clone();
                transport.reactor().call_later(delay, move |_| {
                    closed.write(b", all");
                    closed.lose_connection();
                });
            })
            .lost(|transport, _| transport.reactor().stop());
        let address = listener.local_addr().expect("it is bound");
        let reading = thread::spawn(move || {
            let (mut peer, _) = listener.accept().expect("it connects");
            peer.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            let mut all = String::new();
            peer.read_to_string(&mut all).expect("it is closed");
            all
        });
        connect(&reactor, address, closes);
        run(&reactor);
        assert_eq!(reading.join().expect("no panic"), "sent, all");
    }
}

/// A client's connection to an echo. The bytes that it sends count up.
struct Peer {
    socket: TcpStream,
    sent: usize,
    received: usize,
}

impl Peer {
    fn connect(address: SocketAddr) -> Peer {
        let socket = TcpStream::connect(address).expect("it listens");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Peer {
            socket,
            sent: 0,
            received: 0,
        }
    }

    fn bytes(range: std::ops::Range<usize>) -> Vec<u8> {
        range.map(|number| number.to_le_bytes()[0]).collect()
    }

    fn send(&mut self, len: usize) {
        let data = Peer::bytes(self.sent..self.sent + len);
        self.socket.write_all(&data).expect("the echo receives");
        self.sent += len;
    }

    fn receive_all(&mut self) {
        let mut data = vec![0; self.sent - self.received];
        self.socket.read_exact(&mut data).expect("the answer");
        assert!(data == Peer::bytes(self.received..self.sent));
        self.received = self.sent;
    }

    fn reset(self) {
        let socket = SockRef::from(&self.socket);
        socket.set_linger(Some(Duration::ZERO)).expect("it is TCP");
    }

    fn end(mut self) {
        self.socket.shutdown(Shutdown::Write).expect("it is there");
        self.receive_all();
        let more = self.socket.read(&mut [0]).expect("it ends in order");
        assert_eq!(more, 0);
    }
}

/// Connects to an echo again and again, with many connections at a time. Now and then, one reads nothing for a while, or is
/// reset. While an answer is awaited, little else happens, so a send that is not heard of would be noticed.
fn try_an_echo(address: SocketAddr, mut random: Random) {
    const PEERS: usize = 100;
    const UNREAD_MAX: usize = 400_000;
    let mut peers: Vec<Peer> = (0..PEERS).map(|_| Peer::connect(address)).collect();
    for _ in 0..5000 {
        let place = random.below(PEERS);
        let peer = &mut peers[place];
        match random.below(10) {
            0 => std::mem::replace(peer, Peer::connect(address)).reset(),
            1 => std::mem::replace(peer, Peer::connect(address)).end(),
            2..=5 if peer.sent - peer.received < UNREAD_MAX => peer.send(random.below(60_000)),
            _ => {
                peer.send(random.below(2000) + 1);
                peer.receive_all();
            }
        }
    }
    for peer in peers {
        peer.end();
    }
}

#[test]
fn thousands_of_connections_get_their_answers_though_some_do_not_read_or_are_reset() {
    let reactor = reactor();
    // Full soon, so that many sends are sent in part or not at all.
    let options = ListenOptions::new(any_port()).socket_option(SocketOption::SendBuffer(16 * 1024));
    let listener = reactor.listen_tcp(options, |_| Echo).expect("a free port");
    let address = listener.local_addr().socket_addr().expect("it has one");
    turns(&reactor, move || {
        let second = thread::spawn(move || try_an_echo(address, Random::new(2)));
        try_an_echo(address, Random::new(4));
        second.join().expect("no panic");
    });
    let metrics = reactor.metrics();
    assert_eq!(metrics.panics, 0);
    assert_empty(&metrics);
}
