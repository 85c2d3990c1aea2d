//! Overlapped pipes, like our ends of a child's streams.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::windows::io::{FromRawHandle, OwnedHandle};
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use windows_sys::Win32::Foundation::{GENERIC_READ, GENERIC_WRITE, INVALID_HANDLE_VALUE};
use windows_sys::Win32::Storage::FileSystem::{
    CreateFileW, FILE_FLAG_FIRST_PIPE_INSTANCE, FILE_FLAG_OVERLAPPED, OPEN_EXISTING,
    PIPE_ACCESS_INBOUND, PIPE_ACCESS_OUTBOUND,
};
use windows_sys::Win32::System::Pipes::{
    CreateNamedPipeW, PIPE_READMODE_BYTE, PIPE_REJECT_REMOTE_CLIENTS, PIPE_TYPE_BYTE,
};

use super::{only, port, receive, send, until};
use crate::port::iocp::entry::Source;
use crate::port::named_calls::NamedCalls;
use crate::port::{Chunks, Completion, Driver, Failure, Outcome, Resource};

/// Returns a pipe: our overlapped end, which reads or writes, and the other, ordinary one.
fn pipe(we_read: bool) -> (OwnedHandle, File) {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!(
        "\\\\.\\pipe\\tidewaiter-test-{}-{number}\0",
        std::process::id()
    );
    let name: Vec<u16> = name.encode_utf16().collect();
    let (ours, theirs) = match we_read {
        true => (PIPE_ACCESS_INBOUND, GENERIC_WRITE),
        false => (PIPE_ACCESS_OUTBOUND, GENERIC_READ),
    };
    // SAFETY: the name is zero-terminated; the call gets no security attributes.
    let server = unsafe {
        CreateNamedPipeW(
            name.as_ptr(),
            ours | FILE_FLAG_OVERLAPPED | FILE_FLAG_FIRST_PIPE_INSTANCE,
            PIPE_TYPE_BYTE | PIPE_READMODE_BYTE | PIPE_REJECT_REMOTE_CLIENTS,
            1,
            65536,
            65536,
            0,
            ptr::null(),
        )
    };
    assert_ne!(
        server,
        INVALID_HANDLE_VALUE,
        "{}",
        io::Error::last_os_error()
    );
    // SAFETY: the handle was created just now.
    let server = unsafe { OwnedHandle::from_raw_handle(server) };
    // SAFETY: as for the server's end.
    let client = unsafe {
        CreateFileW(
            name.as_ptr(),
            theirs,
            0,
            ptr::null(),
            OPEN_EXISTING,
            0,
            ptr::null_mut(),
        )
    };
    assert_ne!(
        client,
        INVALID_HANDLE_VALUE,
        "{}",
        io::Error::last_os_error()
    );
    // SAFETY: the handle was created just now.
    (server, unsafe { File::from_raw_handle(client) })
}

/// Runs `check` for an adopted pipe, whose every operation posts a packet, and for one of our own.
fn either_way(we_read: bool, check: fn(&mut super::Iocp, crate::port::Handle, File)) {
    for ours in [false, true] {
        let mut port = port();
        let (our_end, other_end) = pipe(we_read);
        let handle = match (ours, we_read) {
            (true, true) => port.insert(Source::PipeReader(our_end), true),
            (true, false) => port.insert(Source::PipeWriter(our_end), true),
            (false, true) => port.adopt(Resource::PipeReader(our_end)),
            (false, false) => port.adopt(Resource::PipeWriter(our_end)),
        };
        check(&mut port, handle.expect("it is overlapped"), other_end);
        assert_eq!(port.stale(), 0);
    }
}

/// Collects bytes until there are `count`.
fn collect(port: &mut super::Iocp, count: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    until(port, |_, completion| {
        let Ok(Outcome::Received(buffer)) = completion.result else {
            panic!("{completion:?}");
        };
        assert!(completion.more);
        bytes.extend_from_slice(&buffer);
        bytes.len() >= count
    });
    bytes
}

fn nothing_completes(port: &mut super::Iocp) {
    let mut completions: Vec<Completion> = Vec::new();
    port.wait(Some(Duration::from_millis(20)), &mut completions)
        .expect("it waits");
    assert!(completions.is_empty(), "{completions:?}");
}

#[test]
fn a_reader_gets_bytes_and_the_end() {
    either_way(true, |port, handle, mut writer| {
        let operation = receive(port, handle);
        nothing_completes(port);
        writer.write_all(b"one").expect("it is open");
        assert_eq!(collect(port, 3), b"one");
        // Writing nothing is neither bytes nor an end of file.
        assert_eq!(writer.write(b"").expect("it is open"), 0);
        nothing_completes(port);
        writer.write_all(b"two").expect("it is open");
        drop(writer);
        assert_eq!(collect(port, 3), b"two");
        assert!(matches!(only(port, operation), Ok(Outcome::EndOfFile)));
    });
}

#[test]
fn a_flood_is_read_whole() {
    const TOTAL: usize = 2 * 1024 * 1024;
    either_way(true, |port, handle, mut writer| {
        receive(port, handle);
        let thread = std::thread::spawn(move || {
            let bytes: Vec<u8> = (0..=250).cycle().take(TOTAL).collect();
            writer.write_all(&bytes).expect("it is open");
        });
        let mut place = 0;
        until(port, |_, completion| match completion.result {
            Ok(Outcome::Received(buffer)) => {
                assert!(
                    buffer
                        .iter()
                        .zip(place..)
                        .all(|(&byte, at)| usize::from(byte) == at % 251)
                );
                place += buffer.len();
                false
            }
            Ok(Outcome::EndOfFile) => true,
            other => panic!("{other:?}"),
        });
        assert_eq!(place, TOTAL);
        thread.join().expect("it wrote everything");
    });
}

/// Goal: a child that does not read holds the sender back, and loses nothing once it reads.
#[test]
fn a_writer_waits_for_the_reader() {
    const TOTAL: usize = 1024 * 1024;
    either_way(false, |port, handle, mut reader| {
        let mut chunks = Chunks::new();
        chunks.push((0..=250).cycle().take(TOTAL).collect::<Vec<u8>>());
        send(port, handle, chunks);
        // Without a reader, the pipe takes only what it holds.
        let mut taken = 0;
        let mut completions = Vec::new();
        loop {
            port.wait(Some(Duration::from_millis(50)), &mut completions)
                .expect("it waits");
            let Some(completion) = completions.pop() else {
                break;
            };
            let Ok(Outcome::Sent { bytes }) = completion.result else {
                panic!("{completion:?}");
            };
            taken += bytes;
            send(port, handle, completion.unsent);
        }
        assert!(taken <= 256 * 1024, "{taken} bytes went nowhere");
        let thread = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes).expect("an orderly end");
            bytes
        });
        until(port, |port, completion| {
            let sent = matches!(completion.result, Ok(Outcome::Sent { .. }));
            assert!(sent, "{completion:?}");
            if completion.unsent.is_empty() {
                return true;
            }
            send(port, handle, completion.unsent);
            false
        });
        super::close(port, handle);
        let bytes = thread.join().expect("it read everything");
        assert_eq!(bytes.len(), TOTAL);
        assert!(
            bytes
                .iter()
                .zip(0..)
                .all(|(&byte, at)| usize::from(byte) == at % 251)
        );
    });
}

#[test]
fn a_writer_learns_that_nobody_reads() {
    either_way(false, |port, handle, reader| {
        drop(reader);
        let operation = send(port, handle, b"lost".as_slice().into());
        let Err(Failure::Os { call, source }) = only(port, operation) else {
            panic!("nobody reads");
        };
        assert_eq!(
            (call, source.kind()),
            ("WriteFile", io::ErrorKind::BrokenPipe)
        );
    });
}

/// Goal: bytes that arrive around a cancelled read remain for the next one.
#[test]
fn cancelling_a_read_loses_no_bytes() {
    either_way(true, |port, handle, mut writer| {
        let (mut read, mut written) = (Vec::new(), Vec::new());
        for round in 0..100_u8 {
            let operation = receive(port, handle);
            writer.write_all(&[round]).expect("it is open");
            written.push(round);
            if round % 3 == 0 {
                let mut completions = Vec::new();
                port.wait(Some(Duration::ZERO), &mut completions)
                    .expect("it waits");
                read.extend(
                    completions
                        .iter()
                        .flat_map(|completion| match &completion.result {
                            Ok(Outcome::Received(buffer)) => buffer.to_vec(),
                            other => panic!("{other:?}"),
                        }),
                );
            }
            assert!(port.cancel(operation));
            assert!(port.cancel(operation), "asking again changes nothing");
            until(port, |_, completion| {
                if let Ok(Outcome::Received(buffer)) = &completion.result {
                    read.extend_from_slice(buffer);
                }
                !completion.more
            });
            assert!(!port.cancel(operation));
        }
        drop(writer);
        receive(port, handle);
        until(port, |_, completion| {
            if let Ok(Outcome::Received(buffer)) = &completion.result {
                read.extend_from_slice(buffer);
            }
            !completion.more
        });
        assert_eq!(read, written);
    });
}
