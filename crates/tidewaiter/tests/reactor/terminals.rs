//! Children on terminals.

use std::collections::VecDeque;
use std::io;
use std::thread;

use tidewaiter::io::{Child, ReadHalf};
use tidewaiter::process::{ExitStatus, TerminalSize};
use tidewaiter::{ChildFd, Process, ProcessProtocol, Reactor};

use crate::KILLED;
use crate::promises::support::{Countdown, Log, reactor, run_clean};
use crate::support::roles::Role;

type Step = Box<dyn FnMut(&Process)>;

/// Takes each step once the child has said what is awaited.
struct Talk {
    log: Log,
    countdown: Countdown,
    output: Vec<u8>,
    steps: VecDeque<(&'static str, Step)>,
    on_exit: Step,
}

impl Talk {
    fn start(
        reactor: &Reactor,
        log: &Log,
        countdown: &Countdown,
        steps: impl IntoIterator<Item = (&'static str, Step)>,
        on_exit: impl FnMut(&Process) + 'static,
    ) -> Process {
        let talk = Talk {
            log: log.clone(),
            countdown: countdown.clone(),
            output: Vec::new(),
            steps: steps.into_iter().collect(),
            on_exit: Box::new(on_exit),
        };
        let command = crate::child(Role::Converse).terminal(TerminalSize::default());
        reactor.spawn_process(&command, talk).unwrap()
    }
}

impl ProcessProtocol for Talk {
    fn child_data_received(&mut self, process: &Process, child_fd: ChildFd, data: &[u8]) {
        assert_eq!(child_fd, 1);
        self.output.extend_from_slice(data);
        while let Some((awaited, _)) = self.steps.front()
            && let awaited = awaited.as_bytes()
            && let mut parts = self.output.windows(awaited.len())
            && let Some(at) = parts.position(|part| part == awaited)
        {
            self.output.drain(..at + awaited.len());
            let (_, mut step) = self.steps.pop_front().expect("seen above");
            step(process);
        }
    }

    fn process_exited(&mut self, process: &Process, _: ExitStatus) {
        (self.on_exit)(process);
    }

    fn process_ended(&mut self, process: &Process, status: ExitStatus) {
        let left = self.steps.len();
        self.log.add(format!("{status}, {left} left"));
        self.countdown.hit(process.reactor());
    }
}

fn step(step: impl FnMut(&Process) + 'static) -> Step {
    Box::new(step)
}

fn typing(line: &'static str) -> Step {
    step(move |process| process.write(line.as_bytes()))
}

/// Goal: no child on a terminal keeps a reactor from stopping: neither one that ignores requests, nor one whose output
/// nobody reads.
#[test]
fn a_reactor_that_stops_ends_its_children_on_terminals() {
    let (reactor, log) = (reactor(), Log::default());
    let (ready, ended) = (Countdown::new(3), Countdown::new(3));
    let settled = |ready: &Countdown| {
        let ready = ready.clone();
        step(move |process| ready.hit(process.reactor()))
    };
    let pausing = |ready: &Countdown| {
        let ready = ready.clone();
        step(move |process| {
            process.pipe(1).expect("it is open").pause_producing();
            ready.hit(process.reactor());
        })
    };
    for steps in [
        vec![("ready", settled(&ready))],
        vec![("ready", typing("stay\r")), ("staying", settled(&ready))],
        vec![("ready", typing("flood\r")), ("!!!!", pausing(&ready))],
    ] {
        Talk::start(&reactor, &log, &ended, steps, |_| {});
    }
    run_clean(&reactor);
    let end = format!("{KILLED}, 0 left");
    assert_eq!(log.take(), [end.as_str(); 3]);
}

#[test]
fn what_a_terminal_says_during_a_pause_comes_after_it() {
    let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(1));
    let pause = step(|process| {
        process.pipe(1).expect("it is open").pause_producing();
        process.write(b"word\rexit\r");
    });
    let steps = [
        ("ready", pause),
        ("heard <word>", step(|_| {})),
        ("bye", step(|_| {})),
    ];
    Talk::start(&reactor, &log, &countdown, steps, |process| {
        process.pipe(1).expect("it is open").resume_producing();
    });
    run_clean(&reactor);
    assert_eq!(log.take(), ["exit code 3, 0 left"]);
}

/// Reads until the child has said this.
async fn await_text(screen: &mut ReadHalf, awaited: &str) {
    let mut said = Vec::new();
    while !String::from_utf8_lossy(&said).contains(awaited) {
        let chunk = screen.read_chunk().await.unwrap();
        assert!(!chunk.is_empty(), "{}", String::from_utf8_lossy(&said));
        said.extend_from_slice(&chunk);
    }
}

#[test]
fn tasks_talk_to_a_child_on_a_terminal() {
    let reactor = reactor();
    let status = reactor.block_on(async {
        let command = crate::child(Role::Converse).terminal(TerminalSize::default());
        let mut child = Child::spawn(&reactor, &command).unwrap();
        let (mut screen, mut keys) = (child.stdout.take().unwrap(), child.stdin.take().unwrap());
        await_text(&mut screen, "ready").await;
        let size = TerminalSize {
            rows: 30,
            columns: 99,
        };
        match child.resize(size) {
            Ok(()) => {
                keys.write_all(b"size\r").await.unwrap();
                await_text(&mut screen, "30 rows, 99 columns").await;
            }
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::Unsupported, "{error}"),
        }
        keys.write_all(b"word\r").await.unwrap();
        await_text(&mut screen, "heard <word>").await;
        keys.write_all(b"exit\r").await.unwrap();
        while !screen.read_chunk().await.unwrap().is_empty() {}
        child.wait().await.unwrap()
    });
    assert_eq!(status.unwrap(), ExitStatus::Code(3));
}

/// Goal: a terminal's size can be changed from any thread, until it is closed. Wine cannot change it, and says so.
#[test]
fn another_thread_can_resize_a_terminal() {
    let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(1));
    let size = |rows| TerminalSize { rows, columns: 99 };
    let resize = step(move |process| {
        let resized = process.resize(size(20));
        if let Err(error) = resized {
            assert_eq!(error.kind(), io::ErrorKind::Unsupported, "{error}");
            process.write(b"30 rows, 99 columns\r");
            return;
        }
        let remote = process.remote();
        let calling = thread::spawn(move || remote.resize(size(30)));
        calling.join().expect("no panic").expect("it runs");
        // Later, because the call from the other thread comes first then.
        let later = process.clone();
        let ask = move |_: &Reactor| later.write(b"size\r");
        process.reactor().call_later(std::time::Duration::ZERO, ask);
    });
    let steps = [("ready", resize), ("30 rows, 99 columns", typing("exit\r"))];
    let process = Talk::start(&reactor, &log, &countdown, steps, |_| {});
    run_clean(&reactor);
    assert_eq!(log.take(), ["exit code 3, 0 left"]);
    let error = process.resize(size(30)).expect_err("it is closed");
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
}
