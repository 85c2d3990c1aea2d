//! Children on terminals: pseudo-terminals of Unix, pseudo-consoles of Windows.

use std::io;
use std::time::{Duration, Instant};

use tidewaiter::port::{CloseMode, Handle, Request, Spawned};
use tidewaiter::process::{ExitStatus, Signal, SignalTarget, TerminalSize};

use super::child_descriptors::status;
use crate::KILLED;
use crate::support::alone::alone;
use crate::support::harness::Harness;
use crate::support::number::open_objects;
use crate::support::piped_child::Child;
use crate::support::reader::Reader;
use crate::support::roles::Role;

/// Checks that a child was ended by a signal on Unix, or by the console event that takes its place on Windows.
#[track_caller]
fn assert_ended_by(number: i32, status: ExitStatus) {
    // What Windows ends it with, what Wine does, and what it ends with itself if its read finds the end first.
    const EVENT: [ExitStatus; 3] = [
        ExitStatus::Code(0xc000_013a),
        ExitStatus::Code(0),
        ExitStatus::Code(4),
    ];
    let expected: &[ExitStatus] = match cfg!(windows) {
        true => &EVENT,
        false => &[ExitStatus::Signal {
            number,
            core_dumped: false,
        }],
    };
    assert!(expected.contains(&status), "{status:?}");
}

const SIZE: TerminalSize = TerminalSize {
    rows: 30,
    columns: 100,
};

/// A child that obeys what is typed.
struct Conversation {
    spawned: Spawned,
    input: Handle,
    output: Reader,
}

impl Conversation {
    #[track_caller]
    fn begin(harness: &mut Harness) -> Conversation {
        let spawned = harness.spawn(&crate::child(Role::Converse).terminal(SIZE));
        let ends: Vec<_> = spawned.pipes.iter().map(|pipe| pipe.child_fd).collect();
        assert_eq!(ends, [0, 1], "the terminal is standard error, too");
        let output = spawned.pipe(1).expect("seen above");
        let mut conversation = Conversation {
            input: spawned.pipe(0).expect("seen above"),
            output: Reader::new(harness, output),
            spawned,
        };
        conversation.output.skip_past(harness, b"ready");
        conversation
    }

    #[track_caller]
    fn say(&mut self, harness: &mut Harness, line: &str) {
        harness.send_all(self.input, format!("{line}\r").as_bytes());
    }

    /// Closes our ends.
    #[track_caller]
    fn hang_up(self, harness: &mut Harness) -> Spawned {
        self.output.stop(harness);
        for pipe in &self.spawned.pipes {
            harness.close_now(pipe.handle);
        }
        self.spawned
    }

    /// Says a line, and awaits the answer.
    #[track_caller]
    fn ask(&mut self, harness: &mut Harness, line: &str, answer: &str) {
        self.say(harness, line);
        self.output.skip_past(harness, answer.as_bytes());
    }
}

/// Goal: bytes pass both ways, and when no process has the terminal open any more, this is an end of file, not an error.
#[test]
fn a_terminal_takes_what_is_typed_and_ends_as_a_pipe_does() {
    let mut harness = Harness::new();
    let mut child = Conversation::begin(&mut harness);
    child.ask(&mut harness, "word", "heard <word>");
    child.ask(&mut harness, "other", "heard <other>");
    child.say(&mut harness, "exit");
    assert_eq!(status(&mut harness, &child.spawned), ExitStatus::Code(3));
    let (rest, end) = child.output.read_to_end(&mut harness);
    let said_all = rest.windows(3).any(|part| part == b"bye");
    assert!(said_all && end.is_ok(), "{end:?}");
    harness.finish();
}

#[test]
fn closing_both_directions_of_a_terminal_hangs_up_the_child() {
    let mut harness = Harness::new();
    let child = Conversation::begin(&mut harness);
    let spawned = child.hang_up(&mut harness);
    assert_ended_by(1, status(&mut harness, &spawned));
    harness.finish();
}

#[test]
fn a_child_that_ignores_the_hang_up_can_be_killed() {
    let mut harness = Harness::new();
    let mut child = Conversation::begin(&mut harness);
    child.ask(&mut harness, "stay", "staying");
    let spawned = child.hang_up(&mut harness);
    let killed = harness
        .port
        .signal(spawned.process, Signal::Kill, SignalTarget::Tree);
    let ended = status(&mut harness, &spawned);
    if cfg!(windows) && ended != KILLED {
        // Wine ends some processes at once when their console is closed, whatever their handlers do.
        assert_ended_by(1, ended);
    } else {
        killed.expect("it lives");
        assert_eq!(ended, KILLED);
    }
    harness.finish();
}

#[test]
fn typing_ctrl_c_interrupts_the_child() {
    let mut harness = Harness::new();
    let child = Conversation::begin(&mut harness);
    let exit = harness.submit(child.spawned.process, Request::Exit);
    while harness.is_live(exit) {
        harness.send_all(child.input, b"\x03");
        // Wine loses an event now and then: type again.
        let patience = Duration::from_secs(if cfg!(windows) { 2 } else { 60 });
        let begin = Instant::now();
        while harness.is_live(exit) && begin.elapsed() < patience {
            harness.turn(Some(patience / 10));
        }
        assert!(
            cfg!(windows) || !harness.is_live(exit),
            "it was not interrupted"
        );
    }
    assert_ended_by(2, harness.exit_status(exit));
    harness.finish();
}

/// Goal: a child on a terminal can be asked to end as another can. Where that is a hang-up, what it has written still
/// comes.
#[test]
fn a_child_on_a_terminal_can_be_asked_to_end() {
    for target in [SignalTarget::Process, SignalTarget::Tree] {
        let mut harness = Harness::new();
        let child = Conversation::begin(&mut harness);
        let process = child.spawned.process;
        let asked = harness.port.signal(process, Signal::Terminate, target);
        asked.expect("it lives");
        assert_ended_by(15, status(&mut harness, &child.spawned));
        let (_, end) = child.output.read_to_end(&mut harness);
        assert!(end.is_ok(), "{end:?}");
        harness.finish();
    }
}

/// Goal: the child has the size that was asked for, and the new one after a change. Wine cannot change it: there, the
/// error says what is missing.
#[test]
fn a_terminal_can_be_resized_or_the_error_says_what_is_missing() {
    let mut harness = Harness::new();
    let mut child = Conversation::begin(&mut harness);
    child.ask(&mut harness, "size", "30 rows, 100 columns");
    let size = TerminalSize {
        rows: 40,
        columns: 120,
    };
    match harness.port.resize(child.input, size) {
        Ok(()) => child.ask(&mut harness, "size", "40 rows, 120 columns"),
        Err(error) => {
            assert_eq!(error.kind(), io::ErrorKind::Unsupported);
            assert_eq!(error.to_string(), "this system lacks ResizePseudoConsole");
        }
    }
    child.say(&mut harness, "exit");
    assert_eq!(status(&mut harness, &child.spawned), ExitStatus::Code(3));
    harness.finish();
}

#[test]
fn only_an_open_terminal_can_be_resized() {
    let mut harness = Harness::new();
    let piped = Child::start(&mut harness, Role::Echo);
    let child = Conversation::begin(&mut harness);
    harness.close_now(child.input);
    for (handle, kind) in [
        (piped.stdout, io::ErrorKind::InvalidInput),
        (piped.process, io::ErrorKind::InvalidInput),
        (child.spawned.process, io::ErrorKind::InvalidInput),
        (child.input, io::ErrorKind::NotFound),
    ] {
        let error = harness.port.resize(handle, SIZE).expect_err("no terminal");
        assert_eq!(error.kind(), kind, "{error}");
    }
    harness.close_all(CloseMode::Graceful);
    harness.finish();
}

/// Goal: neither the child's exit nor the close waits for output that nobody reads.
#[test]
fn a_child_can_be_killed_and_closed_while_nobody_reads_its_terminal() {
    let mut harness = Harness::new();
    let mut child = Conversation::begin(&mut harness);
    child.say(&mut harness, "flood");
    child.output.skip_past(&mut harness, b"!!!!");
    child.output.stop(&mut harness);
    let process = child.spawned.process;
    let killed = harness
        .port
        .signal(process, Signal::Kill, SignalTarget::Tree);
    killed.expect("it lives");
    assert_eq!(status(&mut harness, &child.spawned), KILLED);
    harness.close_all(CloseMode::Graceful);
    harness.finish();
}

/// Goal: a terminal leaves nothing behind, however it ends: no descriptor or handle, and no thread, which has some.
#[test]
fn many_terminals_leave_nothing_open() {
    const ROUNDS: usize = 8;
    alone(module_path!(), "many_terminals_leave_nothing_open", || {
        let mut harness = Harness::new();
        let mut round = || {
            let mut exits = Conversation::begin(&mut harness);
            exits.say(&mut harness, "exit");
            status(&mut harness, &exits.spawned);
            let killed = Conversation::begin(&mut harness);
            let process = killed.spawned.process;
            let kill = harness
                .port
                .signal(process, Signal::Kill, SignalTarget::Tree);
            kill.expect("it lives");
            status(&mut harness, &killed.spawned);
            let hung_up = Conversation::begin(&mut harness).hang_up(&mut harness);
            status(&mut harness, &hung_up);
            harness.close_all(CloseMode::Graceful);
        };
        // The first ones leave threads of the system's pool, which it keeps.
        for _ in 0..2 {
            round();
        }
        let before = open_objects();
        for _ in 0..ROUNDS {
            round();
        }
        // What closes the last ones may not have ended.
        for _ in 0..1000 {
            if open_objects() < before + ROUNDS {
                return harness.finish();
            }
            harness.turn(Some(Duration::from_millis(10)));
        }
        panic!("{} open, {before} before", open_objects());
    });
}
