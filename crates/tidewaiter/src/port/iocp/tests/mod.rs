//! Tests particular to completion ports. Another suite tests the promises of all ports.

mod datagrams;
mod files;
mod lifetime;
mod pipes;
mod sockets;
mod trees;

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::Iocp;
use crate::port::named_calls::NamedCalls;
use crate::port::{
    Chunks, CloseMode, Completion, Driver, Failure, Handle, ListenOptions, Operation, Outcome,
    PortOptions, Request, RequestKind, Resource, Token,
};

const LONG: Duration = Duration::from_secs(20);

fn port() -> Iocp {
    Iocp::open(&PortOptions::default(), "a test".to_owned()).expect("Windows has completion ports")
}

/// Waits for the next completions; the test fails if none comes.
fn some(port: &mut Iocp) -> Vec<Completion> {
    let mut completions = Vec::new();
    port.wait(Some(LONG), &mut completions)
        .expect("the port waits");
    assert!(
        !completions.is_empty(),
        "nothing completed in {LONG:?}: {port:?}"
    );
    completions
}

/// Waits until `done` returns true.
fn until(port: &mut Iocp, mut done: impl FnMut(&mut Iocp, Completion) -> bool) {
    let mut finished = false;
    while !finished {
        for completion in some(port) {
            finished |= done(port, completion);
        }
    }
}

/// Returns the one completion of `operation`; any other is a failure.
fn only(port: &mut Iocp, operation: Operation) -> Result<Outcome, Failure> {
    let mut completions = some(port);
    assert_eq!(completions.len(), 1, "{completions:?}");
    let completion = completions.remove(0);
    assert_eq!(completion.operation, operation);
    assert!(!completion.more);
    completion.result
}

fn close(port: &mut Iocp, handle: Handle) {
    port.close(handle, CloseMode::Graceful, Token(99))
        .expect("it is open");
    until(port, |_, completion| completion.kind == RequestKind::Close);
}

fn listen(port: &mut Iocp) -> (Handle, SocketAddr) {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listener = port
        .listen(&ListenOptions::new(address))
        .expect("a free port");
    let address = port.local_addr(listener).expect("it is bound");
    (listener, address.socket_addr().expect("an IP address"))
}

/// Returns a connection: one end on the port, the other an ordinary blocking socket.
fn connected(port: &mut Iocp) -> (Handle, TcpStream) {
    let (listener, address) = listen(port);
    port.submit(listener, Request::Accept, Token(1))
        .expect("it listens");
    let peer = TcpStream::connect(address).expect("it listens");
    let mut accepted = None;
    until(port, |port, completion| {
        if let Ok(Outcome::Accepted { socket, peer: from }) = completion.result {
            let local = peer.local_addr().expect("it is connected");
            assert_eq!(from, local.into());
            accepted = Some(
                port.adopt(Resource::Socket(socket))
                    .expect("a fresh socket"),
            );
        }
        accepted.is_some()
    });
    close(port, listener);
    (accepted.expect("the loop above ended"), peer)
}

fn receive(port: &mut Iocp, handle: Handle) -> Operation {
    port.submit(handle, Request::Receive, Token(2))
        .expect("it receives")
}

fn send(port: &mut Iocp, handle: Handle, chunks: Chunks) -> Operation {
    port.submit(handle, Request::Send(chunks), Token(3))
        .expect("it sends")
}

#[test]
fn threads_wake_the_port_and_a_port_that_is_gone() {
    let mut port = port();
    let wakers: Vec<_> = (0..4).map(|_| port.waker()).collect();
    let threads: Vec<_> = wakers
        .into_iter()
        .map(|waker| std::thread::spawn(move || waker.wake()))
        .collect();
    let mut completions = Vec::new();
    port.wait(None, &mut completions).expect("it waits");
    for thread in threads {
        thread.join().expect("it only wakes");
    }
    assert!(completions.is_empty());
    let waker = port.waker();
    waker.wake();
    port.wait(None, &mut completions).expect("it waits");
    drop(port);
    waker.wake();
    waker.wake();
}

/// Goal: after a failure to post a wake-up, the next wait returns at once.
#[test]
fn a_wake_up_that_could_not_be_posted_ends_the_next_wait() {
    let mut port = port();
    port.queue.miss();
    let mut completions = Vec::new();
    port.wait(None, &mut completions).expect("the port waits");
    assert!(completions.is_empty());
    let waker = port.waker();
    waker.wake();
    port.wait(None, &mut completions).expect("the port waits");
}

#[test]
fn a_wait_lasts_as_long_as_it_was_asked_to() {
    let mut port = port();
    let mut completions = Vec::new();
    for timeout in [1, 900, 1_500, 20_000].map(Duration::from_micros) {
        let start = Instant::now();
        port.wait(Some(timeout), &mut completions)
            .expect("it waits");
        assert!(
            start.elapsed() >= timeout,
            "{:?} of {timeout:?}",
            start.elapsed()
        );
    }
}
