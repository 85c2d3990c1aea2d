//! Files of a simulated world: full disks, short and failing calls, by seed.

use std::cell::{Cell, RefCell};
use std::io::ErrorKind;
use std::rc::Rc;

use tidewaiter::port::sim::{Call, Faults, Sim};
use tidewaiter::{File, FileError, FileOptions, Reactor, SendFileError};

use crate::promises::support::{Log, Script, pair, pattern, run_clean};

fn world(seed: u64, faults: Faults) -> (Sim, Reactor) {
    let sim = Sim::builder(seed).faults(faults).build();
    let reactor = Reactor::builder().signals(false).simulation(&sim).build();
    (sim, reactor.expect("a simulation needs nothing"))
}

fn open(
    reactor: &Reactor,
    path: &str,
    options: FileOptions,
    then: impl FnOnce(&Reactor, File) + 'static,
) {
    reactor.open_file(path, options, move |reactor, file| match file {
        Ok(file) => then(reactor, file),
        Err(error) => panic!("{error}"),
    });
}

fn kind(error: &FileError) -> ErrorKind {
    error.io_error().expect("the world refused").kind()
}

#[test]
fn a_full_disk_takes_what_there_is_room_for() {
    let mut faults = Faults::default();
    faults.disk_bytes = 10;
    let (sim, reactor) = world(1, faults);
    sim.write_file("old", &b"1234"[..]);
    let new = FileOptions::new().write(true).create(true);
    open(&reactor, "new", new, |_, file| {
        file.write_at(0, &b"abcdefgh"[..], |reactor, written| {
            let error = written.expect_err("two bytes too many");
            assert_eq!(kind(&error), ErrorKind::StorageFull);
            assert!(matches!(error, FileError::Os { written: 6, .. }));
            reactor.stop();
        });
    });
    run_clean(&reactor);
    assert_eq!(sim.read_file("new").as_deref(), Some(&b"abcdef"[..]));
}

#[test]
fn each_call_can_be_made_to_fail() {
    let (sim, reactor) = world(1, Faults::default());
    sim.write_file("file", &b"bytes"[..]);
    sim.fail_next(Call::OpenFile, ErrorKind::QuotaExceeded);
    let log = Log::default();
    let (told, world) = (log.clone(), sim.clone());
    reactor.open_file("file", FileOptions::new(), move |reactor, file| {
        told.add(format!("{:?}", kind(&file.expect_err("it was asked for"))));
        world.fail_next(Call::ReadFile, ErrorKind::TimedOut);
        world.fail_next(Call::SyncFile, ErrorKind::Other);
        open(reactor, "file", FileOptions::new(), move |_, file| {
            let read = told.clone();
            file.read_at(0, 5, move |_, bytes| {
                read.add(format!("{:?}", kind(&bytes.expect_err("it was asked for"))));
            });
            file.sync(move |reactor, synced| {
                told.add(format!(
                    "{:?}",
                    kind(&synced.expect_err("it was asked for"))
                ));
                reactor.stop();
            });
        });
    });
    run_clean(&reactor);
    let mut told = log.take();
    told.sort();
    assert_eq!(told, ["Other", "QuotaExceeded", "TimedOut"]);
}

#[test]
fn a_file_that_was_removed_lives_as_long_as_it_is_open() {
    let (sim, reactor) = world(1, Faults::default());
    sim.write_file("directory/file", &b"bytes"[..]);
    let world = sim.clone();
    open(
        &reactor,
        "directory/file",
        FileOptions::new(),
        move |_, file| {
            assert!(world.remove_file("directory/file"));
            assert!(!world.remove_file("directory/file"));
            file.read_at(0, 5, |reactor, bytes| {
                assert_eq!(bytes.expect("it is open"), b"bytes");
                reactor.stop();
            });
        },
    );
    run_clean(&reactor);
    assert_eq!(sim.read_file("directory/file"), None);
}

/// Goal: the caller of a write and of an append sees none of the short writes below it; what a read returns is right,
/// however short.
#[test]
fn short_and_late_calls_lose_nothing() {
    for seed in 0..50 {
        let (sim, reactor) = world(seed, Faults::bumpy());
        let log = FileOptions::new().append(true).create(true);
        open(&reactor, "log", log, |_, file| {
            for number in 0..20 {
                let piece = pattern(2000)[number * 100..][..100].to_vec();
                file.append(piece, |_, written| written.expect("there is room"));
            }
            file.sync(|_, synced| synced.expect("it works"));
        });
        let all = FileOptions::new().read(true).write(true).create(true);
        open(&reactor, "all", all, |_, file| {
            let next = file.clone();
            file.write_at(0, pattern(2000), move |_, written| {
                written.expect("there is room");
                read_all(&next, Vec::new());
            });
        });
        run_clean(&reactor);
        assert_eq!(sim.read_file("log"), Some(pattern(2000)), "seed {seed}");
        assert_eq!(sim.read_file("all"), Some(pattern(2000)), "seed {seed}");
    }
}

/// Reads to the end, and stops once that is right and the appends are over.
fn read_all(file: &File, mut all: Vec<u8>) {
    let next = file.clone();
    file.read_at(all.len() as u64, 500, move |reactor, bytes| {
        let bytes = bytes.expect("it works");
        all.extend_from_slice(&bytes);
        if bytes.is_empty() {
            assert_eq!(all, pattern(2000));
            reactor.stop();
        } else {
            read_all(&next, all);
        }
    });
}

/// Goal: a seed repeats a run with files exactly.
#[test]
fn the_same_seed_gives_the_same_run() {
    let run = |seed| {
        let (sim, reactor) = world(seed, Faults::stormy());
        sim.write_file("file", pattern(10_000));
        let sizes = Rc::new(RefCell::new(Vec::new()));
        let all = Rc::clone(&sizes);
        reactor.open_file("file", FileOptions::new(), move |reactor, file| {
            let Ok(file) = file else {
                return reactor.stop();
            };
            let left = Rc::new(Cell::new(50));
            for number in 0..50 {
                let (all, left) = (Rc::clone(&all), Rc::clone(&left));
                file.read_at(number * 200, 200, move |reactor, bytes| {
                    all.borrow_mut()
                        .push((number, bytes.ok().map(|bytes| bytes.len())));
                    left.set(left.get() - 1);
                    if left.get() == 0 {
                        reactor.stop();
                    }
                });
            }
        });
        run_clean(&reactor);
        (sizes.take(), sim.elapsed())
    };
    for seed in 0..10 {
        assert_eq!(run(seed), run(seed));
    }
}

#[test]
fn a_file_is_sent_through_a_bumpy_world_or_its_failure_told() {
    const SIZE: usize = 400_000;
    for failing in [false, true] {
        let (sim, reactor) = world(3, Faults::bumpy());
        sim.write_file("file", pattern(SIZE));
        let received = Rc::new(RefCell::new(Vec::new()));
        let data = Rc::clone(&received);
        let world = sim.clone();
        open(
            &reactor,
            "file",
            FileOptions::new(),
            move |reactor, file| {
                let server = Script::new().made(move |transport| {
                    transport.send_file(&file, .., move |transport, sent| {
                        match sent {
                            Ok(sent) => assert_eq!((failing, sent), (false, SIZE as u64)),
                            Err(SendFileError::File { sent, source }) => {
                                assert!(failing && 0 < sent && sent < SIZE as u64);
                                assert_eq!(kind(&source), ErrorKind::Other);
                            }
                            Err(other) => panic!("{other}"),
                        }
                        transport.lose_connection();
                    });
                });
                let failed = Cell::new(!failing);
                let client = Script::new()
                    .data(move |_, bytes| {
                        data.borrow_mut().extend_from_slice(bytes);
                        if !failed.replace(true) {
                            world.fail_next(Call::ReadFile, ErrorKind::Other);
                        }
                    })
                    .lost(|transport, reason| {
                        assert!(reason.is_done(), "{reason}");
                        transport.reactor().stop();
                    });
                pair(reactor, client, server);
            },
        );
        run_clean(&reactor);
        let received = received.take();
        assert!(received == pattern(SIZE)[..received.len()]);
        assert_eq!(received.len() == SIZE, !failing);
    }
}
