//! Each request on sockets and pipes, for each set of kernel features.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use super::super::super::{
    Chunks, CloseMode, Driver, Handle, ListenOptions, Outcome, PortOptions, Request, Resource,
    Token,
};
use super::super::pending::Pending;
use super::super::sigpipe;
use super::{Harness, KERNELS, is_cancelled, loopback, os_error, pair, pipe};
use crate::port::named_calls::NamedCalls;

#[test]
fn echoes_both_ways_on_every_kernel() {
    for allowed in KERNELS {
        let mut harness = Harness::with(&PortOptions::default(), allowed);
        let listening = ListenOptions::new(loopback());
        let listener = harness.port.listen(&listening).expect("a free port");
        let address = harness.port.local_addr(listener).expect("it is bound");
        let accept = harness.submit(listener, Request::Accept);
        let client = harness.port.open_stream(&address, None).expect("a socket");
        let connect = harness.submit(client, Request::connect(address));
        let accepted = harness.next(accept);
        assert!(accepted.more, "accepting goes on");
        let Ok(Outcome::Accepted { socket, peer }) = accepted.result else {
            panic!("not accepted: {accepted:?}");
        };
        assert!(matches!(
            harness.next(connect).result,
            Ok(Outcome::Connected)
        ));
        assert_eq!(peer, harness.port.local_addr(client).expect("it is bound"));
        let server = harness.adopt(socket);
        for round in 0..3 {
            for (from, to) in [(client, server), (server, client)] {
                let receive = harness.submit(to, Request::Receive);
                harness.send(from, format!("round {round}").as_bytes());
                let buffer = harness.receive(receive);
                assert_eq!(&*buffer, format!("round {round}").as_bytes());
                assert!(harness.port.cancel(receive));
                assert!(is_cancelled(&harness.last(receive)));
            }
        }
        harness.close(server, CloseMode::Graceful);
        let end = harness.submit(client, Request::Receive);
        assert!(matches!(harness.next(end).result, Ok(Outcome::EndOfFile)));
        harness.close(client, CloseMode::Graceful);
        harness
            .port
            .close(listener, CloseMode::Graceful, Token(0))
            .expect("it is open");
        assert!(is_cancelled(&harness.next(accept)));
        harness.wait_for_closed();
        harness.finish();
    }
}

#[test]
fn pipes_carry_bytes_both_ways_and_end_on_every_kernel() {
    for allowed in KERNELS {
        let mut harness = Harness::with(&PortOptions::default(), allowed);
        let (reader, writer) = pipe();
        let reader = harness.adopt(Resource::PipeReader(reader));
        let writer = harness.adopt(Resource::PipeWriter(writer));
        let receive = harness.submit(reader, Request::Receive);
        for text in ["one", "two", "three"] {
            harness.send(writer, text.as_bytes());
            assert_eq!(&*harness.receive(receive), text.as_bytes());
        }
        harness.close(writer, CloseMode::Graceful);
        let end = harness.next(receive);
        assert!(matches!(end.result, Ok(Outcome::EndOfFile)) && !end.more);
        harness.close(reader, CloseMode::Graceful);
        harness.finish();
    }
}

/// Sends until that fails, and returns the code of the error: the child of another test may have a copy of a pipe's
/// reader, until its program starts.
fn refusal(harness: &mut Harness, writer: Handle, data: impl Fn() -> Chunks) -> i32 {
    loop {
        let send = harness.submit(writer, Request::Send(data()));
        if let Some(code) = os_error(&harness.next(send)) {
            return code;
        }
        std::thread::yield_now();
    }
}

#[test]
fn a_pipe_without_a_reader_is_an_error_not_a_signal() {
    let mut harness = Harness::new();
    let (reader, writer) = pipe();
    drop(reader);
    let writer = harness.adopt(Resource::PipeWriter(writer));
    assert_eq!(
        refusal(&mut harness, writer, || b"x"[..].into()),
        libc::EPIPE
    );
    let pieces = || {
        let mut pieces = Chunks::new();
        pieces.push(&b"x"[..]);
        pieces.push(&b"y"[..]);
        pieces
    };
    assert_eq!(refusal(&mut harness, writer, pieces), libc::EPIPE);
    harness.close(writer, CloseMode::Graceful);
    harness.finish();
}

#[test]
fn a_reset_is_not_an_end_of_file() {
    for allowed in KERNELS {
        let mut harness = Harness::with(&PortOptions::default(), allowed);
        let (ours, theirs) = pair();
        let ours = harness.adopt(ours);
        let receive = harness.submit(ours, Request::Receive);
        socket2::Socket::from(theirs)
            .set_linger(Some(std::time::Duration::ZERO))
            .expect("it is a socket");
        let reset = harness.next(receive);
        assert_eq!(os_error(&reset), Some(libc::ECONNRESET), "{reset:?}");
        harness.close(ours, CloseMode::Graceful);
        harness.finish();
    }
}

#[test]
fn closing_with_a_reset_resets() {
    let mut harness = Harness::new();
    let (ours, mut theirs) = pair();
    let ours = harness.adopt(ours);
    harness.close(ours, CloseMode::Reset);
    let error = theirs
        .read(&mut [0; 8])
        .expect_err("the connection was reset");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    harness.finish();
}

#[test]
fn a_refused_connection_says_so() {
    let mut harness = Harness::new();
    // No OS assigns this port. The child of another test may have a copy of a listener that was closed just now.
    let address = SocketAddr::from(([127, 0, 0, 1], 1));
    let stream = harness
        .port
        .open_stream(&address.into(), None)
        .expect("a socket");
    let connect = harness.submit(stream, Request::connect(address));
    assert_eq!(os_error(&harness.next(connect)), Some(libc::ECONNREFUSED));
    harness.close(stream, CloseMode::Graceful);
    harness.finish();
}

#[test]
fn a_half_closed_connection_still_receives() {
    let mut harness = Harness::new();
    let (ours, mut theirs) = pair();
    let ours = harness.adopt(ours);
    harness.port.shutdown_write(ours).expect("it is connected");
    assert_eq!(theirs.read(&mut [0; 8]).expect("an end of file"), 0);
    let receive = harness.submit(ours, Request::Receive);
    theirs.write_all(b"late").expect("we still receive");
    assert_eq!(&*harness.receive(receive), b"late");
    drop(theirs);
    assert!(matches!(
        harness.next(receive).result,
        Ok(Outcome::EndOfFile)
    ));
    harness.close(ours, CloseMode::Graceful);
    harness.finish();
}

#[test]
fn what_cannot_be_asked_is_refused_without_a_completion() {
    let mut harness = Harness::new();
    let (ours, _theirs) = pair();
    let ours = harness.adopt(ours);
    let refused = |harness: &mut Harness, request| {
        let error = harness.port.submit(ours, request, Token(0));
        error.expect_err("it makes no sense").kind()
    };
    let send = || Request::Send(vec![0; 64 << 20].into());
    assert_eq!(
        refused(&mut harness, Request::Accept),
        ErrorKind::InvalidInput
    );
    assert_eq!(
        refused(&mut harness, Request::Exit),
        ErrorKind::InvalidInput
    );
    let nothing = Request::Send(b""[..].into());
    assert_eq!(refused(&mut harness, nothing), ErrorKind::InvalidInput);
    let receive = harness.submit(ours, Request::Receive);
    assert_eq!(
        refused(&mut harness, Request::Receive),
        ErrorKind::InvalidInput
    );
    let sending = harness.submit(ours, send());
    assert_eq!(refused(&mut harness, send()), ErrorKind::InvalidInput);
    harness
        .port
        .close(ours, CloseMode::Graceful, Token(1))
        .expect("it is open");
    assert_eq!(refused(&mut harness, Request::Receive), ErrorKind::NotFound);
    let again = harness.port.close(ours, CloseMode::Graceful, Token(2));
    assert_eq!(
        again.expect_err("it is being closed").kind(),
        ErrorKind::NotFound
    );
    harness.last(receive);
    harness.last(sending);
    harness.wait_for_closed();
    harness.finish();
}

#[test]
fn accepting_on_what_does_not_listen_fails_once() {
    let mut harness = Harness::new();
    let listener = TcpListener::bind(loopback()).expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    socket2::SockRef::from(&listener)
        .shutdown(std::net::Shutdown::Both)
        .expect("it is a socket");
    let handle = harness.adopt(listener);
    let accept = harness.submit(handle, Request::Accept);
    let failed = harness.next(accept);
    assert_eq!(os_error(&failed), Some(libc::EINVAL), "{failed:?}");
    assert!(!failed.more);
    assert!(TcpStream::connect(address).is_err());
    harness.close(handle, CloseMode::Graceful);
    harness.finish();
}

/// Goal: on a kernel without `RWF_NOSIGNAL`, SIGPIPE does not kill a program with the default
/// disposition.
/// Method: the disposition belongs to the whole process, so a new process runs this test again.
#[test]
fn a_program_that_does_not_ignore_sigpipe_survives_it() {
    const CHILD: &str = "TIDEWAITER_TEST_SIGPIPE";
    const NAME: &str =
        "port::uring::tests::streams::a_program_that_does_not_ignore_sigpipe_survives_it";
    if std::env::var_os(CHILD).is_none() {
        let status = std::process::Command::new(std::env::current_exe().expect("we have a name"))
            .args(["--exact", NAME])
            .env(CHILD, "1")
            .stdout(std::process::Stdio::null())
            .status()
            .expect("the tests can be run again");
        assert!(status.success(), "{status}");
        return;
    }
    // SAFETY: the default action runs no function of ours.
    let before = unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    assert_ne!(before, libc::SIG_ERR);
    sigpipe::block_unless_ignored().expect("the mask can be set");
    let mut harness = Harness::new();
    harness.port.setup.write_flags = Some(sigpipe::WriteFlags(0));
    let (reader, writer) = pipe();
    drop(reader);
    let writer = harness.adopt(Resource::PipeWriter(writer));
    let send = harness.submit(writer, Request::Send(b"x"[..].into()));
    assert_eq!(os_error(&harness.next(send)), Some(libc::EPIPE));
    harness.close(writer, CloseMode::Graceful);
    harness.finish();
}

/// Goal: a pipe that carries much soon gets a larger buffer, and one that carries little keeps its
/// own.
#[test]
fn a_pipe_that_was_full_gets_more_room_on_every_kernel() {
    // Sized to fill several receive buffers but not the whole pipe.
    let piece = 3 * PortOptions::default().receive_bytes;
    for allowed in KERNELS {
        let mut harness = Harness::with(&PortOptions::default(), allowed);
        let (reader, writer) = pipe();
        let narrow = rustix::pipe::fcntl_getpipe_size(&writer).expect("it is a pipe");
        let reader = harness.adopt(Resource::PipeReader(reader));
        let receive = harness.submit(reader, Request::Receive);
        let mut pass = |bytes: usize| {
            rustix::io::write(&writer, &vec![0; bytes]).expect("there is room");
            let mut left = bytes;
            while left > 0 {
                left -= harness.receive(receive).len();
            }
            rustix::pipe::fcntl_getpipe_size(&writer).expect("it is a pipe")
        };
        for _ in 0..10 {
            assert_eq!(pass(piece - 1), narrow, "each time the reader caught up");
        }
        pass(piece);
        assert!(pass(piece) > narrow, "it never did");
        drop(writer);
        assert!(matches!(
            harness.next(receive).result,
            Ok(Outcome::EndOfFile)
        ));
        harness.close(reader, CloseMode::Graceful);
        harness.finish();
    }
}

/// Goal: a program that passes on a surge, and pauses whenever it cannot, goes on receiving in large pieces.
#[test]
fn a_receive_after_one_that_was_cancelled_in_a_surge_goes_on_in_large_pieces() {
    let usual = PortOptions::default().receive_bytes;
    for allowed in KERNELS {
        let mut harness = Harness::with(&PortOptions::default(), allowed);
        let (ours, mut theirs) = pair();
        theirs.set_nonblocking(true).expect("it can be");
        let mut fill = || {
            let piece = vec![0; 64 * 1024];
            while theirs.write(&piece).is_ok() {}
        };
        let socket = harness.adopt(ours);
        for _ in 0..3 {
            let receive = harness.submit(socket, Request::Receive);
            fill();
            while harness.receive(receive).len() <= usual {
                fill();
            }
            assert!(harness.port.cancel(receive));
            assert!(is_cancelled(&harness.last(receive)));
            let receive = harness.submit(socket, Request::Receive);
            let pending = harness.port.operations.get(receive.0);
            assert!(pending.is_some_and(Pending::is_wide), "{allowed:?}");
            assert!(harness.port.cancel(receive));
            assert!(is_cancelled(&harness.last(receive)));
        }
        harness.close(socket, CloseMode::Reset);
        harness.finish();
    }
}
