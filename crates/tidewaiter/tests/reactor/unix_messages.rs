//! UNIX sockets: sequenced packets, descriptors that go with bytes, and the peer's credentials.

use std::cell::{Cell, RefCell};
use std::io::{self, Error, ErrorKind, PipeReader, Read};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tidewaiter::port::{ListenOptions, PassedDescriptors};
use tidewaiter::{ConnectOptions, Factory, Protocol, Reactor, Reason, Transport};

use super::promises::support::{Countdown, Log, Script, any_port, pattern, reactor, run_clean};
use crate::support::alone::alone;
use crate::support::folder::Folder;

type OnTransport = Box<dyn FnMut(&Transport)>;
type OnPassed = Box<dyn FnMut(&Transport, PassedDescriptors)>;
type OnData = Box<dyn FnMut(&Transport, &[u8])>;

/// A protocol that also notes descriptors.
struct Taker {
    log: Log,
    made: OnTransport,
    passed: OnPassed,
    data: OnData,
}

impl Taker {
    /// Takes descriptors, and drops them.
    fn new(log: &Log) -> Taker {
        Taker {
            log: log.clone(),
            made: Box::new(|transport| transport.take_descriptors().expect("it can")),
            passed: Box::new(|_, _| ()),
            data: Box::new(|_, _| ()),
        }
    }

    fn made(mut self, made: impl FnMut(&Transport) + 'static) -> Taker {
        self.made = Box::new(made);
        self
    }

    fn passed(mut self, passed: impl FnMut(&Transport, PassedDescriptors) + 'static) -> Taker {
        self.passed = Box::new(passed);
        self
    }

    fn data(mut self, data: impl FnMut(&Transport, &[u8]) + 'static) -> Taker {
        self.data = Box::new(data);
        self
    }
}

impl Protocol for Taker {
    fn connection_made(&mut self, transport: &Transport) {
        (self.made)(transport);
    }

    fn descriptors_received(&mut self, transport: &Transport, passed: PassedDescriptors) {
        self.log
            .add(format!("{} descriptors", passed.descriptors.len()));
        (self.passed)(transport, passed);
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        self.log.add(String::from_utf8_lossy(data));
        (self.data)(transport, data);
    }

    fn connection_lost(&mut self, transport: &Transport, reason: Reason) {
        assert!(reason.is_done(), "{reason}");
        transport.reactor().stop();
    }
}

/// Makes one protocol.
fn once<P: Protocol + 'static>(protocol: P) -> impl Factory + 'static {
    let protocol = Cell::new(Some(protocol));
    move |_: tidewaiter::Address| protocol.take().expect("one connection only")
}

/// Connects two protocols over a UNIX socket, and runs until one of them stops the reactor.
fn connect(packets: bool, client: impl Protocol + 'static, server: impl Protocol + 'static) {
    let (folder, reactor) = (Folder::new(), reactor());
    let address = folder.socket("a");
    let mut listen = ListenOptions::new(address.clone());
    listen.sequenced_packets = packets;
    let mut options = ConnectOptions::from(address);
    if packets {
        options = options.sequenced_packets();
    }
    let listener = reactor.listen_unix(listen, once(server));
    listener.expect("a free path");
    reactor.connect_unix(options, once(client));
    run_clean(&reactor);
}

fn pipe() -> (PipeReader, OwnedFd) {
    let (reader, writer) = io::pipe().expect("a pipe");
    (reader, writer.into())
}

/// Checks that every copy of the pipe's other end is closed.
#[track_caller]
fn assert_closed(mut reader: PipeReader) {
    let _ = rustix::io::ioctl_fionbio(&reader, true);
    assert_eq!(reader.read(&mut [0]).expect("it is closed"), 0);
}

#[test]
fn each_write_is_a_packet_and_each_packet_a_call() {
    let packets: Vec<Vec<u8>> = (1..300).map(|n| pattern(n * 37)).collect();
    let (sent, expected) = (packets.clone(), packets);
    let client = Script::new().made(move |transport| {
        for (n, packet) in sent.iter().enumerate() {
            transport.write(b"");
            match n % 2 {
                0 => transport.write(packet),
                _ => transport.write_bytes(packet.clone()),
            }
        }
        transport.lose_connection();
    });
    let (mut next, countdown) = (0, Countdown::new(1));
    let server = Script::new()
        .made(|transport| {
            transport.pause_producing();
            let paused = transport.clone();
            let resume = move |_: &Reactor| paused.resume_producing();
            transport
                .reactor()
                .call_later(Duration::from_millis(1), resume);
        })
        .data(move |transport, data| {
            assert!(data == expected[next], "packet {next}");
            next += 1;
            if next == expected.len() {
                transport.lose_connection();
            }
        })
        .then_done(&countdown);
    connect(true, client, server);
}

#[test]
fn a_packet_that_is_too_long_loses_the_connection_for_that_reason() {
    for (size, by_receiver) in [(100_000, true), (64 << 20, false)] {
        let reason = Rc::new(RefCell::new(None));
        let side = |told: bool| {
            let reason = Rc::clone(&reason);
            Script::new()
                .data(|_, _| panic!("a packet is never cut"))
                .lost(move |transport, lost| {
                    if told {
                        reason.replace(Some(lost));
                        transport.reactor().stop();
                    }
                })
        };
        let client = side(!by_receiver).made(move |transport| transport.write(&pattern(size)));
        connect(true, client, side(by_receiver));
        let reason = reason.take().expect("it is lost");
        let Reason::Os { source, .. } = &reason else {
            panic!("the reason is too long a packet: {reason}");
        };
        if by_receiver {
            assert_eq!(source.kind(), ErrorKind::InvalidData, "{reason}");
        } else if crate::SIMULATED {
            assert_eq!(source.kind(), ErrorKind::InvalidInput, "{reason}");
        } else {
            let too_long = rustix::io::Errno::MSGSIZE.raw_os_error();
            assert_eq!(source.raw_os_error(), Some(too_long), "{reason}");
        }
    }
}

#[test]
fn descriptors_come_with_their_bytes_over_streams_and_packets() {
    for packets in [false, true] {
        let log = Log::default();
        let (mut reader, writer) = pipe();
        let second = writer.try_clone().expect("a duplicate");
        let given = Cell::new(Some(vec![vec![writer], vec![second, pipe().1]]));
        let client = Script::new().made(move |transport| {
            let mut given = given.take().expect("connected once").into_iter();
            transport.write(b"before ");
            for text in ["one ", "two "] {
                let descriptors = given.next().expect("two times");
                let sent = transport.send_with_descriptors(text.as_bytes(), descriptors);
                sent.expect("it is open");
            }
            transport.write(b"after");
            transport.lose_connection();
        });
        let server = Taker::new(&log).passed(|_, passed| {
            assert!(!passed.some_lost);
            let mut pipe = std::fs::File::from(passed.descriptors.into_iter().next().expect("one"));
            io::Write::write_all(&mut pipe, b"x").expect("there is room");
        });
        connect(packets, client, server);
        let events = log.take();
        let bytes: Vec<&str> = events
            .iter()
            .map(String::as_str)
            .filter(|e| !e.contains("descr"))
            .collect();
        assert_eq!(bytes.concat(), "before one two after");
        let passed: Vec<&str> = events
            .iter()
            .map(String::as_str)
            .filter(|e| e.contains("descr"))
            .collect();
        assert_eq!(passed, ["1 descriptors", "2 descriptors"]);
        if packets {
            assert_eq!(events[0..3], ["before ", "1 descriptors", "one "]);
        }
        let mut written = String::new();
        reader
            .read_to_string(&mut written)
            .expect("all copies are closed");
        assert_eq!(written, "xx");
    }
}

/// Goal: a pause holds descriptors as it holds bytes, even a pause that begins when they are delivered.
#[test]
fn a_pause_holds_descriptors_and_the_bytes_with_which_they_came() {
    let log = Log::default();
    let client = Script::new().made(|transport| {
        let sent = transport.send_with_descriptors(b"bytes", vec![pipe().1]);
        sent.expect("it is open");
        transport.lose_connection();
    });
    let pause = |log: &Log, transport: &Transport| {
        transport.pause_producing();
        log.add("pause");
        let (log, paused) = (log.clone(), transport.clone());
        transport
            .reactor()
            .call_later(Duration::from_millis(10), move |_| {
                log.add("resume");
                paused.resume_producing();
            });
    };
    let (first, second) = (log.clone(), log.clone());
    let server = Taker::new(&log)
        .made(move |transport| {
            transport.take_descriptors().expect("it can");
            pause(&first, transport);
        })
        .passed(move |transport, _| pause(&second, transport));
    connect(false, client, server);
    let expected = [
        "pause",
        "resume",
        "1 descriptors",
        "pause",
        "resume",
        "bytes",
    ];
    assert_eq!(log.take(), expected);
}

/// Goal: descriptors are taken from the moment of the call on, even if a receive is under way.
#[test]
fn descriptors_are_closed_until_the_program_takes_them() {
    let log = Log::default();
    let (ignored, writer) = pipe();
    let given = Cell::new(Some(writer));
    let client = Script::new()
        .made(move |transport| {
            let descriptors = given.take().into_iter().collect();
            let sent = transport.send_with_descriptors(b"ignored", descriptors);
            sent.expect("it is open");
        })
        .data(|transport, _| {
            let sent = transport.send_with_descriptors(b"taken", vec![pipe().1]);
            sent.expect("it is open");
            transport.lose_connection();
        });
    let server = Taker::new(&log).made(|_| ()).data(|transport, data| {
        if data == b"ignored" {
            transport.take_descriptors().expect("it can");
            transport.take_descriptors().expect("and again");
            transport.write(b"go on");
        }
    });
    connect(false, client, server);
    assert_eq!(log.take(), ["ignored", "1 descriptors", "taken"]);
    assert_closed(ignored);
}

#[test]
fn descriptors_that_were_never_sent_are_closed_with_the_connection() {
    let (reader, writer) = pipe();
    let (given, countdown) = (Cell::new(Some(writer)), Countdown::new(1));
    let client = Script::new()
        .made(move |transport| {
            // More than the OS takes, and the peer does not read.
            transport.write_bytes(pattern(8 << 20));
            let descriptors = given.take().into_iter().collect();
            let sent = transport.send_with_descriptors(b"late", descriptors);
            sent.expect("it is open");
            let abort = transport.clone();
            let abort = move |_: &Reactor| abort.abort_connection();
            transport
                .reactor()
                .call_later(Duration::from_millis(10), abort);
        })
        .lost(move |transport, _| {
            assert!(transport.unsent() > 4);
            let late = transport.send_with_descriptors(b"later", vec![pipe().1]);
            assert_eq!(
                late.expect_err("it is closed").kind(),
                ErrorKind::NotConnected
            );
            countdown.hit(transport.reactor());
        });
    connect(
        false,
        client,
        Script::new().made(Transport::pause_producing),
    );
    assert_closed(reader);
}

#[test]
fn what_cannot_be_passed_is_refused_and_closed() {
    let client = Script::new().made(|transport| {
        for (data, count) in [(&b""[..], 1), (b"x", 254)] {
            let (reader, writer) = pipe();
            let writers = (0..count).map(|_| writer.try_clone().expect("a duplicate"));
            let refused = transport.send_with_descriptors(data, writers.collect());
            assert_eq!(
                refused.expect_err("it cannot").kind(),
                ErrorKind::InvalidInput
            );
            drop(writer);
            assert_closed(reader);
        }
        let most = (0..253).map(|_| pipe().1).collect();
        transport
            .send_with_descriptors(b"x", most)
            .expect("that many go");
        transport.lose_connection();
    });
    let log = Log::default();
    connect(false, client, Taker::new(&log));
    assert_eq!(log.take(), ["253 descriptors", "x"]);

    let reactor = reactor();
    let over_tcp = Script::new().made(|transport| {
        let refused: [Result<(), Error>; 3] = [
            transport.send_with_descriptors(b"x", vec![pipe().1]),
            transport.take_descriptors(),
            transport.peer_credentials().map(drop),
        ];
        for refused in refused {
            assert_eq!(
                refused.expect_err("TCP cannot").kind(),
                ErrorKind::InvalidInput
            );
        }
        transport.reactor().stop();
    });
    let listener = reactor
        .listen_tcp(any_port(), once(over_tcp))
        .expect("a port");
    reactor.connect_tcp(listener.local_addr(), |_| Script::new());
    run_clean(&reactor);
}

#[test]
fn the_peers_credentials_are_those_of_its_process() {
    let (told, countdown) = (Log::default(), Countdown::new(2));
    let side = || {
        let (told, countdown) = (told.clone(), countdown.clone());
        Script::new().made(move |transport| {
            let peer = transport.peer_credentials();
            if crate::SIMULATED {
                let error = peer.expect_err("simulated processes have no user");
                assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
                told.add("refused");
                return countdown.hit(transport.reactor());
            }
            let peer = peer.expect("it is told");
            let us = (
                Some(rustix::process::geteuid().as_raw()),
                Some(rustix::process::getegid().as_raw()),
            );
            assert_eq!((peer.user, peer.group), us);
            if cfg!(target_os = "linux") {
                assert_eq!(peer.process, Some(std::process::id()));
            }
            told.add("told");
            countdown.hit(transport.reactor());
        })
    };
    connect(false, side(), side());
    assert_eq!(told.take().len(), 2);
}

/// Goal: a process that may open no more descriptors is told that some are lost, and gets the bytes.
#[test]
fn a_full_table_of_descriptors_is_told() {
    if crate::SIMULATED {
        // Descriptors that are passed stay open on their way.
        return;
    }
    alone(
        module_path!(),
        "a_full_table_of_descriptors_is_told",
        || {
            const PASSED: usize = 60;
            let (log, lost) = (Log::default(), Rc::new(Cell::new(false)));
            let client = Script::new().made(|transport| {
                let (_reader, writer) = pipe();
                let all = (0..PASSED).map(|_| writer.try_clone().expect("a duplicate"));
                transport
                    .send_with_descriptors(b"bytes", all.collect())
                    .expect("it is open");
                let next = std::fs::File::open("/dev/null").expect("there is one");
                let used = std::os::fd::AsRawFd::as_raw_fd(&next).unsigned_abs();
                let limit = getrlimit(Resource::Nofile);
                let current = Some(u64::from(used) - 20);
                setrlimit(Resource::Nofile, Rlimit { current, ..limit })
                    .expect("it may be lowered");
                transport.lose_connection();
            });
            let seen = Rc::clone(&lost);
            let server = Taker::new(&log).passed(move |_, passed| seen.set(passed.some_lost));
            connect(false, client, server);
            assert!(lost.get(), "{:?}", log.take());
            let events = log.take();
            assert!(events.is_empty() || events.last().is_some_and(|last| last == "bytes"));
        },
    );
}
