//! Tests particular to the readiness port. Another suite tests the promises of all ports.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use super::super::calls::Offer;
use super::super::chunks::Chunks;
use super::entry::Entry;
use super::{
    BATCH_MAX, CloseMode, Completion, Driver, Failure, Handle, Key, Outcome, PollPort, PortOptions,
    Request, RequestKind, Resource, Token,
};
use crate::port::ListenOptions;
use crate::port::named_calls::NamedCalls;
use crate::process::Spawn;

/// Longer than any step here takes; only a failure takes this long.
const LONG: Duration = Duration::from_secs(20);

fn open() -> PollPort {
    open_with(&PortOptions::default())
}

fn open_with(options: &PortOptions) -> PollPort {
    PollPort::open(options, "tested".to_owned()).expect("a readiness port")
}

/// Returns a connection: our end on the port, and the peer's blocking end.
fn connection(port: &mut PollPort) -> (Handle, TcpStream) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a listener");
    let address = listener.local_addr().expect("its address");
    let peer = TcpStream::connect(address).expect("a connection");
    let (ours, _) = listener.accept().expect("the other end");
    let handle = port.adopt(Resource::from(ours)).expect("on the port");
    (handle, peer)
}

/// Returns a pipe: the reading end on the port, and the writing end.
fn pipe_to(port: &mut PollPort) -> (Handle, std::io::PipeWriter) {
    let (reader, writer) = io::pipe().expect("a pipe");
    let reader = Resource::PipeReader(OwnedFd::from(reader));
    (port.adopt(reader).expect("on the port"), writer)
}

/// Returns a pipe: the writing end on the port, and the reading end.
fn pipe_from(port: &mut PollPort) -> (Handle, std::io::PipeReader) {
    let (reader, writer) = io::pipe().expect("a pipe");
    let writer = Resource::PipeWriter(OwnedFd::from(writer));
    (port.adopt(writer).expect("on the port"), reader)
}

/// Waits until there is at least one completion. A signal from another test can end a single wait.
fn some(port: &mut PollPort) -> Vec<Completion> {
    let deadline = Instant::now() + LONG;
    let mut completions = Vec::new();
    while completions.is_empty() {
        assert!(Instant::now() < deadline, "nothing completed in time");
        port.wait(Some(LONG), &mut completions).expect("a wait");
    }
    completions
}

/// Waits for exactly one completion.
fn one(port: &mut PollPort) -> Completion {
    let mut completions = some(port);
    assert_eq!(completions.len(), 1, "{completions:?}");
    completions.remove(0)
}

/// Checks that a wait with timeout zero completes nothing.
fn none_yet(port: &mut PollPort) {
    let mut completions = Vec::new();
    port.wait(Some(Duration::ZERO), &mut completions)
        .expect("a wait");
    assert!(completions.is_empty(), "{completions:?}");
}

fn send(port: &mut PollPort, handle: Handle, data: impl Into<Chunks>) {
    port.submit(handle, Request::Send(data.into()), Token(2))
        .expect("submitted");
}

fn receive(port: &mut PollPort, handle: Handle) -> super::Operation {
    port.submit(handle, Request::Receive, Token(1))
        .expect("submitted")
}

fn error_of(completion: &Completion) -> io::ErrorKind {
    match &completion.result {
        Err(Failure::Os { source, .. }) => source.kind(),
        other => panic!("an error of the OS was expected: {other:?}"),
    }
}

#[test]
fn bytes_go_both_ways_and_nothing_comes_outside_of_wait() {
    let mut port = open();
    let (handle, mut peer) = connection(&mut port);
    receive(&mut port, handle);
    none_yet(&mut port);
    peer.write_all(b"there").expect("written");
    let completion = one(&mut port);
    assert!(completion.more);
    assert_eq!(completion.token, Token(1));
    assert!(matches!(&completion.result, Ok(Outcome::Received(data)) if **data == *b"there"));
    send(&mut port, handle, &b"back"[..]);
    let completion = one(&mut port);
    let sent = matches!(completion.result, Ok(Outcome::Sent { bytes: 4 }));
    assert!(sent && completion.unsent.is_empty());
    let mut back = [0; 4];
    peer.read_exact(&mut back).expect("read");
    assert_eq!(&back, b"back");
    drop(peer);
    let completion = one(&mut port);
    assert!(matches!(completion.result, Ok(Outcome::EndOfFile)));
    assert!(!completion.more);
    assert_eq!(port.in_flight(), 0);
    assert_eq!(port.stale(), 0);
}

/// Goal: the remembered readiness is right at every fill level of the socket's buffers.
#[test]
fn sixty_four_mebibytes_in_many_pieces_arrive_in_order() {
    const PIECE: usize = 60_000;
    const TOTAL: usize = 64 << 20;
    let byte = |position: usize| u8::try_from(position % 251).expect("small");
    let mut port = open();
    let (handle, mut peer) = connection(&mut port);
    let reader = std::thread::spawn(move || {
        let mut data = Vec::with_capacity(TOTAL);
        peer.read_to_end(&mut data).expect("all of it");
        data
    });
    let mut queue = Chunks::new();
    for start in (0..TOTAL).step_by(PIECE) {
        let piece: Vec<u8> = (start..TOTAL.min(start + PIECE)).map(byte).collect();
        queue.push(piece);
    }
    while !queue.is_empty() {
        send(&mut port, handle, std::mem::take(&mut queue));
        let completion = one(&mut port);
        match completion.result {
            Ok(Outcome::Sent { bytes }) => {
                assert!(bytes > 0);
                queue = completion.unsent;
            }
            other => panic!("{other:?}"),
        }
    }
    port.close(handle, CloseMode::Graceful, Token(3))
        .expect("closing");
    assert!(matches!(one(&mut port).result, Ok(Outcome::Closed)));
    let data = reader.join().expect("the reader");
    assert_eq!(data.len(), TOTAL);
    assert!(data.iter().enumerate().all(|(at, &got)| got == byte(at)));
}

#[test]
fn cancelled_operations_complete_once_and_the_next_one_goes_on() {
    let mut port = open();
    let (handle, mut peer) = connection(&mut port);
    let operation = receive(&mut port, handle);
    peer.write_all(b"kept").expect("written");
    assert!(port.cancel(operation));
    let completion = one(&mut port);
    assert_eq!(completion.operation, operation);
    assert!(matches!(completion.result, Err(Failure::Cancelled)));
    assert!(!port.cancel(operation), "it is over");
    receive(&mut port, handle);
    let completion = one(&mut port);
    assert!(matches!(&completion.result, Ok(Outcome::Received(data)) if **data == *b"kept"));
}

#[test]
fn closing_cancels_what_is_under_way_first_and_frees_the_slot() {
    let mut port = open();
    let (handle, mut peer) = connection(&mut port);
    receive(&mut port, handle);
    // More than the kernel takes, so that the last send stays under way.
    loop {
        send(&mut port, handle, vec![0; 1 << 20]);
        let mut completions = Vec::new();
        port.wait(Some(Duration::ZERO), &mut completions)
            .expect("a wait");
        if completions.is_empty() {
            break;
        }
    }
    port.close(handle, CloseMode::Reset, Token(3))
        .expect("closing");
    assert!(port.close(handle, CloseMode::Reset, Token(4)).is_err());
    assert_eq!(port.open_handles(), 1, "being closed");
    let kinds: Vec<RequestKind> = some(&mut port).iter().map(|c| c.kind).collect();
    let expected = [RequestKind::Receive, RequestKind::Send, RequestKind::Close];
    assert_eq!(kinds, expected);
    assert_eq!(port.open_handles(), 0);
    let error = port
        .submit(handle, Request::Receive, Token(5))
        .expect_err("closed");
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    // The peer may read the data sent before the reset, or fail at once.
    let error = peer.read_to_end(&mut Vec::new()).expect_err("a reset");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

fn reset(peer: TcpStream) {
    let peer = socket2::Socket::from(peer);
    peer.set_linger(Some(Duration::ZERO)).expect("an option");
}

#[test]
fn a_reset_is_no_end_of_file_even_when_a_send_sees_it_first() {
    let mut port = open();
    let (handle, peer) = connection(&mut port);
    receive(&mut port, handle);
    reset(peer);
    let completion = one(&mut port);
    assert_eq!(error_of(&completion), io::ErrorKind::ConnectionReset);

    let (handle, peer) = connection(&mut port);
    reset(peer);
    // The reset may take a moment: send until it arrives.
    let error = loop {
        send(&mut port, handle, &b"x"[..]);
        let completion = one(&mut port);
        if completion.result.is_err() {
            break error_of(&completion);
        }
    };
    assert_eq!(error, io::ErrorKind::ConnectionReset);
    receive(&mut port, handle);
    let completion = one(&mut port);
    assert_eq!(error_of(&completion), io::ErrorKind::ConnectionReset);
}

#[test]
fn a_refused_connect_says_so_and_an_accepted_one_connects() {
    let mut port = open();
    // No OS assigns this port. The child of another test may have a copy of a listener that was closed just now.
    let address = SocketAddr::from(([127, 0, 0, 1], 1));
    let handle = port.open_stream(&address.into(), None).expect("a socket");
    none_yet(&mut port);
    port.submit(handle, Request::connect(address), Token(0))
        .expect("submitted");
    let completion = one(&mut port);
    assert_eq!(error_of(&completion), io::ErrorKind::ConnectionRefused);

    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let listener = port.listen(&ListenOptions::new(any)).expect("a listener");
    let address = port.local_addr(listener).expect("its address");
    port.submit(listener, Request::Accept, Token(7))
        .expect("submitted");
    let handle = port.open_stream(&address, None).expect("a socket");
    port.submit(handle, Request::connect(address.clone()), Token(8))
        .expect("submitted");
    let mut seen = Vec::new();
    while seen.len() < 2 {
        seen.extend(some(&mut port));
    }
    seen.sort_by_key(|completion| completion.token);
    assert!(matches!(&seen[0].result, Ok(Outcome::Accepted { peer, .. })
        if *peer == port.local_addr(handle).expect("its address")));
    assert!(seen[0].more);
    assert!(matches!(seen[1].result, Ok(Outcome::Connected)));
    assert_eq!(port.peer_addr(handle).expect("its peer"), address);
}

/// Goal: sending at once keeps the order of bytes and the limit of one send, and needs no wait; on
/// a full socket it takes nothing.
#[test]
fn what_is_sent_at_once_goes_before_what_is_submitted_then() {
    let mut port = open();
    let (handle, mut peer) = connection(&mut port);
    assert_eq!(
        port.send_now(handle, Offer::Bytes(b"first "))
            .expect("sent"),
        6
    );
    send(&mut port, handle, &b"second "[..]);
    assert_eq!(
        port.send_now(handle, Offer::Bytes(b"never")).expect("none"),
        0
    );
    assert!(matches!(
        one(&mut port).result,
        Ok(Outcome::Sent { bytes: 7, .. })
    ));
    assert_eq!(
        port.send_now(handle, Offer::Bytes(b"third")).expect("sent"),
        5
    );
    let mut found = [0; 18];
    peer.read_exact(&mut found).expect("read");
    assert_eq!(&found, b"first second third");
    let piece = vec![1; 1 << 20];
    let mut taken = 0;
    loop {
        match port.send_now(handle, Offer::Bytes(&piece)).expect("sent") {
            0 => break,
            bytes => taken += bytes,
        }
    }
    send(&mut port, handle, &b"the end"[..]);
    let mut found = vec![0; taken];
    peer.read_exact(&mut found).expect("read");
    let mut end = [0; 7];
    assert!(matches!(
        one(&mut port).result,
        Ok(Outcome::Sent { bytes: 7, .. })
    ));
    peer.read_exact(&mut end).expect("read");
    assert_eq!(&end, b"the end");
}

/// Goal: a program that sends without end leaves other handles their share of a wait.
#[test]
fn those_that_send_without_end_do_not_starve_those_that_receive() {
    let mut port = open();
    let (receiver, mut peer) = connection(&mut port);
    receive(&mut port, receiver);
    let senders: Vec<_> = (0..BATCH_MAX).map(|_| connection(&mut port)).collect();
    for (handle, _) in &senders {
        send(&mut port, *handle, &b"x"[..]);
    }
    peer.write_all(b"here").expect("written");
    for _ in 0..4 {
        for completion in some(&mut port) {
            if completion.kind == RequestKind::Receive {
                return;
            }
            let operation = completion.operation;
            assert_eq!(completion.kind, RequestKind::Send, "{operation:?}");
        }
        for (handle, _) in &senders {
            // Refused if the previous send is still under way.
            let again = Request::Send(Chunks::from(&b"x"[..]));
            let _ = port.submit(*handle, again, Token(2));
        }
    }
    panic!("nothing was received in four waits");
}

#[test]
fn a_handle_with_its_key_fits_into_two_cache_lines() {
    assert!(size_of::<Entry>() + size_of::<Key>() <= 2 * 64);
}

/// Goal: a message of the receive size costs one call: no second one is needed to find that nothing
/// follows.
#[test]
fn a_message_of_the_size_of_a_receive_is_seen_to_be_all() {
    let mut port = open();
    let (handle, mut peer) = connection(&mut port);
    receive(&mut port, handle);
    let message = vec![7; PortOptions::default().receive_bytes];
    for _ in 0..3 {
        peer.write_all(&message).expect("written");
        let mut received = 0;
        while received < message.len() {
            for completion in some(&mut port) {
                match completion.result {
                    Ok(Outcome::Received(data)) => received += data.len(),
                    other => panic!("{other:?}"),
                }
            }
        }
        assert!(!port.has_work(), "it would be received from in vain");
    }
}

/// Goal: one listener or one busy connection takes no more than its share of a wait.
#[test]
fn handles_that_are_always_ready_take_turns() {
    let mut port = open_with(&PortOptions {
        receive_bytes: 1,
        ..PortOptions::default()
    });
    let busy: Vec<_> = (0..BATCH_MAX + 10).map(|_| pipe_to(&mut port)).collect();
    for (number, (handle, writer)) in busy.iter().enumerate() {
        let mut writer = writer;
        writer.write_all(&[0; 64]).expect("written");
        let token = Token(number as u64);
        port.submit(*handle, Request::Receive, token)
            .expect("submitted");
    }
    let mut counts = vec![0; busy.len()];
    while counts.iter().sum::<usize>() < 8 * busy.len() {
        let completions = some(&mut port);
        assert!(completions.len() <= BATCH_MAX);
        for completion in completions {
            counts[usize::try_from(completion.token.0).expect("small")] += 1;
        }
    }
    let (least, most) = (counts.iter().min(), counts.iter().max());
    let (least, most) = (*least.expect("some"), *most.expect("some"));
    assert!(
        least + 2 >= most,
        "one was served {least} times, another one {most}"
    );
}

#[test]
fn wakes_from_threads_end_waits_and_none_is_lost() {
    let mut port = open();
    let waker = port.waker();
    let count = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (waker, count) = (waker.clone(), std::sync::Arc::clone(&count));
            std::thread::spawn(move || {
                for _ in 0..1000 {
                    count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    waker.wake();
                }
            })
        })
        .collect();
    let started = Instant::now();
    while count.load(std::sync::atomic::Ordering::Relaxed) < 4000 {
        port.wait(Some(LONG), &mut Vec::new()).expect("a wait");
    }
    for thread in threads {
        thread.join().expect("a thread");
    }
    assert!(started.elapsed() < LONG, "a wake-up was lost");
    drop(port);
    waker.wake();
}

#[test]
fn the_port_receives_on_when_the_user_holds_every_buffer() {
    let mut port = open_with(&PortOptions {
        receive_bytes: 4,
        receive_buffers: 2,
        ..PortOptions::default()
    });
    let (handle, mut peer) = connection(&mut port);
    receive(&mut port, handle);
    peer.write_all(&[7; 64]).expect("written");
    let mut held = Vec::new();
    while held.len() < 16 {
        for completion in some(&mut port) {
            match completion.result {
                Ok(Outcome::Received(data)) => held.push(data),
                other => panic!("{other:?}"),
            }
        }
    }
    drop(port);
    assert!(held.iter().all(|data| **data == [7; 4]));
}

#[test]
fn timeouts_are_kept_to_below_a_millisecond_and_never_early() {
    let mut port = open();
    for microseconds in [0, 1, 300, 999, 1500] {
        let timeout = Duration::from_micros(microseconds);
        let started = Instant::now();
        port.wait(Some(timeout), &mut Vec::new()).expect("a wait");
        assert!(started.elapsed() >= timeout);
    }
}

#[test]
fn a_pipe_ends_when_its_writer_goes_with_all_that_was_written_before() {
    let mut port = open();
    let (handle, mut writer) = pipe_to(&mut port);
    writer.write_all(b"last words").expect("written");
    drop(writer);
    receive(&mut port, handle);
    let completion = one(&mut port);
    assert!(matches!(&completion.result, Ok(Outcome::Received(data)) if **data == *b"last words"));
    assert!(matches!(one(&mut port).result, Ok(Outcome::EndOfFile)));
}

/// Goal: writing to a pipe without a reader is an error, whatever the program does with SIGPIPE.
/// Method: restore the signal's default action, which would kill the test.
#[test]
fn writing_to_a_pipe_without_a_reader_does_not_end_the_process() {
    const CHILD: &str = "TIDEWAITER_TEST_SIGPIPE";
    if std::env::var_os(CHILD).is_none() {
        let name = "writing_to_a_pipe_without_a_reader_does_not_end_the_process";
        let program = std::env::current_exe().expect("this program");
        let status = std::process::Command::new(program)
            .args([format!("port::poll::tests::{name}").as_str(), "--exact"])
            .env(CHILD, "1")
            .status()
            .expect("a child");
        assert!(status.success(), "{status}");
        return;
    }
    default_sigpipe();
    let mut port = open();
    for _ in 0..2 {
        let (handle, reader) = pipe_from(&mut port);
        drop(reader);
        send(&mut port, handle, &b"x"[..]);
        let completion = one(&mut port);
        assert_eq!(error_of(&completion), io::ErrorKind::BrokenPipe);
    }
}

#[expect(unsafe_code, reason = "no safe function sets a default disposition")]
fn default_sigpipe() {
    // SAFETY: the default action runs no code of ours.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}

/// Goal: the port also serves files, which epoll does not watch.
#[test]
fn a_file_is_read_like_a_pipe() {
    let mut port = open();
    let file = std::fs::File::open("/dev/null").expect("the null device");
    let handle = port
        .adopt(Resource::PipeReader(OwnedFd::from(file)))
        .expect("on the port");
    receive(&mut port, handle);
    assert!(matches!(one(&mut port).result, Ok(Outcome::EndOfFile)));
}

/// Goal: promise 6, no completion for a closed handle.
/// Method: a copy of the descriptor keeps the socket alive beyond its handle.
#[test]
fn nothing_is_heard_of_a_closed_handle_that_lives_on_elsewhere() {
    let mut port = open();
    let (handle, writer) = {
        let (reader, writer) = io::pipe().expect("a pipe");
        let copy = reader.as_fd().try_clone_to_owned().expect("a copy");
        let handle = port
            .adopt(Resource::PipeReader(OwnedFd::from(reader)))
            .expect("on the port");
        (handle, (writer, copy))
    };
    port.close(handle, CloseMode::Graceful, Token(0))
        .expect("closing");
    assert!(matches!(one(&mut port).result, Ok(Outcome::Closed)));
    let (mut writer, _copy) = writer;
    writer.write_all(b"unheard").expect("written");
    none_yet(&mut port);
    assert_eq!(port.stale(), 0);
}

#[test]
fn what_a_handle_does_not_know_or_already_does_is_refused() {
    let mut port = open();
    let (handle, _peer) = connection(&mut port);
    let refused = |port: &mut PollPort, request| {
        port.submit(handle, request, Token(0))
            .expect_err("refused")
            .kind()
    };
    for request in [Request::Accept, Request::Exit, Request::Send(Chunks::new())] {
        assert_eq!(refused(&mut port, request), io::ErrorKind::InvalidInput);
    }
    receive(&mut port, handle);
    assert_eq!(
        refused(&mut port, Request::Receive),
        io::ErrorKind::InvalidInput
    );
    assert_eq!(port.in_flight(), 1);
}

#[test]
fn a_child_speaks_through_its_pipes_and_its_end_is_told() {
    let mut port = open();
    let command = crate::process::Command::new("cat").stderr(crate::process::Stdio::Null);
    let child = port.spawn(Spawn::Command(&command)).expect("a child");
    let [Some(stdin), Some(stdout), None] = [0, 1, 2].map(|number| child.pipe(number)) else {
        panic!("{:?}", child.pipes)
    };
    port.submit(child.process, Request::Exit, Token(4))
        .expect("submitted");
    receive(&mut port, stdout);
    send(&mut port, stdin, &b"purr"[..]);
    let (mut heard, mut ended, mut exited) = (Vec::new(), false, None);
    while !(ended && exited.is_some()) {
        for completion in some(&mut port) {
            match completion.result.expect("no failure") {
                Outcome::Sent { .. } => {
                    assert!(completion.unsent.is_empty());
                    port.close(stdin, CloseMode::Graceful, Token(3))
                        .expect("closing");
                }
                Outcome::Received(data) => heard.extend_from_slice(&data),
                Outcome::EndOfFile => ended = true,
                Outcome::Exited(status) => exited = Some(status),
                Outcome::Closed => {}
                other => panic!("{other:?}"),
            }
        }
    }
    assert_eq!(heard, b"purr");
    assert_eq!(exited, Some(crate::process::ExitStatus::Code(0)));
}
