//! What is particular to completion ports; what holds for every port is tested once for all of them.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use windows_sys::Win32::Foundation::{
    ERROR_IO_PENDING, GENERIC_READ, GENERIC_WRITE, GetLastError, HANDLE, INVALID_HANDLE_VALUE,
};
use windows_sys::Win32::Storage::FileSystem::{
    CreateFileW, FILE_FLAG_FIRST_PIPE_INSTANCE, FILE_FLAG_OVERLAPPED, OPEN_EXISTING,
    PIPE_ACCESS_INBOUND, PIPE_ACCESS_OUTBOUND,
};
use windows_sys::Win32::System::Pipes::{
    CreateNamedPipeW, PIPE_READMODE_BYTE, PIPE_REJECT_REMOTE_CLIENTS, PIPE_TYPE_BYTE, PIPE_WAIT,
};
use windows_sys::Win32::System::Threading::{CreateEventW, SetEvent};

use super::{Iocp, Wait};
use crate::port::{
    Buffer, Chunks, CloseMode, Completion, Driver, Failure, Handle, ListenOptions, Operation,
    Outcome, PortOptions, Request, RequestKind, Resource, Socket, Token,
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

/// Waits until `done` has been told enough.
fn until(port: &mut Iocp, mut done: impl FnMut(&mut Iocp, Completion) -> bool) {
    let mut finished = false;
    while !finished {
        for completion in some(port) {
            finished |= done(port, completion);
        }
    }
}

/// The one completion of `operation`; others are a mistake.
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
    (listener, address)
}

/// A connection: one end on the port, the other an ordinary blocking socket.
fn connected(port: &mut Iocp) -> (Handle, TcpStream) {
    let (listener, address) = listen(port);
    port.submit(listener, Request::Accept, Token(1))
        .expect("it listens");
    let peer = TcpStream::connect(address).expect("it listens");
    let mut accepted = None;
    until(port, |port, completion| {
        if let Ok(Outcome::Accepted { socket, peer: from }) = completion.result {
            assert_eq!(from, peer.local_addr().expect("it is connected"));
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
fn bytes_go_both_ways_and_an_end_is_an_end() {
    let mut port = port();
    let (handle, mut peer) = connected(&mut port);
    let operation = receive(&mut port, handle);
    peer.write_all(b"there").expect("connected");
    let mut received = Vec::new();
    until(&mut port, |_, completion| {
        let Ok(Outcome::Received(buffer)) = completion.result else {
            panic!("{completion:?}");
        };
        assert!(completion.more);
        received.extend_from_slice(&buffer);
        received.len() == 5
    });
    assert_eq!(received, b"there");
    let sending = send(&mut port, handle, b"back".as_slice().into());
    let Ok(Outcome::Sent { bytes: 4, rest }) = only(&mut port, sending) else {
        panic!("four bytes fit");
    };
    assert!(rest.is_empty());
    let mut back = [0; 4];
    peer.read_exact(&mut back).expect("connected");
    assert_eq!(&back, b"back");
    drop(peer);
    assert!(matches!(only(&mut port, operation), Ok(Outcome::EndOfFile)));
    close(&mut port, handle);
    assert_eq!(
        (port.in_flight(), port.open_handles(), port.stale()),
        (0, 0, 0)
    );
}

#[test]
fn a_reset_is_not_an_end() {
    let mut port = port();
    let (handle, peer) = connected(&mut port);
    let operation = receive(&mut port, handle);
    let peer = socket2::Socket::from(peer);
    peer.set_linger(Some(Duration::ZERO)).expect("a socket");
    drop(peer);
    let Err(Failure::Os { source, .. }) = only(&mut port, operation) else {
        panic!("a reset is an error");
    };
    assert_eq!(source.kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(source.raw_os_error(), Some(10054));
}

#[test]
fn connecting_works_or_says_why_not() {
    let mut port = port();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let handle = port.open_stream(address, None).expect("a socket");
    let operation = port
        .submit(handle, Request::Connect(address), Token(0))
        .expect("a stream");
    let (mut peer, _) = listener.accept().expect("it connects");
    assert!(matches!(only(&mut port, operation), Ok(Outcome::Connected)));
    assert_eq!(port.peer_addr(handle).expect("it is connected"), address);
    port.shutdown_write(handle).expect("it is connected");
    assert_eq!(peer.read(&mut [0]).expect("an orderly end"), 0);
    drop(listener);
    let handle = port.open_stream(address, None).expect("a socket");
    let operation = port
        .submit(handle, Request::Connect(address), Token(0))
        .expect("a stream");
    let Err(Failure::Os { call, source }) = only(&mut port, operation) else {
        panic!("nobody listens");
    };
    assert_eq!(
        (call, source.kind()),
        ("ConnectEx", io::ErrorKind::ConnectionRefused)
    );
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
