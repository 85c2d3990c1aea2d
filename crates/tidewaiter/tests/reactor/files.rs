//! Files: every operation, errors, many at once, and every order of dropping.

use std::cell::{Cell, RefCell};
use std::io::ErrorKind;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use tidewaiter::{File, FileError, FileKind, FileOptions, Reactor};

use super::support::{Log, assert_empty, pattern, reactor, run, run_clean, scratch, wait_until};

/// Opened to read and to write, and created.
pub(crate) fn read_write() -> FileOptions {
    FileOptions::new().read(true).write(true).create(true)
}

/// Opens a file, which must succeed, and passes it on.
pub(crate) fn open(
    reactor: &Reactor,
    path: impl Into<PathBuf>,
    options: FileOptions,
    then: impl FnOnce(&Reactor, File) + 'static,
) {
    reactor.open_file(path, options, move |reactor, file| match file {
        Ok(file) => then(reactor, file),
        Err(error) => panic!("{error}"),
    });
}

/// The error of opening a file, which must fail.
fn refusal(path: impl Into<PathBuf>, options: FileOptions) -> FileError {
    let reactor = reactor();
    let refused = Rc::new(RefCell::new(None));
    let slot = Rc::clone(&refused);
    reactor.open_file(path, options, move |reactor, file| {
        *slot.borrow_mut() = Some(file.expect_err("it cannot be opened"));
        reactor.stop();
    });
    run_clean(&reactor);
    refused.take().expect("it was told")
}

fn kind(error: &FileError) -> ErrorKind {
    error.io_error().expect("the OS refused").kind()
}

#[test]
fn bytes_are_written_read_cut_off_and_synced() {
    let (reactor, log) = (reactor(), Log::default());
    let file = scratch("everything");
    let told = log.clone();
    open(&reactor, file.path(), read_write(), move |_, file| {
        let next = file.clone();
        file.write_at(3, &b"defghi"[..], move |_, written| {
            written.expect("there is room");
            let file = next.clone();
            next.write_at(0, &b"abc"[..], move |_, written| {
                written.expect("there is room");
                read_on(&file, told);
            });
        });
    });
    run_clean(&reactor);
    let expected = [
        "read cdef",
        "read ghi",
        "at the end",
        "9 bytes",
        "synced twice",
        "read abcd00",
    ];
    assert_eq!(log.take(), expected);
}

fn read_on(file: &File, log: Log) {
    let next = file.clone();
    file.read_at(2, 4, move |_, bytes| {
        log.add(format!("read {}", text(&bytes.expect("it can be read"))));
        let file = next.clone();
        next.read_at(6, 100, move |_, bytes| {
            log.add(format!("read {}", text(&bytes.expect("it can be read"))));
            let next = file.clone();
            file.read_at(9, 100, move |_, bytes| {
                assert!(bytes.expect("it can be read").is_empty());
                log.add("at the end");
                change(&next, log);
            });
        });
    });
}

fn text(bytes: &[u8]) -> String {
    let text = |byte: &u8| if *byte == 0 { '0' } else { char::from(*byte) };
    bytes.iter().map(text).collect()
}

fn change(file: &File, log: Log) {
    let next = file.clone();
    file.metadata(move |_, metadata| {
        let metadata = metadata.expect("it is open");
        assert_eq!(metadata.kind, FileKind::File);
        assert!(metadata.modified.is_some());
        log.add(format!("{} bytes", metadata.len));
        let file = next.clone();
        next.sync_data(move |_, synced| {
            synced.expect("it can be synced");
            let next = file.clone();
            file.sync(move |_, synced| {
                synced.expect("it can be synced");
                log.add("synced twice");
                cut(&next, log);
            });
        });
    });
}

fn cut(file: &File, log: Log) {
    let next = file.clone();
    file.set_len(4, move |_, cut| {
        cut.expect("it can be cut off");
        let file = next.clone();
        next.set_len(6, move |_, extended| {
            extended.expect("it can be extended");
            file.read_at(0, 100, move |reactor, bytes| {
                log.add(format!("read {}", text(&bytes.expect("it can be read"))));
                reactor.stop();
            });
        });
    });
}

#[test]
fn appends_keep_the_order_of_the_calls() {
    let reactor = reactor();
    let file = scratch("log");
    let options = FileOptions::new().append(true).create(true);
    let path = file.path();
    open(&reactor, file.path(), options, move |_, file| {
        let left = Rc::new(Cell::new(200));
        for number in 0..200 {
            let (left, path) = (Rc::clone(&left), path.clone());
            // Long and short ones, which a port may perform in different ways.
            let line = vec![b'a' + number % 26; if number % 2 == 0 { 10_000 } else { 1 }];
            file.append(line, move |reactor, written| {
                written.expect("there is room");
                left.set(left.get() - 1);
                if left.get() == 0 {
                    check_log(reactor, path);
                }
            });
        }
    });
    run_clean(&reactor);
}

fn check_log(reactor: &Reactor, path: PathBuf) {
    open(reactor, path, FileOptions::new(), |_, file| {
        file.read_at(0, 2_000_000, |reactor, bytes| {
            let mut bytes = bytes.expect("it can be read");
            bytes.dedup();
            let expected: Vec<u8> = (0..200).map(|number| b'a' + number % 26).collect();
            // A simulated read may be short, but not here.
            assert_eq!(bytes, expected);
            reactor.stop();
        });
    });
}

#[test]
fn memory_of_the_caller_is_used_again() {
    let reactor = reactor();
    let file = scratch("memory");
    open(&reactor, file.path(), read_write(), |_, file| {
        let next = file.clone();
        file.write_at(0, &b"hello"[..], move |_, written| {
            written.expect("there is room");
            let memory = Vec::with_capacity(64);
            let address = memory.as_ptr();
            next.read_into(0, memory, move |reactor, bytes| {
                let bytes = bytes.expect("it can be read");
                assert_eq!((bytes.as_ptr(), &bytes[..]), (address, &b"hello"[..]));
                reactor.stop();
            });
        });
    });
    run_clean(&reactor);
}

#[test]
fn nothing_is_read_and_written_at_once() {
    let (reactor, log) = (reactor(), Log::default());
    let file = scratch("nothing");
    let told = log.clone();
    open(&reactor, file.path(), read_write(), move |_, file| {
        let again = told.clone();
        file.write_at(7, Vec::new(), move |_, written| {
            written.expect("nothing needs no room");
            again.add("written");
        });
        file.read_at(0, 0, move |reactor, bytes| {
            assert!(bytes.expect("nothing can be read").is_empty());
            told.add("read");
            reactor.stop();
        });
    });
    run_clean(&reactor);
    assert_eq!(log.take(), ["written", "read"]);
}

#[test]
fn an_error_has_the_systems_code_and_names_the_path() {
    let file = scratch("missing");
    let error = refusal(file.path(), FileOptions::new());
    assert_eq!(kind(&error), ErrorKind::NotFound);
    let source = error.io_error().expect("the OS refused");
    assert_eq!(source.raw_os_error().is_none(), crate::SIMULATED);
    assert!(error.to_string().contains("missing"), "{error}");
}

#[test]
fn options_are_obeyed() {
    let reactor = reactor();
    let file = scratch("options");
    let new = FileOptions::new().write(true).create_new(true);
    let (path, again) = (file.path(), new.clone());
    open(&reactor, file.path(), new, move |_, file| {
        file.write_at(0, &b"old"[..], move |reactor, written| {
            written.expect("there is room");
            reactor.open_file(path.clone(), again, move |reactor, file| {
                let error = file.expect_err("it exists");
                assert_eq!(kind(&error), ErrorKind::AlreadyExists);
                empty(reactor, path);
            });
        });
    });
    run_clean(&reactor);
}

fn empty(reactor: &Reactor, path: PathBuf) {
    let emptied = FileOptions::new().read(true).write(true).truncate(true);
    open(reactor, path, emptied, |_, file| {
        file.read_at(0, 10, |reactor, bytes| {
            assert!(bytes.expect("it can be read").is_empty(), "it was emptied");
            reactor.stop();
        });
    });
}

#[test]
fn options_that_contradict_each_other_are_refused() {
    let contradiction = FileOptions::new().append(true).truncate(true);
    let error = refusal(scratch("contradiction").path(), contradiction);
    assert_eq!(kind(&error), ErrorKind::InvalidInput);
}

#[test]
fn a_path_with_a_zero_byte_is_refused() {
    let error = refusal("zero\0byte", FileOptions::new());
    assert_eq!(kind(&error), ErrorKind::InvalidInput);
}

#[test]
fn writes_go_where_the_file_was_opened_to_take_them() {
    let reactor = reactor();
    let file = scratch("wrong");
    let path = file.path();
    open(&reactor, file.path(), read_write(), move |_, file| {
        file.append(&b"no"[..], move |reactor, appended| {
            let error = appended.expect_err("it was not opened to append");
            assert_eq!(kind(&error), ErrorKind::InvalidInput);
            let options = FileOptions::new().append(true);
            open(reactor, path, options, |_, file| {
                file.write_at(0, &b"no"[..], |reactor, written| {
                    let error = written.expect_err("it was opened to append");
                    assert_eq!(kind(&error), ErrorKind::InvalidInput);
                    reactor.stop();
                });
            });
        });
    });
    run_clean(&reactor);
}

#[test]
fn a_file_that_is_opened_to_read_is_not_written() {
    let reactor = reactor();
    let file = scratch("read-only");
    let path = file.path();
    open(&reactor, file.path(), read_write(), move |reactor, _| {
        open(reactor, path, FileOptions::new(), |_, file| {
            file.write_at(0, &b"no"[..], |reactor, written| {
                let error = written.expect_err("it was opened to read");
                let FileError::Os { written: 0, .. } = error else {
                    panic!("{error}");
                };
                reactor.stop();
            });
        });
    });
    run_clean(&reactor);
}

/// A directory is opened or not, as the system has it; it is never read as a file.
#[test]
fn a_directory_is_not_read_as_a_file() {
    let reactor = reactor();
    let directory = std::env::temp_dir();
    reactor.open_file(directory, FileOptions::new(), |reactor, file| match file {
        Ok(file) => {
            file.read_at(0, 10, |reactor, bytes| {
                let error = bytes.expect_err("it is a directory");
                assert_eq!(kind(&error), ErrorKind::IsADirectory);
                reactor.stop();
            });
        }
        Err(error) => {
            let possible = [ErrorKind::IsADirectory, ErrorKind::PermissionDenied];
            assert!(possible.contains(&kind(&error)), "{error}");
            reactor.stop();
        }
    });
    run_clean(&reactor);
}

#[test]
fn many_operations_at_once_each_get_their_own_bytes() {
    const PIECES: usize = 1000;
    const PIECE: usize = 100;
    let reactor = reactor();
    let file = scratch("many");
    open(&reactor, file.path(), read_write(), |_, file| {
        let next = file.clone();
        file.write_at(0, pattern(PIECES * PIECE), move |_, written| {
            written.expect("there is room");
            let left = Rc::new(Cell::new(PIECES));
            for number in 0..PIECES {
                let left = Rc::clone(&left);
                let place = number * PIECE;
                next.read_at(place as u64, PIECE, move |reactor, bytes| {
                    let bytes = bytes.expect("it can be read");
                    assert_eq!(bytes, pattern(PIECES * PIECE)[place..place + PIECE]);
                    left.set(left.get() - 1);
                    if left.get() == 0 {
                        reactor.stop();
                    }
                });
            }
        });
    });
    run_clean(&reactor);
}

/// Goal: an operation goes on, whatever the program drops; and the file goes with the last share and operation.
#[test]
fn everything_may_be_dropped_while_an_operation_is_under_way() {
    let reactor = reactor();
    let file = scratch("dropped");
    let path = file.path();
    open(&reactor, file.path(), read_write(), move |_, file| {
        drop(file.clone());
        let operation = file.write_at(0, &b"kept"[..], move |reactor, written| {
            written.expect("there is room");
            open(reactor, path, FileOptions::new(), |_, file| {
                file.read_at(0, 10, |reactor, bytes| {
                    assert_eq!(bytes.expect("it can be read"), b"kept");
                    stop_when_empty(reactor);
                });
            });
        });
        drop(file);
        drop(operation);
    });
    run_clean(&reactor);
}

/// The files have no share any more, so nothing is left on the reactor in a moment.
fn stop_when_empty(reactor: &Reactor) {
    wait_until(
        reactor,
        |reactor| reactor.metrics().live == 0,
        Reactor::stop,
    );
}

#[test]
fn a_closed_file_takes_no_more_and_ends_what_it_took() {
    let (reactor, log) = (reactor(), Log::default());
    let file = scratch("closed");
    let told = log.clone();
    open(&reactor, file.path(), read_write(), move |_, file| {
        let first = told.clone();
        file.write_at(0, &b"x"[..], move |_, written| {
            written.expect("it was asked for in time");
            first.add("written");
        });
        file.close();
        file.close();
        file.read_at(0, 1, move |reactor, bytes| {
            assert!(matches!(bytes, Err(FileError::Closed)));
            told.add("closed");
            reactor.call_later(Duration::from_millis(50), Reactor::stop);
        });
    });
    run_clean(&reactor);
    let mut all = log.take();
    all.sort();
    assert_eq!(all, ["closed", "written"]);
}

#[test]
fn a_stopping_reactor_waits_for_operations() {
    let (reactor, log) = (reactor(), Log::default());
    let file = scratch("stopping");
    let told = log.clone();
    open(&reactor, file.path(), read_write(), move |reactor, file| {
        let next = file.clone();
        file.write_at(0, pattern(1 << 20), move |_, written| {
            written.expect("it was asked for in time");
            told.add("written");
            next.sync(move |_, synced| {
                // The reactor may be about to stop, or stop already.
                assert!(matches!(synced, Ok(()) | Err(FileError::Stopped)));
                told.add("told");
            });
        });
        reactor.stop();
    });
    run_clean(&reactor);
    assert_eq!(log.take(), ["written", "told"]);
}

#[test]
fn a_dropped_reactor_drops_callbacks_uncalled() {
    let reactor = reactor();
    let file = scratch("abandoned");
    let owned = Rc::new(());
    let (kept, again) = (Rc::clone(&owned), Rc::clone(&owned));
    open(&reactor, file.path(), read_write(), move |reactor, file| {
        file.write_at(0, pattern(1 << 20), move |_, _| drop(kept));
        file.read_at(0, 1 << 20, move |_, _| drop(again));
        // Stops the loop where it is.
        reactor.crash();
        std::mem::drop(file);
    });
    run(&reactor);
    drop(reactor);
    assert_eq!(Rc::strong_count(&owned), 1);
}

#[test]
fn a_cancelled_operation_is_told_once() {
    let reactor = reactor();
    let file = scratch("cancelled");
    open(&reactor, file.path(), read_write(), |_, file| {
        let left = Rc::new(Cell::new(20));
        for _ in 0..20 {
            let left = Rc::clone(&left);
            let operation = file.write_at(0, pattern(100_000), move |reactor, written| {
                assert!(matches!(written, Ok(()) | Err(FileError::Cancelled)));
                left.set(left.get() - 1);
                if left.get() == 0 {
                    reactor.stop();
                }
            });
            operation.cancel();
            operation.cancel();
        }
    });
    run_clean(&reactor);
}

#[test]
fn a_panic_in_a_callback_costs_nothing_else() {
    let reactor = reactor();
    let file = scratch("panic");
    open(&reactor, file.path(), read_write(), |_, file| {
        let next = file.clone();
        file.write_at(0, &b"x"[..], move |_, _| {
            next.read_at(0, 1, |reactor, bytes| {
                assert_eq!(bytes.expect("it can be read"), b"x");
                reactor.stop();
            });
            panic!("a deliberate panic");
        });
    });
    run(&reactor);
    let metrics = reactor.metrics();
    assert_eq!(metrics.panics, 1);
    assert_empty(&metrics);
}

#[test]
fn a_file_is_counted_until_it_is_closed() {
    let (reactor, scratch) = (reactor(), scratch("counted"));
    open(&reactor, scratch.path(), read_write(), |reactor, file| {
        assert_eq!(reactor.metrics().living.files, 1);
        drop(file);
        reactor.call_later(Duration::from_millis(1), Reactor::stop);
    });
    assert_eq!(reactor.metrics().living.files, 1);
    run_clean(&reactor);
    assert_eq!(reactor.metrics().living.files, 0);
}
