//! Files that are sent through a stream, in their place among what is written.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use tidewaiter::{File, FileOptions, FileTransfer, Reactor, SendFileError, Transport};

use super::processes::{Watch, role_output, start};
use super::support::{
    Checker, Countdown, HIGH_WATER, Log, Script, pair, pattern, reactor, run, run_clean, scratch,
};
use crate::support::roles::Role;

/// Opens a new file with these bytes, and passes it on.
fn with_file(
    reactor: &Reactor,
    path: PathBuf,
    bytes: Vec<u8>,
    then: impl FnOnce(&Reactor, File) + 'static,
) {
    let options = FileOptions::new().read(true).write(true).create_new(true);
    reactor.open_file(path, options, |_, file| {
        let file = file.expect("it is new");
        let kept = file.clone();
        file.write_at(0, bytes, |reactor, written| {
            written.expect("there is room");
            then(reactor, kept);
        });
    });
}

/// More than the buffers of both sockets hold, so that a part of it is unsent as long as the client does not read.
const LARGE: u64 = 64 << 20;

/// The same with a file of [`LARGE`] bytes.
fn with_large_file(reactor: &Reactor, path: PathBuf, then: impl FnOnce(&Reactor, File) + 'static) {
    with_file(reactor, path, vec![1], move |_, file| {
        let grown = file.clone();
        file.set_len(LARGE, move |reactor, result| {
            result.expect("a hole takes no room");
            then(reactor, grown);
        });
    });
}

/// Connects a client that gets what `answer` sends, and passes all of it on once the connection has ended in order.
fn serve(
    reactor: &Reactor,
    answer: impl FnMut(&Transport) + 'static,
    then: impl FnOnce(&Reactor, Vec<u8>) + 'static,
) {
    let received = Rc::new(RefCell::new(Vec::new()));
    let (data, then) = (Rc::clone(&received), Cell::new(Some(then)));
    let client = Script::new()
        .data(move |_, bytes| data.borrow_mut().extend_from_slice(bytes))
        .lost(move |transport, reason| {
            assert!(reason.is_done(), "{reason}");
            let then = then.take().expect("lost once");
            then(transport.reactor(), received.take());
        });
    pair(reactor, client, Script::new().made(answer));
}

#[test]
fn files_and_writes_keep_their_order() {
    const SIZE: usize = 300_000;
    let reactor = reactor();
    let scratch = scratch("order");
    with_file(&reactor, scratch.path(), pattern(SIZE), |reactor, file| {
        let answer = move |transport: &Transport| {
            transport.write(b"before");
            transport.send_file(&file, .., |transport, sent| {
                assert_eq!(sent.expect("the peer reads"), SIZE as u64);
                transport.write(b"last");
                transport.lose_connection();
            });
            transport.write(b"between");
            transport.write_bytes(vec![b'-'; 20_000]);
            transport.send_file(&file, 5..10, |_, sent| assert_eq!(sent.ok(), Some(5)));
            transport.send_file(&file, 10..10, |_, sent| assert_eq!(sent.ok(), Some(0)));
            transport.send_file(&file, SIZE as u64 - 3.., |_, sent| {
                assert_eq!(sent.ok(), Some(3));
            });
            transport.write(b"after");
            assert!(transport.queued() < 21_000, "files are not counted");
        };
        serve(reactor, answer, |reactor, received| {
            let all = pattern(SIZE);
            let dashes = vec![b'-'; 20_000];
            let parts: [&[u8]; 8] = [
                b"before",
                &all,
                b"between",
                &dashes,
                &all[5..10],
                &all[SIZE - 3..],
                b"after",
                b"last",
            ];
            assert!(received == parts.concat(), "the bytes, in their order");
            reactor.stop();
        });
    });
    run_clean(&reactor);
}

#[test]
fn a_connection_that_is_lost_in_order_sends_the_file_first() {
    let reactor = reactor();
    let scratch = scratch("leaving");
    with_file(
        &reactor,
        scratch.path(),
        pattern(crate::MUCH / 16),
        |reactor, file| {
            let answer = move |transport: &Transport| {
                transport.send_file(&file, .., |_, sent| {
                    assert_eq!(sent.ok(), Some((crate::MUCH / 16) as u64));
                });
                transport.lose_connection();
            };
            serve(reactor, answer, |reactor, received| {
                assert!(received == pattern(crate::MUCH / 16));
                reactor.stop();
            });
        },
    );
    run_clean(&reactor);
}

#[test]
fn a_file_that_is_shorter_than_asked_is_told_and_the_connection_goes_on() {
    let reactor = reactor();
    let scratch = scratch("short");
    with_file(&reactor, scratch.path(), pattern(1000), |reactor, file| {
        let answer = move |transport: &Transport| {
            transport.send_file(&file, 400..2000, |_, sent| {
                assert!(matches!(sent, Err(SendFileError::FileEnded { sent: 600 })));
            });
            transport.send_file(&file, 5000..6000, |_, sent| {
                assert!(matches!(sent, Err(SendFileError::FileEnded { sent: 0 })));
            });
            transport.send_file(&file, 5000.., |_, sent| assert_eq!(sent.ok(), Some(0)));
            transport.write(b"!");
            transport.lose_connection();
        };
        serve(reactor, answer, |reactor, received| {
            assert!(received == [&pattern(1000)[400..], b"!"].concat());
            reactor.stop();
        });
    });
    run_clean(&reactor);
}

/// Goal: a peer that does not read stops the file, which holds no memory meanwhile; and how much was sent is told.
#[test]
fn a_peer_that_does_not_read_stops_the_file() {
    let (reactor, log) = (reactor(), Log::default());
    let scratch = scratch("slow");
    let told = log.clone();
    with_large_file(&reactor, scratch.path(), move |reactor, file| {
        let lost = told.clone();
        let sender = Rc::new(RefCell::new(None::<Transport>));
        let waiting = Rc::clone(&sender);
        let server = Script::new()
            .made(move |transport| {
                let told = told.clone();
                transport.send_file(&file, .., move |_, sent| {
                    let error = sent.expect_err("the peer is gone");
                    assert!(
                        matches!(error, SendFileError::ConnectionLost { .. }),
                        "{error}"
                    );
                    assert!(0 < error.sent() && error.sent() < LARGE, "{error}");
                    told.add("told");
                });
                sender.replace(Some(transport.clone()));
            })
            .lost(move |transport, _| {
                lost.add("lost");
                transport.reactor().stop();
            });
        let client = Script::new().data(move |transport, _| {
            transport.pause_producing();
            let (paused, waiting) = (transport.clone(), waiting.take().expect("it sends"));
            let reactor = transport.reactor();
            reactor.call_later(Duration::from_millis(50), move |_| {
                assert!(waiting.is_open() && waiting.queued() <= 2 * HIGH_WATER);
                paused.abort_connection();
            });
        });
        pair(reactor, client, server);
    });
    run_clean(&reactor);
    assert_eq!(log.take(), ["told", "lost"]);
}

/// Goal: the peer receives as many bytes of a cancelled file as the sender is told, and then what was written behind it.
/// Method: the client stops reading at the first bytes, and goes on once the sender was told.
#[test]
fn a_cancelled_file_ends_and_the_connection_goes_on() {
    let reactor = reactor();
    let scratch = scratch("cancelled");
    let content = pattern(crate::MUCH);
    let (all, told) = (content.clone(), Rc::new(Cell::new(None)));
    let sent = Rc::clone(&told);
    with_file(&reactor, scratch.path(), content, move |reactor, file| {
        let transfer = Rc::new(RefCell::new(None::<FileTransfer>));
        let paused = Rc::new(RefCell::new(None::<Transport>));
        let (begun, reader) = (Rc::clone(&transfer), Rc::clone(&paused));
        let server = Script::new().made(move |transport| {
            let (told, reader) = (Rc::clone(&told), Rc::clone(&reader));
            let transfer = transport.send_file(&file, .., move |transport, sent| {
                let Err(SendFileError::Cancelled { sent }) = sent else {
                    panic!("it was cancelled: {sent:?}");
                };
                told.set(Some(sent));
                transport.write(b"last");
                transport.lose_connection();
                let reader = reader.take().expect("it is paused");
                reader.resume_producing();
            });
            transport.write(b"behind");
            begun.replace(Some(transfer));
        });
        let received = Rc::new(RefCell::new(Vec::new()));
        let data = Rc::clone(&received);
        let client = Script::new()
            .data(move |transport, bytes| {
                data.borrow_mut().extend_from_slice(bytes);
                if let Some(transfer) = transfer.take() {
                    transport.pause_producing();
                    paused.replace(Some(transport.clone()));
                    transfer.cancel();
                    transfer.clone().cancel();
                }
            })
            .lost(move |transport, reason| {
                assert!(reason.is_done(), "{reason}");
                let sent = sent.get().expect("it was told before");
                assert!(sent < all.len() as u64, "a part was not sent");
                let sent = usize::try_from(sent).expect("it is in memory");
                let parts: [&[u8]; 3] = [&all[..sent], b"behind", b"last"];
                assert!(received.take() == parts.concat(), "{sent} bytes, and more");
                transport.reactor().stop();
            });
        pair(reactor, client, server);
    });
    run_clean(&reactor);
}

#[test]
fn files_that_wait_are_cancelled_and_what_is_behind_them_is_sent() {
    let (reactor, log) = (reactor(), Log::default());
    let scratch = scratch("waiting");
    let told = log.clone();
    with_file(
        &reactor,
        scratch.path(),
        pattern(1000),
        move |reactor, file| {
            let answer = move |transport: &Transport| {
                let cancelled = |name: &'static str| {
                    let told = told.clone();
                    transport.send_file(&file, .., move |_, sent| {
                        assert!(matches!(sent, Err(SendFileError::Cancelled { sent: 0 })));
                        told.add(name);
                    })
                };
                transport.write(b"1");
                let first = cancelled("first");
                transport.write(b"2");
                let second = cancelled("second");
                transport.write(b"3");
                let told = told.clone();
                let whole = transport.send_file(&file, ..10, move |_, sent| {
                    assert_eq!(sent.ok(), Some(10));
                    told.add("whole");
                });
                transport.write(b"4");
                let third = cancelled("third");
                for one in [third, second, first] {
                    one.cancel();
                }
                transport.send_file(&file, 10..12, move |transport, sent| {
                    assert_eq!(sent.ok(), Some(2));
                    whole.cancel();
                    transport.lose_connection();
                });
            };
            serve(reactor, answer, |reactor, received| {
                let all = pattern(12);
                let parts: [&[u8]; 4] = [b"123", &all[..10], b"4", &all[10..]];
                assert_eq!(received, parts.concat());
                reactor.stop();
            });
        },
    );
    run_clean(&reactor);
    assert_eq!(log.take(), ["third", "second", "first", "whole"]);
}

#[test]
fn one_file_is_sent_through_many_streams_at_once() {
    const STREAMS: usize = 64;
    const SIZE: usize = 200_000;
    let reactor = reactor();
    let scratch = scratch("many");
    with_file(&reactor, scratch.path(), pattern(SIZE), |reactor, file| {
        let done = Countdown::new(STREAMS);
        for _ in 0..STREAMS {
            let (file, done) = (file.clone(), done.clone());
            let server = Script::new().made(move |transport| {
                transport.send_file(&file, .., |transport, sent| {
                    assert_eq!(sent.ok(), Some(SIZE as u64));
                    transport.lose_connection();
                });
            });
            let checker = Rc::new(Checker::default());
            let check = Rc::clone(&checker);
            let client = Script::new().data(move |_, bytes| check.take(bytes)).lost(
                move |transport, reason| {
                    assert!(reason.is_done(), "{reason}");
                    assert_eq!(checker.received.get(), SIZE);
                    done.hit(transport.reactor());
                },
            );
            pair(reactor, client, server);
        }
    });
    run_clean(&reactor);
}

#[test]
fn a_file_that_is_cut_off_meanwhile_ends() {
    let reactor = reactor();
    let scratch = scratch("cut");
    with_large_file(&reactor, scratch.path(), move |reactor, file| {
        let answer = move |transport: &Transport| {
            transport.send_file(&file, ..LARGE, move |transport, sent| {
                let error = sent.expect_err("it was cut off");
                assert!(matches!(error, SendFileError::FileEnded { .. }), "{error}");
                transport.lose_connection();
            });
        };
        let client = cuts_off(scratch.path()).lost(move |transport, reason| {
            let _ = &scratch;
            assert!(reason.is_done(), "{reason}");
            transport.reactor().stop();
        });
        pair(reactor, client, Script::new().made(answer));
    });
    run_clean(&reactor);
}

/// A client that cuts the file at `path` off when it gets the first bytes, and reads no more until that is done.
fn cuts_off(path: PathBuf) -> Script {
    let mut path = Some(path);
    Script::new().data(move |transport, _| {
        let Some(path) = path.take() else {
            return;
        };
        transport.pause_producing();
        let (paused, options) = (transport.clone(), FileOptions::new().write(true));
        transport.reactor().open_file(path, options, |_, file| {
            file.expect("it is there").set_len(10, move |_, cut| {
                cut.expect("it can be cut off");
                paused.resume_producing();
            });
        });
    })
}

#[test]
fn a_file_is_sent_to_a_child() {
    const SIZE: usize = 200_000;
    let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(1));
    let scratch = scratch("child");
    let output = Rc::new(RefCell::new(Vec::new()));
    let received = Rc::clone(&output);
    with_file(
        &reactor,
        scratch.path(),
        pattern(SIZE),
        move |reactor, file| {
            let watch = Watch::new(&log, &countdown)
                .made(move |process| {
                    let stdin = process.pipe(0).expect("it has a pipe");
                    stdin.send_file(&file, .., |stdin, sent| {
                        assert_eq!(sent.ok(), Some(SIZE as u64));
                        stdin.lose_connection();
                    });
                })
                .data(move |_, _, all| {
                    if let Some(echoed) = role_output(all) {
                        *received.borrow_mut() = echoed.to_vec();
                    }
                });
            start(reactor, Role::Echo, watch);
        },
    );
    run_clean(&reactor);
    assert!(output.take().starts_with(&pattern(SIZE)));
}

#[test]
fn a_closed_connection_sends_no_file() {
    let reactor = reactor();
    let scratch = scratch("too-late");
    with_file(&reactor, scratch.path(), pattern(10), |reactor, file| {
        let server = Script::new().made(|_| ());
        let client = Script::new()
            .made(Transport::abort_connection)
            .lost(move |transport, _| {
                transport.send_file(&file, .., |transport, sent| {
                    assert!(matches!(
                        sent,
                        Err(SendFileError::ConnectionLost { sent: 0 })
                    ));
                    transport.reactor().stop();
                });
            });
        pair(reactor, client, server);
    });
    run_clean(&reactor);
}

#[test]
fn a_closed_file_is_not_sent() {
    let reactor = reactor();
    let scratch = scratch("closed-file");
    with_file(&reactor, scratch.path(), pattern(10), |reactor, file| {
        file.close();
        let answer = move |transport: &Transport| {
            transport.send_file(&file, .., |transport, sent| {
                assert!(matches!(sent, Err(SendFileError::File { sent: 0, .. })));
                transport.lose_connection();
            });
        };
        serve(reactor, answer, |reactor, received| {
            assert!(received.is_empty());
            reactor.stop();
        });
    });
    run_clean(&reactor);
}

#[test]
fn a_panic_in_the_callback_loses_the_connection() {
    let reactor = reactor();
    let scratch = scratch("panic");
    with_file(&reactor, scratch.path(), pattern(10), |reactor, file| {
        let server = Script::new()
            .made(move |transport| {
                transport.send_file(&file, .., |_, _| panic!("a deliberate panic"));
            })
            .lost(|transport, reason| {
                assert!(matches!(reason, tidewaiter::Reason::Panicked), "{reason}");
                transport.reactor().stop();
            });
        pair(reactor, Script::new(), server);
    });
    run(&reactor);
    assert_eq!(reactor.metrics().panics, 1);
}

#[test]
fn a_dropped_reactor_drops_files_that_wait() {
    let reactor = reactor();
    let scratch = scratch("dropped-reactor");
    let owned = Rc::new(());
    let kept = Rc::clone(&owned);
    with_file(
        &reactor,
        scratch.path(),
        pattern(crate::MUCH / 8),
        move |reactor, file| {
            let server = Script::new().made(move |transport| {
                let (kept, again) = (Rc::clone(&kept), Rc::clone(&kept));
                transport.send_file(&file, .., move |_, _| drop(kept));
                transport.send_file(&file, .., move |_, _| drop(again));
            });
            let client = Script::new()
                .made(Transport::pause_producing)
                .lost(|_, _| panic!("no callback follows"));
            pair(reactor, client, server);
            reactor.call_later(Duration::from_millis(20), Reactor::crash);
        },
    );
    run(&reactor);
    drop(reactor);
    assert_eq!(Rc::strong_count(&owned), 1);
}
