//! Files: reads and writes on the port, and files that are sent as Windows's servers do it.

use std::io::Read;
use std::net::TcpStream;
use std::path::PathBuf;

use super::{close, connected, only, port};
use crate::os::{FileOptions, OsFile, file};
use crate::port::file::FileCall;
use crate::port::iocp::Iocp;
use crate::port::named_calls::NamedCalls;
use crate::port::{
    Chunks, Driver, FileOutcome, FilePart, FileRequest, Handle, Operation, Outcome, Request,
    Resource, Token,
};

fn path(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("tidewaiter-{}-{name}", std::process::id()))
}

/// Opens a new file as the reactor does.
fn open(name: &str) -> OsFile {
    let options = FileOptions::new().read(true).write(true).create(true);
    let opened = file::open(&path(name), &options.truncate(true));
    opened.expect("a file can be made")
}

fn submit(port: &mut Iocp, handle: Handle, request: Request) -> Operation {
    port.submit(handle, request, Token(7)).expect("it is taken")
}

fn write(port: &mut Iocp, handle: Handle, bytes: &[u8]) {
    let request = FileRequest::Write {
        offset: Some(0),
        data: Chunks::from(bytes),
    };
    let writing = submit(port, handle, Request::File(Box::new(request)));
    match only(port, writing) {
        Ok(Outcome::File(FileOutcome::Written { bytes: written })) => {
            assert_eq!(written, bytes.len());
        }
        other => panic!("it should be written: {other:?}"),
    }
}

#[test]
fn a_file_is_written_and_read_on_the_port() {
    let mut port = port();
    let adopted = port.adopt(Resource::File(open("port")));
    let handle = adopted.expect("it was opened for overlapped calls");
    write(&mut port, handle, b"hello");
    for (offset, expected) in [(0, &b"hello"[..]), (3, b"lo"), (5, b""), (100, b"")] {
        let into = Vec::with_capacity(10);
        let request = Request::File(Box::new(FileRequest::Read { offset, into }));
        let reading = submit(&mut port, handle, request);
        match only(&mut port, reading) {
            Ok(Outcome::File(FileOutcome::Read(bytes))) => assert_eq!(bytes, expected),
            other => panic!("it should be read: {other:?}"),
        }
    }
    close(&mut port, handle);
    let _ = std::fs::remove_file(path("port"));
}

/// Goal: `TransmitFile` sends a part, and tells the file's end.
/// Method: allow the port to call it, as on a server.
#[test]
fn parts_of_a_file_are_transmitted() {
    let mut port = port();
    port.functions.sockets.file_calls.insert(FileCall::Send);
    let file = port.adopt(Resource::File(open("transmitted")));
    let file = file.expect("it was opened for overlapped calls");
    write(&mut port, file, b"0123456789");
    let (handle, mut peer): (Handle, TcpStream) = connected(&mut port);
    for (offset, len, expected) in [(2, 5, 5), (8, 100, 2), (10, 1, 0)] {
        let part = FilePart { file, offset, len };
        let sending = submit(&mut port, handle, Request::SendFile(Box::new(part)));
        match only(&mut port, sending) {
            Ok(Outcome::FileSent {
                bytes,
                stopped_by: None,
            }) => assert_eq!(bytes, expected),
            other => panic!("it should be sent: {other:?}"),
        }
    }
    close(&mut port, handle);
    let mut received = Vec::new();
    peer.read_to_end(&mut received).expect("it ends in order");
    assert_eq!(received, b"2345689");
    close(&mut port, file);
    let _ = std::fs::remove_file(path("transmitted"));
}
