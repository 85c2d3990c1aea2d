//! Child processes: the events that their protocols receive, in which order, and how they end.

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::Duration;

use tidewaiter::process::{Command, ExitStatus, SpawnStep};
use tidewaiter::{
    ChildFd, Process, ProcessProtocol, Producer, ProducerKind, Reactor, Reason, Transport,
};

use super::support::{Countdown, Log, Script, assert_empty, pair, reactor, run, run_clean};
use crate::KILLED;
use crate::support::roles::{READY, Role};

type OnProcess = Box<dyn FnMut(&Process)>;
type OnData = Box<dyn FnMut(&Process, ChildFd, &[u8])>;
type OnLoss = Box<dyn FnMut(&Process, ChildFd)>;

/// A protocol that notes every event, collects the child's output, and calls closures.
pub(crate) struct Watch {
    log: Log,
    countdown: Countdown,
    /// The child's output on each descriptor.
    output: [Vec<u8>; 3],
    made: Option<OnProcess>,
    data: Option<OnData>,
    lost: Option<OnLoss>,
    exited: Option<OnProcess>,
    /// Whether the child may end in the moment in which the reactor leaves it, or unseen.
    is_left: bool,
}

impl Watch {
    pub(crate) fn new(log: &Log, countdown: &Countdown) -> Watch {
        Watch {
            log: log.clone(),
            countdown: countdown.clone(),
            output: Default::default(),
            made: None,
            data: None,
            lost: None,
            exited: None,
            is_left: false,
        }
    }

    pub(crate) fn left(mut self) -> Watch {
        self.is_left = true;
        self
    }

    fn check_usage(&self, process: &Process) {
        let is_unknown = process.usage().is_none();
        assert!(is_unknown == crate::SIMULATED || self.is_left);
    }

    pub(crate) fn made(mut self, call: impl FnMut(&Process) + 'static) -> Watch {
        self.made = Some(Box::new(call));
        self
    }

    /// Calls `call` with all of the child's output on a descriptor so far.
    pub(crate) fn data(mut self, call: impl FnMut(&Process, ChildFd, &[u8]) + 'static) -> Watch {
        self.data = Some(Box::new(call));
        self
    }

    fn lost(mut self, call: impl FnMut(&Process, ChildFd) + 'static) -> Watch {
        self.lost = Some(Box::new(call));
        self
    }

    pub(crate) fn exited(mut self, call: impl FnMut(&Process) + 'static) -> Watch {
        self.exited = Some(Box::new(call));
        self
    }
}

impl ProcessProtocol for Watch {
    fn connection_made(&mut self, process: &Process) {
        self.log.add("made");
        assert!(process.pid() != 0 && process.status().is_none() && process.usage().is_none());
        if let Some(call) = &mut self.made {
            call(process);
        }
    }

    fn child_data_received(&mut self, process: &Process, child_fd: ChildFd, data: &[u8]) {
        assert!(!data.is_empty());
        let output = &mut self.output[child_fd as usize];
        output.extend_from_slice(data);
        if let Some(call) = &mut self.data {
            call(process, child_fd, output);
        }
    }

    fn child_connection_lost(&mut self, process: &Process, child_fd: ChildFd, _: Reason) {
        self.log.add(format!("lost {child_fd}"));
        assert!(process.pipe(child_fd).is_none());
        if let Some(call) = &mut self.lost {
            call(process, child_fd);
        }
    }

    fn process_exited(&mut self, process: &Process, status: ExitStatus) {
        self.log.add(format!("exited: {status}"));
        assert_eq!(process.status(), Some(status));
        self.check_usage(process);
        if let Some(call) = &mut self.exited {
            call(process);
        }
    }

    fn process_ended(&mut self, process: &Process, status: ExitStatus) {
        self.log.add(format!("ended: {status}"));
        self.check_usage(process);
        self.countdown.hit(process.reactor());
    }
}

/// Goal: the start of a child that ends at once is reported before its end, however many other callbacks are
/// queued.
#[test]
fn a_start_is_reported_before_the_end_even_if_many_callbacks_are_queued() {
    let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(1));
    let watch = Watch::new(&log, &countdown);
    reactor.call_when_running(move |reactor| {
        // Each connection queues two callbacks.
        for _ in 0..600 {
            let address = super::support::any_port();
            let connector = reactor.connect_tcp(address, |_| super::support::Silent);
            connector.cancel();
        }
        reactor
            .spawn_process(&crate::child(Role::Exit(3)), watch)
            .expect("the child starts");
    });
    run_clean(&reactor);
    assert_eq!(log.take()[0], "made");
}

/// The child's output after it began to play its role.
pub(crate) fn role_output(all: &[u8]) -> Option<&[u8]> {
    let begin = all.windows(READY.len()).position(|part| part == READY)?;
    Some(&all[begin + READY.len()..])
}

pub(crate) fn start(reactor: &Reactor, role: Role, watch: Watch) -> Process {
    let process = reactor.spawn_process(&crate::child(role), watch);
    process.expect("the child starts")
}

/// Checks that each event occurred once: first the start, last the end, in between the exit and the end of each
/// pipe.
#[track_caller]
pub(crate) fn check_events(events: &[String], status: ExitStatus) {
    let mut events = events.to_vec();
    assert_eq!(
        events.first().map(String::as_str),
        Some("made"),
        "{events:?}"
    );
    assert_eq!(
        events.last(),
        Some(&format!("ended: {status}")),
        "{events:?}"
    );
    events.sort();
    let expected = [
        format!("ended: {status}"),
        format!("exited: {status}"),
        "lost 0".into(),
        "lost 1".into(),
        "lost 2".into(),
        "made".into(),
    ];
    assert_eq!(events, expected);
}

#[test]
fn a_child_echoes_and_every_event_comes_once_and_in_order() {
    let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(1));
    let watch = Watch::new(&log, &countdown)
        .made(|process| process.write(b"echo me"))
        .data(|process, child_fd, all| {
            if child_fd == 1 && role_output(all) == Some(b"echo me") {
                process.close_stdin();
                process.write(b"never");
            }
        });
    let process = start(&reactor, Role::Echo, watch);
    assert!(log.take().is_empty(), "only the loop makes callbacks");
    run_clean(&reactor);
    check_events(&log.take(), ExitStatus::Code(0));
    assert_eq!(process.status(), Some(ExitStatus::Code(0)));
    assert_eq!(reactor.metrics().spawned, 1);
    let error = process.kill().expect_err("it has ended");
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
}

#[test]
fn exit_codes_of_children_that_end_at_once_are_reported() {
    let (reactor, countdown) = (reactor(), Countdown::new(3));
    let logs: Vec<_> = [0, 7, 255]
        .into_iter()
        .map(|code| {
            let log = Log::default();
            start(&reactor, Role::Exit(code), Watch::new(&log, &countdown));
            (code, log)
        })
        .collect();
    run_clean(&reactor);
    for (code, log) in logs {
        check_events(&log.take(), ExitStatus::Code(code.into()));
    }
}

#[test]
fn a_killed_child_is_distinguished_from_one_that_exits() {
    let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(1));
    let watch = Watch::new(&log, &countdown).made(|process| {
        process.kill().unwrap();
    });
    start(&reactor, Role::Deaf, watch);
    run_clean(&reactor);
    check_events(&log.take(), KILLED);
}

#[cfg(unix)]
#[test]
fn a_child_that_is_asked_to_terminate_ends_by_that_signal() {
    use tidewaiter::process::{Signal, SignalTarget};

    let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(2));
    let terminate = |process: &Process| {
        process.terminate().unwrap();
    };
    start(
        &reactor,
        Role::Deaf,
        Watch::new(&log, &countdown).made(terminate),
    );
    let other = Log::default();
    let number = |process: &Process| {
        let signal = Signal::Number(rustix::process::Signal::USR1.as_raw());
        process.signal(signal, SignalTarget::Process).unwrap();
    };
    start(
        &reactor,
        Role::Deaf,
        Watch::new(&other, &countdown).made(number),
    );
    run_clean(&reactor);
    let signal = |number| ExitStatus::Signal {
        number,
        core_dumped: false,
    };
    check_events(&log.take(), signal(15));
    let number = rustix::process::Signal::USR1.as_raw();
    check_events(&other.take(), signal(number));
}

#[test]
fn a_child_can_close_its_output_and_run_on() {
    let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(1));
    let watch = Watch::new(&log, &countdown).lost(|process, child_fd| {
        if child_fd == 1 {
            assert!(process.status().is_none(), "it lives");
            process.close_stdin();
        }
    });
    start(&reactor, Role::Mute, watch);
    run_clean(&reactor);
    let events = log.take();
    assert_eq!(events[..2], ["made", "lost 1"]);
    check_events(&events, ExitStatus::Code(3));
}

/// Goal: the exit and the end are two events, and the pipes work in between.
#[test]
fn a_child_exits_while_a_grandchild_keeps_its_pipes() {
    let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(1));
    let watch = Watch::new(&log, &countdown)
        .exited(|process| process.write(b"who is there?"))
        .data(|process, _, all| {
            if all.ends_with(b"who is there?") {
                assert_eq!(process.status(), Some(ExitStatus::Code(5)));
                process.close_stdin();
            }
        });
    start(&reactor, Role::LeaveEcho, watch);
    run_clean(&reactor);
    let events = log.take();
    assert_eq!(events[..2], ["made", "exited: exit code 5"]);
    check_events(&events, ExitStatus::Code(5));
}

#[test]
fn a_flood_on_standard_error_passes_and_a_pause_stops_it() {
    const COUNT: u32 = 2000;
    let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(1));
    let paused = Rc::new(Cell::new(true));
    let seen = Rc::clone(&paused);
    let watch = Watch::new(&log, &countdown)
        .made(move |process| {
            let errors = process.pipe(2).expect("it is a pipe");
            assert_eq!(errors.peer_addr(), None);
            assert!(errors.local_addr().is_err());
            errors.pause_producing();
            let paused = Rc::clone(&paused);
            process
                .reactor()
                .call_later(Duration::from_millis(100), move |_| {
                    paused.set(false);
                    errors.resume_producing();
                });
        })
        .data(move |process, child_fd, all| {
            if child_fd == 2 {
                assert!(!seen.get(), "nothing comes while it is paused");
                assert!(all.last() == Some(&b'!'));
                if all.len() == 1024 * COUNT as usize {
                    process.close_stdin();
                }
            }
        });
    start(&reactor, Role::Flood(COUNT), watch);
    run_clean(&reactor);
    check_events(&log.take(), ExitStatus::Code(0));
}

/// Writes without end, until paused.
struct Endless {
    to: Transport,
    offered: Rc<Cell<usize>>,
    stopped: Rc<Cell<bool>>,
}

impl Endless {
    fn produce(&self) {
        while !self.to.is_congested() && self.offered.get() < 16 << 20 {
            self.to.write(&[5; 8192]);
            self.offered.set(self.offered.get() + 8192);
        }
    }
}

impl Producer for Endless {
    fn pause_producing(&mut self) {}

    fn resume_producing(&mut self) {
        self.produce();
    }

    fn stop_producing(&mut self) {
        self.stopped.set(true);
    }
}

#[test]
fn a_child_that_never_reads_pauses_its_producer() {
    let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(1));
    let offered = Rc::new(Cell::new(0));
    let stopped = Rc::new(Cell::new(false));
    let (count, told) = (Rc::clone(&offered), Rc::clone(&stopped));
    let watch = Watch::new(&log, &countdown).made(move |process| {
        let to = process.pipe(0).expect("it is a pipe");
        let source = Endless {
            to: to.clone(),
            offered: Rc::clone(&count),
            stopped: Rc::clone(&told),
        };
        source.produce();
        to.register_producer(source, ProducerKind::Push);
        let process = process.clone();
        let looked = move |_: &Reactor| {
            let queued = process.pipe(0).expect("still open").queued();
            assert!(0 < queued && queued <= (64 << 10) + 8192, "{queued}");
            process.kill().unwrap();
        };
        to.reactor().call_later(Duration::from_millis(100), looked);
    });
    start(&reactor, Role::Deaf, watch);
    run_clean(&reactor);
    check_events(&log.take(), KILLED);
    assert!(stopped.get(), "the producer was told");
    // A pipe holds 64 KiB, more on some systems, but never megabytes.
    assert!(offered.get() < 2 << 20, "{} were taken", offered.get());
}

#[test]
fn a_failed_start_names_the_program_and_the_reactor_goes_on() {
    let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(1));
    let missing = Command::new("no-such-program-anywhere");
    let watch = || Watch::new(&log, &countdown);
    let error = reactor.spawn_process(&missing, watch()).unwrap_err();
    assert_eq!(error.step, SpawnStep::Search, "{error}");
    assert!(error.to_string().contains("no-such-program-anywhere"));
    if !crate::SIMULATED {
        let directory = std::env::temp_dir();
        let error = reactor
            .spawn_process(&Command::new(&directory), watch())
            .unwrap_err();
        assert!(
            error.to_string().contains(&format!("{directory:?}")),
            "{error}"
        );
        let nowhere = crate::child(Role::Exit(0)).current_dir("/no/such/directory");
        let error = reactor.spawn_process(&nowhere, watch()).unwrap_err();
        assert_eq!(error.step, SpawnStep::Directory, "{error}");
    }
    assert_empty(&reactor.metrics());
    start(&reactor, Role::Exit(4), watch());
    run_clean(&reactor);
    check_events(&log.take(), ExitStatus::Code(4));
    let error = reactor.spawn_process(&crate::child(Role::Echo), watch());
    let error = error.unwrap_err();
    assert_eq!(error.step, SpawnStep::Begin);
    let reason = "the reactor cannot start processes: the reactor has been stopped";
    assert!(error.to_string().ends_with(reason), "{error}");
}

#[cfg(unix)]
#[test]
fn a_file_that_is_no_program_is_refused() {
    if crate::SIMULATED {
        return;
    }
    let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(1));
    let name = format!(
        "tidewaiter-no-program-{}-{:?}",
        std::process::id(),
        reactor.now()
    );
    let file = std::env::temp_dir().join(name.replace(['{', '}', ' ', ':'], ""));
    std::fs::write(&file, "not executable").unwrap();
    let result = reactor.spawn_process(&Command::new(&file), Watch::new(&log, &countdown));
    std::fs::remove_file(&file).unwrap();
    let error = result.unwrap_err();
    assert_eq!(
        error.source.kind(),
        io::ErrorKind::PermissionDenied,
        "{error}"
    );
    assert_empty(&reactor.metrics());
}

/// Goal: a panic in any callback kills the child, and its end is still reported.
#[test]
fn a_panic_in_a_process_protocol_kills_the_child() {
    let (reactor, countdown) = (reactor(), Countdown::new(3));
    let logs: [Log; 3] = Default::default();
    let watch = |number: usize| Watch::new(&logs[number], &countdown);
    let faulty = watch(0).made(|_| panic!("a deliberate panic"));
    start(&reactor, Role::Deaf, faulty);
    let faulty = watch(1).data(|_, _, _| panic!("a deliberate panic"));
    start(&reactor, Role::Deaf, faulty);
    let faulty = watch(2)
        .made(Process::close_stdin)
        .lost(|_, child_fd| assert!(child_fd != 0, "a deliberate panic"));
    start(&reactor, Role::Deaf, faulty);
    run(&reactor);
    for log in logs {
        check_events(&log.take(), KILLED);
    }
    // The OS decides how often the second callback is called before its pipes are closed.
    assert!(reactor.metrics().panics >= 3);
    assert_empty(&reactor.metrics());
}

#[test]
fn a_stop_kills_children_with_all_their_descendants() {
    let (reactor, countdown) = (reactor(), Countdown::new(2));
    let logs: [Log; 2] = Default::default();
    let both = Rc::new(RefCell::new(0));
    for log in &logs {
        let ready = Rc::clone(&both);
        let mut was_ready = false;
        // Stops once both have their grandchildren.
        let watch = Watch::new(log, &countdown).data(move |process, child_fd, all| {
            let count = all
                .windows(READY.len())
                .filter(|part| *part == READY)
                .count();
            if child_fd == 1 && count == 2 && !std::mem::replace(&mut was_ready, true) {
                *ready.borrow_mut() += 1;
                if *ready.borrow() == 2 {
                    process.reactor().stop();
                }
            }
        });
        start(&reactor, Role::KeepDeaf, watch);
    }
    run_clean(&reactor);
    for log in logs {
        check_events(&log.take(), KILLED);
    }
}

#[test]
fn a_detached_child_is_left_alone_by_a_stop() {
    let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(1));
    // It exits by itself when its input ends, as it does at the stop.
    let watch = Watch::new(&log, &countdown).data(|process, _, all| {
        if role_output(all).is_some() {
            process.detach();
            process.reactor().stop();
        }
    });
    let watch = watch.left();
    let process = start(&reactor, Role::Echo, watch);
    run_clean(&reactor);
    let mut events = log.take();
    events.sort();
    // Whether its own exit comes before our pipes are closed depends on the OS; but it was not killed.
    if process.status().is_some() {
        assert_eq!(events[..2], ["ended: exit code 0", "exited: exit code 0"]);
        events.drain(..2);
    }
    assert_eq!(events, ["lost 0", "lost 1", "lost 2", "made"]);
    assert_eq!(process.kill().unwrap_err().kind(), io::ErrorKind::NotFound);
}

#[test]
fn fifty_children_are_started_from_callbacks_and_all_end() {
    fn next(reactor: &Reactor, left: u32, countdown: &Countdown) {
        let (log, again) = (Log::default(), countdown.clone());
        let watch = Watch::new(&log, countdown).exited(move |process| {
            if left > 1 {
                next(process.reactor(), left - 1, &again);
            }
        });
        start(reactor, Role::Exit(0), watch);
    }
    let (reactor, countdown) = (reactor(), Countdown::new(50));
    for _ in 0..10 {
        next(&reactor, 5, &countdown);
    }
    run_clean(&reactor);
    assert_eq!(reactor.metrics().spawned, 50);
}

/// Goal: when a child takes no more input, the connection that fills it still sends and receives, and ends in
/// order.
#[test]
fn a_child_that_takes_no_more_input_does_not_end_the_connection_that_fills_it() {
    let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(3));
    let (heard, answered) = (log.clone(), log.clone());
    let client = Script::new()
        .made(|transport| transport.write_bytes(vec![0; 16 << 20]))
        .data(move |transport, data| {
            heard.add(String::from_utf8_lossy(data));
            transport.lose_connection();
        })
        .then_done(&countdown);
    let ended = countdown.clone();
    let server = Script::new()
        .made(move |transport| {
            let (filling, answering) = (transport.clone(), transport.clone());
            let answered = answered.clone();
            let watch = Watch::new(&Log::default(), &countdown)
                .made(move |process| {
                    let stdin = process.pipe(0).expect("it is open");
                    stdin.register_producer(filling.clone(), ProducerKind::Push);
                    stdin.write_bytes(vec![0; 16 << 20]);
                    assert!(stdin.is_congested(), "the child reads nothing");
                    stdin.abort_connection();
                })
                .lost(move |process, child_fd| {
                    if child_fd == 0 {
                        assert!(answering.is_open());
                        answered.add("input is closed");
                        answering.write(b"and yet it is answered");
                        process.kill().expect("it runs");
                    }
                });
            start(transport.reactor(), Role::Deaf, watch);
        })
        .then_done(&ended);
    pair(&reactor, client, server);
    run_clean(&reactor);
    assert_eq!(log.take(), ["input is closed", "and yet it is answered"]);
}
