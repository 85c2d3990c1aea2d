//! Files on a port: opening, every request, and sending one through a connection; and what a port says that leaves some
//! of it to others.

use std::io::{self, ErrorKind};
use std::path::PathBuf;

use tidewaiter::FileOptions;
use tidewaiter::port::{
    Chunks, CloseMode, FileOutcome, FilePart, FileRequest, FileToOpen, Handle, Operation, Outcome,
    PortKind, Request, Token,
};

use crate::support::harness::Harness;

/// The port's own calls on files.
struct Own {
    opens: bool,
    transfers: bool,
    syncs: bool,
    sends: bool,
}

fn own(harness: &Harness) -> Own {
    let kind = harness.port.info().kind;
    let all = matches!(kind, PortKind::Uring | PortKind::Sim);
    Own {
        opens: all,
        transfers: all || kind == PortKind::Iocp,
        syncs: all,
        sends: cfg!(target_os = "linux") && matches!(kind, PortKind::Uring | PortKind::Poll),
    }
}

fn path(name: &str) -> PathBuf {
    let name = format!("tidewaiter-promise-{}-{name}", std::process::id());
    std::env::temp_dir().join(name)
}

fn to_open(name: &str) -> Request {
    let options = FileOptions::new().read(true).write(true).create(true);
    Request::OpenFile(Box::new(FileToOpen {
        path: path(name),
        options: options.truncate(true),
    }))
}

/// Opens an empty file by the port; `None` if it opens none.
fn open(harness: &mut Harness, name: &str) -> Option<Handle> {
    let unopened = match harness.port.unopened_file() {
        Ok(handle) => handle,
        Err(error) => {
            assert!(!own(harness).opens, "{error}");
            assert_refused(&error, harness.port.info().kind);
            return None;
        }
    };
    harness.track(unopened);
    let opening = harness.submit(unopened, to_open(name));
    let result = harness.last(opening);
    assert!(matches!(result, Ok(Outcome::FileOpened)), "{result:?}");
    // The open file keeps its bytes. (A simulated one is not there.)
    let _ = std::fs::remove_file(path(name));
    Some(unopened)
}

/// Checks that a port names itself and what it does not do.
#[track_caller]
fn assert_refused(error: &io::Error, port: PortKind) {
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    let message = error.to_string();
    let named = message.contains(&port.to_string()) && message.contains("files");
    assert!(named, "{message}");
}

#[track_caller]
fn perform(harness: &mut Harness, file: Handle, request: FileRequest) -> FileOutcome {
    let operation = harness.submit(file, Request::File(Box::new(request)));
    match harness.last(operation) {
        Ok(Outcome::File(outcome)) => outcome,
        other => panic!("a file should do that: {other:?}"),
    }
}

fn write(offset: u64, bytes: &[u8]) -> FileRequest {
    FileRequest::Write {
        offset: Some(offset),
        data: Chunks::from(bytes),
    }
}

#[track_caller]
fn read(harness: &mut Harness, file: Handle, offset: u64, len: usize) -> Vec<u8> {
    let into = Vec::with_capacity(len);
    match perform(harness, file, FileRequest::Read { offset, into }) {
        FileOutcome::Read(bytes) => bytes,
        other => panic!("no answer to a read: {other:?}"),
    }
}

#[test]
fn every_request_is_performed_or_refused() {
    let mut harness = Harness::new();
    let Some(file) = open(&mut harness, "requests") else {
        return harness.finish();
    };
    assert!(own(&harness).transfers && own(&harness).syncs);
    let written = perform(&mut harness, file, write(2, b"cdef"));
    assert!(matches!(written, FileOutcome::Written { bytes: 4 }));
    assert_eq!(read(&mut harness, file, 0, 100), b"\0\0cdef");
    assert_eq!(read(&mut harness, file, 3, 2), b"de");
    assert_eq!(read(&mut harness, file, 6, 2), b"");
    let mut pieces = Chunks::from(&b"a"[..]);
    pieces.push(&b"b"[..]);
    let several = FileRequest::Write {
        offset: Some(0),
        data: pieces,
    };
    assert!(matches!(
        perform(&mut harness, file, several),
        FileOutcome::Written { bytes: 2 }
    ));
    assert_eq!(read(&mut harness, file, 0, 3), b"abc");
    for data_only in [false, true] {
        let synced = perform(&mut harness, file, FileRequest::Sync { data_only });
        assert!(matches!(synced, FileOutcome::Done));
    }
    match perform(&mut harness, file, FileRequest::Metadata) {
        FileOutcome::Metadata(metadata) => assert_eq!(metadata.len, 6),
        other => panic!("no metadata: {other:?}"),
    }
    // Older kernels leave this to others.
    match harness.try_submit(file, Request::File(Box::new(FileRequest::SetLen(1)))) {
        Ok(cut) => assert!(matches!(
            harness.last(cut),
            Ok(Outcome::File(FileOutcome::Done))
        )),
        Err(error) => assert_refused(&error, harness.port.info().kind),
    }
    harness.close_now(file);
    harness.finish();
}

#[test]
fn a_file_of_the_system_is_adopted_and_does_what_the_port_does() {
    let mut harness = Harness::new();
    let kind = harness.port.info().kind;
    if matches!(kind, PortKind::Sim | PortKind::Iocp) {
        // A simulation has files of its own, and Windows's must be opened for overlapped calls.
        return harness.finish();
    }
    let name = path("adopted");
    let options = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(&name);
    let adopted = harness.port.adopt(options.expect("a file can be made"));
    let file = adopted.expect("any file can be adopted");
    harness.track(file);
    let _ = std::fs::remove_file(&name);
    if own(&harness).transfers {
        perform(&mut harness, file, write(0, b"hello"));
        assert_eq!(read(&mut harness, file, 0, 9), b"hello");
    } else {
        for request in [
            write(0, b"hello"),
            FileRequest::Metadata,
            FileRequest::SetLen(3),
        ] {
            let refused = harness
                .port
                .submit(file, Request::File(Box::new(request)), Token(0));
            assert_refused(&refused.expect_err("the port leaves it to others"), kind);
        }
    }
    harness.close_now(file);
    harness.finish();
}

#[test]
fn a_failure_to_open_is_the_completion() {
    let mut harness = Harness::new();
    if !own(&harness).opens {
        return harness.finish();
    }
    let unopened = harness.port.unopened_file().expect("it opens files");
    harness.track(unopened);
    let missing = Request::OpenFile(Box::new(FileToOpen {
        path: path("missing"),
        options: FileOptions::new(),
    }));
    let opening = harness.submit(unopened, missing);
    assert_eq!(harness.refusal(opening).kind(), ErrorKind::NotFound);
    // The handle may be tried again.
    let opening = harness.submit(unopened, to_open("second"));
    assert!(matches!(harness.last(opening), Ok(Outcome::FileOpened)));
    let _ = std::fs::remove_file(path("second"));
    harness.close_now(unopened);
    harness.finish();
}

#[test]
fn a_file_takes_only_the_requests_of_files() {
    let mut harness = Harness::new();
    if !own(&harness).opens {
        return harness.finish();
    }
    let unopened = harness.port.unopened_file().expect("it opens files");
    harness.track(unopened);
    let file = open(&mut harness, "taken").expect("it opens files");
    for (handle, request, message) in [
        (
            unopened,
            Request::Receive,
            "an unopened file takes no Receive",
        ),
        (
            unopened,
            Request::File(Box::new(FileRequest::Metadata)),
            "an unopened file takes no File",
        ),
        (file, Request::Receive, "a file takes no Receive"),
        (file, to_open("no"), "a file takes no OpenFile"),
        (
            file,
            Request::File(Box::new(write(0, b""))),
            "there is nothing to write",
        ),
    ] {
        let error = harness
            .port
            .submit(handle, request, Token(0))
            .expect_err("refused");
        assert_eq!(
            (error.kind(), &*error.to_string()),
            (ErrorKind::InvalidInput, message)
        );
    }
    harness.close_now(unopened);
    harness.close_now(file);
    harness.finish();
}

/// Goal: closing ends what is under way on a file, and what it returns is all there.
#[test]
fn a_close_waits_for_the_requests_of_a_file() {
    let mut harness = Harness::new();
    let Some(file) = open(&mut harness, "closing") else {
        return harness.finish();
    };
    let writes: Vec<_> = (0..50)
        .map(|number| {
            harness.submit(
                file,
                Request::File(Box::new(write(number * 1000, &[1; 1000]))),
            )
        })
        .collect();
    let closing = harness.close(file, CloseMode::Graceful);
    for operation in writes {
        let _ = harness.last(operation);
    }
    assert!(matches!(harness.last(closing), Ok(Outcome::Closed)));
    harness.finish();
}

/// A handle of a file with these bytes, on a port that sends files.
fn file_to_send(harness: &mut Harness, name: &str, bytes: &[u8]) -> Option<Handle> {
    grown_file_to_send(harness, name, bytes, bytes.len() as u64)
}

/// The same, followed by a hole up to a length of `len`.
fn grown_file_to_send(harness: &mut Harness, name: &str, bytes: &[u8], len: u64) -> Option<Handle> {
    if !own(harness).sends {
        return None;
    }
    let name = path(name);
    std::fs::write(&name, bytes).expect("a file can be made");
    let mut options = std::fs::File::options();
    let file = options.read(true).write(true).open(&name);
    let file = file.expect("it is there");
    file.set_len(len).expect("a hole takes no room");
    let _ = std::fs::remove_file(&name);
    let file = harness.port.adopt(file).expect("any file can be adopted");
    harness.track(file);
    Some(file)
}

#[test]
fn a_port_that_sends_no_files_says_so() {
    let mut harness = Harness::new();
    if own(&harness).sends {
        return harness.finish();
    }
    let (client, _server) = harness.pair();
    let Some(file) = open(&mut harness, "unsent") else {
        return harness.finish();
    };
    let part = FilePart {
        file,
        offset: 0,
        len: 1,
    };
    let refused = harness
        .port
        .submit(client, Request::SendFile(Box::new(part)), Token(0));
    let kind = harness.port.info().kind;
    assert_refused(&refused.expect_err("it sends no files"), kind);
    harness.close_now(file);
    harness.finish();
}

#[test]
fn a_part_of_a_file_is_sent_and_its_end_told() {
    let mut harness = Harness::new();
    let Some(file) = file_to_send(&mut harness, "part", b"0123456789") else {
        return harness.finish();
    };
    let (client, server) = harness.pair();
    for (offset, len, expected) in [(2, 5, 5), (8, 100, 2), (10, 1, 0), (100, 1, 0)] {
        let part = FilePart { file, offset, len };
        let sending = harness.submit(client, Request::SendFile(Box::new(part)));
        match harness.last(sending) {
            Ok(Outcome::FileSent {
                bytes,
                stopped_by: None,
            }) => assert_eq!(bytes, expected),
            other => panic!("it should be sent: {other:?}"),
        }
    }
    harness
        .port
        .shutdown_write(client)
        .expect("it is connected");
    let receiving = harness.receive(server);
    let mut received = Vec::new();
    while let Ok(Outcome::Received(bytes)) = harness.next(receiving).result {
        received.extend_from_slice(&bytes);
    }
    assert_eq!(received, b"2345689");
    harness.close_now(file);
    harness.finish();
}

/// More than the buffers of both sockets hold.
const LARGE: u64 = 64 << 20;

/// Begins to send a file that is larger than all buffers on the way. Returns the file, both ends of the connection and the
/// operation; `None` on a port that sends no files.
fn begin_large_file(
    harness: &mut Harness,
    name: &str,
) -> Option<(Handle, Handle, Handle, Operation)> {
    let file = grown_file_to_send(harness, name, b"begin", LARGE)?;
    let (client, server) = harness.pair();
    let part = FilePart {
        file,
        offset: 0,
        len: LARGE,
    };
    let sending = harness.submit(client, Request::SendFile(Box::new(part)));
    Some((file, client, server, sending))
}

/// Goal: a peer that does not read stops the file; sends are excluded meanwhile; a cancel tells how much went; and the file
/// may be closed at any time.
#[test]
fn a_file_that_is_stopped_tells_how_far_it_came() {
    let mut harness = Harness::new();
    let Some((file, client, server, sending)) = begin_large_file(&mut harness, "stopped") else {
        return harness.finish();
    };
    let send = Request::Send(Chunks::from(&b"no"[..]));
    let error = harness
        .port
        .submit(client, send, Token(0))
        .expect_err("one at a time");
    assert!(
        error.to_string().ends_with("while it is sending a file"),
        "{error}"
    );
    harness.close_now(file);
    let receiving = harness.receive(server);
    let first = harness.next(receiving);
    assert!(
        matches!(first.result, Ok(Outcome::Received(_))),
        "it is still sent"
    );
    harness.port.cancel(receiving);
    harness.port.cancel(sending);
    match harness.last(sending) {
        Ok(Outcome::FileSent {
            bytes,
            stopped_by: Some(_),
        }) => assert!(0 < bytes && bytes < LARGE),
        other => panic!("it should be stopped: {other:?}"),
    }
    harness.drop_port();
}

#[test]
fn a_file_is_not_sent_to_a_peer_that_is_gone() {
    let mut harness = Harness::new();
    let Some((file, _, server, sending)) = begin_large_file(&mut harness, "gone") else {
        return harness.finish();
    };
    harness.turn(Some(std::time::Duration::from_millis(1)));
    harness.close(server, CloseMode::Reset);
    match harness.last(sending) {
        Ok(Outcome::FileSent {
            stopped_by: Some(_),
            ..
        })
        | Err(_) => {}
        other => panic!("it should fail: {other:?}"),
    }
    harness.close_now(file);
    harness.finish();
}
