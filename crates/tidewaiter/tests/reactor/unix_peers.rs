//! What libuv, mio and tokio document for UNIX sockets, one test each, with the reason where ours differs. Promises that
//! other tests check:
//!
//! - libuv, `uv_pipe_chmod`: other users get access by permission bits.
//!   `socket_files_unix::the_file_has_the_mode_and_is_removed_when_the_listener_closes`.
//! - libuv, `uv_pipe_pending_count`: handles that were passed come in their order.
//!   `unix_messages::descriptors_come_with_their_bytes_over_streams_and_packets`.
//! - tokio, `UnixStream::peer_cred`: the peer's process, user and group.
//!   `unix_messages::the_peers_credentials_are_those_of_its_process`.
//! - mio, `UnixListener::accept`: the peer's address, which is unnamed for most clients; mio and tokio: abstract names.
//!   `unix_sockets::an_echo_comes_back_whole_over_a_path_and_an_abstract_name`.
//! - mio, `UnixStream::shutdown`; tokio, `OwnedWriteHalf`: one direction ends alone.
//!   `unix_sockets::each_side_of_a_unix_socket_ends_its_writing_and_still_receives`.
//! - tokio, `UnixStream::connect`: errors have the OS's kind.
//!   `unix_sockets::connecting_to_nobody_fails_with_the_oss_reason`.
//! - mio and tokio, `UnixStream::connect`: fails with `WouldBlock` where the backlog is full. Ours waits for room, because
//!   clients should not have to know: `unix_sockets::a_client_waits_for_room_in_the_backlog`.

use std::cell::Cell;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};

use tidewaiter::io::Stream;
use tidewaiter::port::{ListenOptions, PassedDescriptors};
use tidewaiter::{Address, Error, Protocol, Reactor, Transport, UnixAddress};

use super::promises::io_support::check;
use super::promises::support::{Countdown, Echo, Script, Silent, pattern, reactor, run_clean};
use super::socket_files::leave_dead;
use crate::support::folder::Folder;

/// libuv, `uv_pipe_bind`: "Paths on Unix get truncated". Ours are refused, because a socket elsewhere than asked for is
/// found by nobody.
#[test]
fn libuv_too_long_paths_are_refused_and_not_cut() {
    let error = UnixAddress::from_pathname("x".repeat(200)).expect_err("too long");
    assert!(error.to_string().contains("too long: 200 bytes"), "{error}");
}

/// libuv removes the file of a server when the handle is closed, whatever the path leads to by then. Ours removes it only
/// if it is still its own.
#[test]
fn libuv_the_file_goes_with_the_server_unless_it_is_anothers() {
    for replaced in [false, true] {
        let folder = Folder::new();
        let address = folder.socket("a");
        let path = address.as_pathname().expect("a path");
        let reactor = reactor();
        let listener = reactor
            .listen_unix(address.clone(), |_| Silent)
            .expect("a free path");
        if replaced {
            fs::remove_file(path).expect("it is there");
            fs::write(path, "another's").expect("it is free");
        }
        drop((listener, reactor));
        assert_eq!(fs::exists(path).expect("it can be told"), replaced);
    }
}

/// tokio, `UnixListener::bind`, and mio's: the file stays when the listener is dropped, and the next bind fails. Ours
/// replaces the file of a dead server, because every crash would otherwise need a human. Without the lock, it fails as
/// theirs do.
#[test]
fn tokio_a_path_in_use_is_refused_without_the_lock() {
    let folder = Folder::new();
    let address = folder.socket("a");
    leave_dead(address.as_pathname().expect("a path"));
    let reactor = reactor();
    let mut options = ListenOptions::new(address);
    options.socket_file.lock = false;
    let error = reactor
        .listen_unix(options.clone(), |_| Silent)
        .expect_err("as theirs");
    assert!(
        matches!(&error, Error::Listen { source, .. } if source.kind() == ErrorKind::AddrInUse),
        "{error}"
    );
    options.socket_file.lock = true;
    reactor
        .listen_unix(options, |_| Silent)
        .expect("nobody lives there");
}

/// tokio and mio, `UnixStream::pair`: two connected sockets without an address.
#[test]
fn tokio_one_end_of_a_pair_is_a_connection() {
    let reactor = reactor();
    let (ours, mut theirs) = UnixStream::pair().expect("a pair");
    let transport = reactor
        .adopt_stream(ours, UnixAddress::unnamed(), Echo)
        .expect("it is connected");
    assert_eq!(
        transport.peer_addr(),
        Some(Address::from(UnixAddress::unnamed()))
    );
    theirs.write_all(b"hello").expect("it is connected");
    theirs
        .shutdown(std::net::Shutdown::Write)
        .expect("it is connected");
    let reader = std::thread::spawn(move || {
        let mut answer = String::new();
        theirs.read_to_string(&mut answer).expect("it is text");
        answer
    });
    while reactor.metrics().living.transports > 0 {
        reactor
            .iterate(std::time::Duration::from_millis(10))
            .expect("it runs");
    }
    assert_eq!(reader.join().expect("it ends"), "hello");
}

/// Takes a file, and writes to it.
struct Writer(Countdown);

impl Protocol for Writer {
    fn connection_made(&mut self, transport: &Transport) {
        transport.take_descriptors().expect("it can");
    }

    fn descriptors_received(&mut self, transport: &Transport, passed: PassedDescriptors) {
        for descriptor in passed.descriptors {
            File::from(descriptor)
                .write_all(b"written")
                .expect("there is room");
        }
        self.0.hit(transport.reactor());
    }

    fn data_received(&mut self, _: &Transport, _: &[u8]) {}
}

/// libuv, `uv_write2`: passes TCP and pipe handles. Ours passes whatever has a descriptor.
#[test]
fn libuv_regular_files_are_passed_as_well() {
    let folder = Folder::new();
    let (reactor, countdown) = (reactor(), Countdown::new(1));
    let path = folder.path().join("file");
    let file = Cell::new(Some(File::create(&path).expect("a new file")));
    let listener = reactor.listen_unix(folder.socket("a"), move |_| Writer(countdown.clone()));
    listener.expect("a free path");
    reactor.connect_unix(folder.socket("a"), move |_| {
        let file = file.take().expect("connected once");
        let mut file = Some(file);
        Script::new().made(move |transport| {
            let given = file.take().into_iter().map(Into::into).collect();
            transport
                .send_with_descriptors(b"x", given)
                .expect("it is open");
        })
    });
    run_clean(&reactor);
    assert_eq!(fs::read(path).expect("it is there"), b"written");
}

/// More than the socket holds.
const MUCH: usize = 4_000_000;

/// A stream to a peer of the standard library.
async fn connected(reactor: &Reactor) -> (Stream, UnixStream) {
    let folder = Folder::new();
    let address = folder.socket("a");
    let listener = UnixListener::bind(address.as_pathname().expect("a path")).expect("it is free");
    let stream = Stream::connect(reactor, address).await.expect("it listens");
    (stream, listener.accept().expect("it has connected").0)
}

/// tokio and mio: a write to a peer that reads no more fails at once, although the peer may still be sending. Ours, which
/// queues, tells it to the flush, and to all that follows.
#[test]
fn tokio_a_writer_learns_at_once_that_the_peer_reads_no_more_and_reads_on() {
    let reactor = reactor();
    check(&reactor, async {
        let (mut stream, mut peer) = connected(&reactor).await;
        peer.shutdown(Shutdown::Read).unwrap();
        stream.write_all(b"nobody reads this").await.unwrap();
        let errors = [
            stream.flush().await.unwrap_err(),
            stream.flush().await.unwrap_err(),
            stream.write_all(b"more").await.unwrap_err(),
            stream.shutdown().await.unwrap_err(),
        ];
        let kinds = errors.each_ref().map(std::io::Error::kind);
        assert_eq!(kinds, [ErrorKind::BrokenPipe; 4], "{errors:?}");
        peer.write_all(b"heard").unwrap();
        let mut heard = [0; 5];
        stream.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"heard");
    });
}

/// tokio and mio: the write fails. Ours was told earlier that the bytes were taken to be sent, so the end tells.
#[test]
fn tokio_a_peer_that_hangs_up_before_everything_is_sent_has_not_ended_in_order() {
    let reactor = reactor();
    check(&reactor, async {
        let (mut stream, peer) = connected(&reactor).await;
        peer.shutdown(Shutdown::Write).unwrap();
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
        stream.write_all(&pattern(MUCH)).await.unwrap();
        drop(peer);
        let errors = [
            stream.flush().await.unwrap_err(),
            stream.write_all(b"more").await.unwrap_err(),
            stream.shutdown().await.unwrap_err(),
        ];
        for error in errors {
            let kind = error.kind();
            let lost = [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset];
            assert!(lost.contains(&kind), "{error}");
        }
    });
}
