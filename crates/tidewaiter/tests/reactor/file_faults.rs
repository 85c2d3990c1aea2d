//! Files on Linux when the system refuses: a full disk, limits, a peer that is gone; and files in processes that fork.

use std::cell::{Cell, RefCell};
use std::io::ErrorKind;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use rustix::fs::{FileType, Mode, OFlags};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tidewaiter::{File, FileError, FileOptions, SendFileError};

use crate::descriptors::leave_free;
use crate::promises::files::{open, read_write};
use crate::promises::support::{Script, pair, pattern, reactor, run_clean, scratch};
use crate::support::alone::alone;
use crate::support::system::{fork, join};

#[test]
fn a_full_disk_is_told_with_its_code_and_the_path() {
    let reactor = reactor();
    open(
        &reactor,
        "/dev/full",
        FileOptions::new().write(true),
        |_, file| {
            file.write_at(0, pattern(10_000), |reactor, written| {
                let error = written.expect_err("the disk is full");
                assert_eq!(
                    error.to_string(),
                    "write \"/dev/full\": No space left on device (os error 28)"
                );
                assert!(matches!(error, FileError::Os { written: 0, .. }));
                reactor.stop();
            });
        },
    );
    run_clean(&reactor);
}

/// Goal: a write that the system cuts short goes on, and what was written is told when it cannot.
#[test]
fn a_write_that_is_cut_short_tells_how_much_was_written() {
    alone(
        module_path!(),
        "a_write_that_is_cut_short_tells_how_much_was_written",
        || {
            // The signal of the limit would end the process.
            let ignored = Arc::new(AtomicBool::new(false));
            signal_hook::flag::register(libc::SIGXFSZ, ignored).expect("a handler is set");
            let before = getrlimit(Resource::Fsize);
            let limit = Rlimit {
                current: Some(5000),
                ..before
            };
            let reactor = reactor();
            let scratch = scratch("limited");
            open(&reactor, scratch.path(), read_write(), move |_, file| {
                setrlimit(Resource::Fsize, limit).expect("it may be lowered");
                file.write_at(0, pattern(20_000), |reactor, written| {
                    let error = written.expect_err("the file may not grow so far");
                    assert_eq!(
                        error.io_error().map(std::io::Error::kind),
                        Some(ErrorKind::FileTooLarge)
                    );
                    assert!(
                        matches!(error, FileError::Os { written: 5000, .. }),
                        "{error:?}"
                    );
                    reactor.stop();
                });
            });
            run_clean(&reactor);
            setrlimit(Resource::Fsize, before).expect("it may be raised again");
            assert_eq!(
                std::fs::read(scratch.path()).expect("it is there"),
                pattern(20_000)[..5000]
            );
        },
    );
}

#[test]
fn opening_at_the_limit_of_descriptors_fails_and_works_again_later() {
    alone(
        module_path!(),
        "opening_at_the_limit_of_descriptors_fails_and_works_again_later",
        || {
            let reactor = reactor();
            let scratch = scratch("descriptors");
            let path = scratch.path();
            // Threads and the loop have what they need by then.
            open(
                &reactor,
                path.clone(),
                read_write(),
                move |reactor, kept| {
                    let before = leave_free(0);
                    reactor.open_file(path.clone(), FileOptions::new(), move |reactor, file| {
                        // Its descriptor was not free until now.
                        drop(kept);
                        let error = file.expect_err("no descriptor is free");
                        let code = error.io_error().and_then(std::io::Error::raw_os_error);
                        assert_eq!(code, Some(libc::EMFILE));
                        setrlimit(Resource::Nofile, before).expect("it may be raised again");
                        open(reactor, path, FileOptions::new(), |reactor, _| {
                            reactor.stop();
                        });
                    });
                },
            );
            run_clean(&reactor);
        },
    );
}

/// Goal: a peer that is gone ends the sending of a file, and not the process, which has the default action for SIGPIPE.
#[test]
fn a_peer_that_is_gone_does_not_end_the_process() {
    alone(
        module_path!(),
        "a_peer_that_is_gone_does_not_end_the_process",
        || {
            let reactor = reactor();
            let scratch = scratch("sigpipe");
            std::fs::write(scratch.path(), vec![7; 64 << 20]).expect("there is room");
            open(
                &reactor,
                scratch.path(),
                FileOptions::new(),
                |reactor, file| {
                    let server = Script::new()
                        .made(move |transport| {
                            for _ in 0..2 {
                                transport.send_file(&file, .., |_, sent| {
                                    let error = sent.expect_err("the peer is gone");
                                    assert!(matches!(error, SendFileError::ConnectionLost { .. }));
                                });
                            }
                        })
                        .lost(|transport, _| transport.reactor().stop());
                    let client = Script::new().data(|transport, _| transport.abort_connection());
                    pair(reactor, client, server);
                },
            );
            run_clean(&reactor);
        },
    );
}

/// Goal: the memory files of the kernel, which have no page cache to send from, are sent by reading and writing.
#[test]
fn a_file_that_the_system_does_not_send_is_read_and_written() {
    let expected = std::fs::read("/proc/self/limits").expect("Linux has it");
    let reactor = reactor();
    open(
        &reactor,
        "/proc/self/limits",
        FileOptions::new(),
        move |reactor, file| {
            let received = Rc::new(RefCell::new(Vec::new()));
            let data = Rc::clone(&received);
            let server = Script::new().made(move |transport| {
                transport.send_file(&file, .., |transport, sent| {
                    assert!(sent.expect("it is sent") > 0);
                    transport.lose_connection();
                });
            });
            let client = Script::new()
                .data(move |_, bytes| data.borrow_mut().extend_from_slice(bytes))
                .lost(move |transport, _| {
                    assert_eq!(received.take().len(), expected.len());
                    transport.reactor().stop();
                });
            pair(reactor, client, server);
        },
    );
    run_clean(&reactor);
}

/// Goal: opening a named pipe may take until somebody opens its other end (io_uring opens it to read at once); it can be
/// given up, and the reactor ends all the same.
#[test]
fn a_named_pipe_that_nobody_else_opens_can_be_given_up() {
    let scratch = scratch("fifo");
    let (here, mode) = (rustix::fs::CWD, Mode::RUSR | Mode::WUSR);
    let made = rustix::fs::mknodat(here, scratch.path(), FileType::Fifo, mode, 0);
    made.expect("a named pipe can be made");
    let reactor = reactor();
    let told = Rc::new(Cell::new(false));
    let is_told = Rc::clone(&told);
    let opening = reactor.open_file(scratch.path(), FileOptions::new(), move |_, file| {
        let expected = matches!(file, Ok(_) | Err(FileError::Cancelled | FileError::Stopped));
        assert!(expected, "{file:?}");
        is_told.set(true);
    });
    reactor.call_later(Duration::from_millis(20), move |reactor| {
        opening.cancel();
        reactor.stop();
    });
    run_clean(&reactor);
    assert!(told.get());
    // A thread may still wait for the other end: let it go.
    let flags = OFlags::WRONLY | OFlags::NONBLOCK;
    let _ = rustix::fs::open(scratch.path(), flags, mode);
}

/// Goal: what a copy of the process does with its copies of files and operations does no harm to the original.
#[test]
fn a_copy_that_touches_files_does_the_original_no_harm() {
    alone(
        module_path!(),
        "a_copy_that_touches_files_does_the_original_no_harm",
        || {
            let reactor = reactor();
            let scratch = scratch("copied");
            let slot = Rc::new(RefCell::new(None));
            let opened = Rc::clone(&slot);
            open(
                &reactor,
                scratch.path(),
                read_write(),
                move |reactor, file| {
                    *opened.borrow_mut() = Some(file);
                    reactor.crash();
                },
            );
            reactor.run().expect("it runs");
            let file: File = slot.take().expect("it was opened");
            let written = Rc::new(Cell::new(false));
            let is_written = Rc::clone(&written);
            file.write_at(0, pattern(100_000), move |reactor, result| {
                result.expect("there is room");
                is_written.set(true);
                reactor.crash();
            });
            let mut owned = Some((reactor, file));
            let child = fork(|| {
                let (reactor, file) = owned.take().expect("it exists");
                file.set_len(0, |_, _| unreachable!("no loop runs here"));
                file.write_at(0, &b"harm"[..], |_, _| unreachable!("no loop runs here"));
                file.close();
                assert!(reactor.run().is_err(), "it belongs to the original");
                drop(file);
                drop(reactor);
            });
            join(child);
            let (reactor, file) = owned.expect("the child had a copy");
            while !written.get() {
                reactor.run().expect("it runs");
            }
            drop(file);
            drop(reactor);
            assert!(std::fs::read(scratch.path()).expect("it is there") == pattern(100_000));
        },
    );
}

/// Goal: operations and a file that is sent go on after a fork for which the reactor was made ready.
#[test]
fn operations_go_on_after_a_fork() {
    alone(module_path!(), "operations_go_on_after_a_fork", || {
        let reactor = reactor();
        let scratch = scratch("forked");
        std::fs::write(scratch.path(), pattern(1 << 20)).expect("there is room");
        let received = Rc::new(Cell::new(0));
        let count = Rc::clone(&received);
        open(
            &reactor,
            scratch.path(),
            FileOptions::new(),
            move |reactor, file| {
                let server = Script::new().made(move |transport| {
                    transport.send_file(&file, .., |transport, sent| {
                        assert_eq!(sent.ok(), Some(1 << 20));
                        transport.lose_connection();
                    });
                    transport.reactor().crash();
                });
                let client = Script::new()
                    .data(move |_, bytes| count.set(count.get() + bytes.len()))
                    .lost(|transport, _| transport.reactor().stop());
                pair(reactor, client, server);
            },
        );
        reactor.run().expect("it runs");
        reactor.before_fork().expect("it can be suspended");
        let child = fork(|| ());
        reactor.after_fork().expect("it goes on");
        join(child);
        run_clean(&reactor);
        assert_eq!(received.get(), 1 << 20);
    });
}
