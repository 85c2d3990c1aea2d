//! The documented behaviours of libuv's and tokio's files, one test each: the same here, or with the reason why not.
//! (mio has no files.)

use std::cell::Cell;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::rc::Rc;

use tidewaiter::{File, FileError, FileOptions, Reactor};

use super::support::{pattern, reactor, run_clean, scratch};

/// Opens a new file with these bytes, and passes it on.
fn with_file(path: PathBuf, bytes: Vec<u8>, then: impl FnOnce(&Reactor, File) + 'static) {
    let reactor = reactor();
    let options = FileOptions::new().read(true).write(true).create(true);
    reactor.open_file(path, options, |_, file| {
        let file = file.expect("it can be made");
        let next = file.clone();
        file.write_at(0, bytes, |reactor, written| {
            written.expect("there is room");
            then(reactor, next);
        });
    });
    run_clean(&reactor);
}

/// libuv, `uv_fs_read`: a result of 0 is the end of the file. Ours is an empty vector.
#[test]
fn the_end_of_a_file_is_an_empty_read() {
    let scratch = scratch("peer-end");
    with_file(scratch.path(), pattern(10), |_, file| {
        file.read_at(10, 5, |reactor, bytes| {
            assert!(bytes.expect("no error").is_empty());
            reactor.stop();
        });
    });
}

/// libuv, `uv_fs_write`: the result may be less than was asked for. Ours is complete, because every caller would have
/// to write the rest; the error tells how much was written.
#[test]
fn a_write_is_complete() {
    let scratch = scratch("peer-complete");
    with_file(scratch.path(), pattern(3 << 20), |_, file| {
        file.metadata(|reactor, metadata| {
            assert_eq!(metadata.expect("it is open").len, 3 << 20);
            reactor.stop();
        });
    });
}

/// tokio, `File::write`: returns before the bytes are written; `flush` waits. Ours calls back once the system has them, so
/// that a later open sees them.
#[test]
fn written_bytes_are_visible_to_others_at_once() {
    let scratch = scratch("peer-visible");
    let path = scratch.path();
    with_file(scratch.path(), pattern(100), move |reactor, _| {
        reactor.open_file(path, FileOptions::new(), |_, file| {
            file.expect("it is there")
                .read_at(0, 200, |reactor, bytes| {
                    assert_eq!(bytes.expect("it can be read"), pattern(100));
                    reactor.stop();
                });
        });
    });
}

/// libuv: the callback of a request never comes from inside the call that makes it. Nor does ours, even if there is
/// nothing to do or the call is refused.
#[test]
fn no_callback_comes_from_inside_the_call() {
    let scratch = scratch("peer-inside");
    with_file(scratch.path(), pattern(10), |_, file| {
        let inside = Rc::new(Cell::new(true));
        let left = Rc::new(Cell::new(3));
        let told = || {
            let (inside, left) = (Rc::clone(&inside), Rc::clone(&left));
            move |reactor: &Reactor| {
                assert!(!inside.get());
                left.set(left.get() - 1);
                if left.get() == 0 {
                    reactor.stop();
                }
            }
        };
        let (read, empty, refused) = (told(), told(), told());
        file.read_at(0, 10, move |reactor, _| read(reactor));
        file.read_at(0, 0, move |reactor, _| empty(reactor));
        file.append(&b"no"[..], move |reactor, appended| {
            appended.expect_err("it was not opened to append");
            refused(reactor);
        });
        inside.set(false);
    });
}

/// libuv, `uv_cancel`: a cancelled request calls back with `UV_ECANCELED`; one under way fails to be cancelled with
/// `UV_EBUSY`. Ours calls back once in either case, and the callback tells which it was.
#[test]
fn a_cancelled_request_calls_back_once() {
    let scratch = scratch("peer-cancelled");
    with_file(scratch.path(), pattern(1 << 20), |_, file| {
        let reading = file.read_at(0, 1 << 20, |reactor, bytes| {
            assert!(matches!(bytes, Ok(_) | Err(FileError::Cancelled)));
            reactor.stop();
        });
        reading.cancel();
    });
}

/// libuv, `uv_fs_close`: closing with requests under way is the program's mistake. tokio: dropping a file lets
/// operations under way end in the background. Ours waits for them, and calls back.
#[test]
fn a_close_waits_for_what_is_under_way() {
    let scratch = scratch("peer-close");
    with_file(scratch.path(), pattern(10), |_, file| {
        file.write_at(10, pattern(1 << 20), |reactor, written| {
            written.expect("it was asked for before the close");
            reactor.stop();
        });
        file.close();
    });
}

/// tokio, `OpenOptions::create_new`: no other program can come in between.
#[test]
fn a_new_file_is_made_by_one_of_two() {
    let scratch = scratch("peer-new");
    let reactor = reactor();
    let (made, left) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(2)));
    for _ in 0..2 {
        let new = FileOptions::new().write(true).create_new(true);
        let (made, left) = (Rc::clone(&made), Rc::clone(&left));
        reactor.open_file(scratch.path(), new, move |reactor, file| {
            match file {
                Ok(_) => made.set(made.get() + 1),
                Err(error) => {
                    let kind = error.io_error().map(std::io::Error::kind);
                    assert_eq!(kind, Some(ErrorKind::AlreadyExists));
                }
            }
            left.set(left.get() - 1);
            if left.get() == 0 {
                assert_eq!(made.get(), 1);
                reactor.stop();
            }
        });
    }
    run_clean(&reactor);
}

/// tokio, `File`: one operation at a time, as there is one position. libuv: any number, in any order. Ours is libuv's.
#[test]
fn operations_on_one_file_do_not_wait_for_each_other() {
    let scratch = scratch("peer-many");
    with_file(scratch.path(), pattern(1000), |_, file| {
        let left = Rc::new(Cell::new(100));
        for number in 0..100 {
            let left = Rc::clone(&left);
            file.read_at(number * 10, 10, move |reactor, bytes| {
                assert_eq!(bytes.expect("it can be read").len(), 10);
                left.set(left.get() - 1);
                if left.get() == 0 {
                    reactor.stop();
                }
            });
        }
    });
}
