//! Unix children with more than three pipes: other descriptors, terminals, and children that outlive the
//! reactor.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;

use rustix::io::Errno;
use rustix::process::{
    Pid, WaitId, WaitIdOptions, WaitOptions, test_kill_process, waitid, waitpid,
};
use tidewaiter::process::{
    Command, ExitStatus, Signal, SignalTarget, SpawnStep, Stdio, Terminal, TerminalSize,
};
use tidewaiter::{ChildFd, Process, ProcessProtocol, Reason};

use crate::promises::support::{Countdown, Log, reactor, run, run_clean};

type OnData = Box<dyn FnMut(&Process, ChildFd, &str)>;
type OnExit = Box<dyn FnMut(&Process)>;
type OnLoss = Box<dyn FnMut(&Process, ChildFd)>;

/// A protocol that notes every event, and acts on all bytes that a descriptor delivered so far.
struct Heard {
    log: Log,
    countdown: Countdown,
    output: BTreeMap<ChildFd, String>,
    on_data: OnData,
    on_exit: Option<OnExit>,
    on_loss: Option<OnLoss>,
}

impl Heard {
    fn new(
        log: &Log,
        countdown: &Countdown,
        on_data: impl FnMut(&Process, ChildFd, &str) + 'static,
    ) -> Heard {
        Heard {
            log: log.clone(),
            countdown: countdown.clone(),
            output: BTreeMap::new(),
            on_data: Box::new(on_data),
            on_exit: None,
            on_loss: None,
        }
    }

    fn deaf(log: &Log, countdown: &Countdown) -> Heard {
        Heard::new(log, countdown, |_, _, _| {})
    }
}

impl ProcessProtocol for Heard {
    fn child_data_received(&mut self, process: &Process, child_fd: ChildFd, data: &[u8]) {
        let output = self.output.entry(child_fd).or_default();
        output.push_str(std::str::from_utf8(data).expect("the children write ASCII"));
        (self.on_data)(process, child_fd, output);
    }

    fn child_connection_lost(&mut self, process: &Process, child_fd: ChildFd, _: Reason) {
        assert!(process.pipe(child_fd).is_none() && !process.pipes().contains(&child_fd));
        let heard = self.output.remove(&child_fd).unwrap_or_default();
        self.log.add(format!("lost {child_fd} after {heard:?}"));
        if let Some(call) = &mut self.on_loss {
            call(process, child_fd);
        }
    }

    fn process_exited(&mut self, process: &Process, status: ExitStatus) {
        self.log.add(format!("exited: {status}"));
        if let Some(call) = &mut self.on_exit {
            call(process);
        }
    }

    fn process_ended(&mut self, process: &Process, status: ExitStatus) {
        self.log.add(format!("ended: {status}"));
        self.countdown.hit(process.reactor());
    }
}

fn shell(script: &str) -> Command {
    Command::new("sh").args(["-c", script, "sh"])
}

fn sorted(mut events: Vec<String>) -> Vec<String> {
    events.sort();
    events
}

fn pid_of(process: &Process) -> Option<Pid> {
    Pid::from_raw(process.pid().cast_signed())
}

#[test]
fn pipes_at_any_descriptor_are_distinguished() {
    let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(1));
    let command = shell("read line <&4; echo \"$line $line\" >&3; cat <&4 >&7; exit 6")
        .stdin(Stdio::Closed)
        .stdout(Stdio::Closed)
        .stderr(Stdio::Inherit)
        .fd(3, Stdio::PipeFromChild)
        .fd(4, Stdio::PipeToChild)
        .fd(7, Stdio::Pipe);
    let heard = Heard::new(&log, &countdown, |process, child_fd, all| {
        match (child_fd, all) {
            (3, "word word\n") => process.write_to(4, b"more"),
            (7, "more") => process.close_fd(4),
            _ => {}
        }
    });
    let process = reactor.spawn_process(&command, heard).unwrap();
    assert_eq!(process.pipes(), [3, 4, 7]);
    assert!(process.pipe(0).is_none() && process.pipe(1).is_none());
    process.write_to(4, b"word\n");
    // There is no such pipe, and a pipe that we read takes no writes.
    process.write_to(5, b"nowhere");
    process.write_to(3, b"nowhere");
    process.write(b"nowhere");
    run_clean(&reactor);
    let events = log.take();
    assert_eq!(events.last().unwrap(), "ended: exit code 6");
    assert_eq!(
        sorted(events),
        [
            "ended: exit code 6",
            "exited: exit code 6",
            "lost 3 after \"word word\\n\"",
            "lost 4 after \"\"",
            "lost 7 after \"more\"",
        ]
    );
}

/// Goal: the end is reported once every pipe is closed, whichever process holds it open.
/// Method: a grandchild keeps one, and answers after the exit.
#[test]
fn a_grandchild_that_keeps_any_pipe_delays_the_end() {
    let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(1));
    let command = shell("{ cat <&5 >&6; } & exit 2")
        .fd(5, Stdio::PipeToChild)
        .fd(6, Stdio::PipeFromChild);
    let mut heard = Heard::new(&log, &countdown, |process, child_fd, all| {
        assert_eq!((child_fd, all), (6, "still here"));
        process.close_fd(5);
    });
    heard.on_exit = Some(Box::new(|process| process.write_to(5, b"still here")));
    reactor.spawn_process(&command, heard).unwrap();
    run_clean(&reactor);
    let events = log.take();
    let at = |what: &str| events.iter().position(|event| event == what).unwrap();
    assert!(at("exited: exit code 2") < at("lost 6 after \"still here\""));
    assert_eq!(at("ended: exit code 2"), events.len() - 1);
}

/// Goal: we notice when the child closes its end of a pipe, even if nothing is written to it.
/// Method: the child ends only when it is told of that.
#[test]
fn a_child_that_closes_its_input_is_noticed_at_once() {
    let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(1));
    let command = shell("exec <&-; cat <&5; exit 2").fd(5, Stdio::PipeToChild);
    let mut heard = Heard::deaf(&log, &countdown);
    heard.on_loss = Some(Box::new(|process, child_fd| {
        if child_fd == 0 {
            assert_eq!(process.status(), None, "it lives");
            process.close_fd(5);
        }
    }));
    reactor.spawn_process(&command, heard).unwrap();
    run_clean(&reactor);
    let events = log.take();
    assert_eq!(events[0], "lost 0 after \"\"");
    assert_eq!(events.last().unwrap(), "ended: exit code 2");
}

#[test]
fn a_descriptor_of_ours_that_is_closed_is_named() {
    let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(1));
    let command = shell("").fd(8, Stdio::Descriptor(9_999_999));
    let error = reactor
        .spawn_process(&command, Heard::deaf(&log, &countdown))
        .unwrap_err();
    assert_eq!(error.step, SpawnStep::Descriptor(8));
    assert!(!error.is_in_child(), "{error}");
    let missing = Command::new("/no/such/program");
    let error = reactor
        .spawn_process(&missing, Heard::deaf(&log, &countdown))
        .unwrap_err();
    assert!(error.is_in_child(), "{error}");
}

#[test]
fn a_terminal_takes_input_until_it_is_hung_up() {
    let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(1));
    let command = shell("stty raw -echo; echo ready; exec cat").terminal(TerminalSize::default());
    let heard = Heard::new(&log, &countdown, |process, child_fd, all| {
        assert_eq!(child_fd, 1);
        match all {
            "ready\r\n" | "ready\n" => process.write(b"typed"),
            all if all.ends_with("typed") => process.lose_connection(),
            _ => {}
        }
    });
    let process = reactor.spawn_process(&command, heard).unwrap();
    assert_eq!(process.pipes(), [0, 1]);
    run_clean(&reactor);
    assert_eq!(log.take().last().unwrap(), "ended: signal 1");
}

/// Goal: the program in a terminal learns of a new size at once.
#[test]
fn a_terminal_can_be_resized_until_it_is_closed() {
    let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(1));
    let script = "trap 'stty size; exit 7' WINCH; stty size; while :; do sleep 0.01; done";
    let terminal = Terminal::new(TerminalSize::default()).echo(false);
    let size = TerminalSize {
        rows: 50,
        columns: 132,
    };
    let heard = Heard::new(&log, &countdown, move |process, _, all| {
        if all == "24 80\r\n" {
            process.resize(size).unwrap();
        }
    });
    let command = shell(script).terminal(terminal);
    let process = reactor.spawn_process(&command, heard).unwrap();
    run_clean(&reactor);
    let told = log.take();
    let output = "lost 1 after \"24 80\\r\\n50 132\\r\\n\"";
    assert!(told.iter().any(|line| line == output), "{told:?}");
    assert_eq!(told.last().unwrap(), "ended: exit code 7");
    let error = process.resize(size).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
}

#[test]
fn only_a_terminal_has_a_size() {
    let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(1));
    let heard = Heard::deaf(&log, &countdown);
    let process = reactor.spawn_process(&shell("cat"), heard).unwrap();
    let error = process.resize(TerminalSize::default()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    process.close_stdin();
    run_clean(&reactor);
}

#[test]
fn a_terminals_end_comes_when_its_child_ends() {
    let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(1));
    let command = shell("stty -opost; echo bye; exit 4").terminal(TerminalSize::default());
    let heard = Heard::deaf(&log, &countdown);
    reactor.spawn_process(&command, heard).unwrap();
    run_clean(&reactor);
    assert_eq!(
        sorted(log.take()),
        [
            "ended: exit code 4",
            "exited: exit code 4",
            "lost 0 after \"\"",
            "lost 1 after \"bye\\n\"",
        ]
    );
}

#[test]
fn many_bytes_pass_through_a_terminal_both_ways() {
    const BYTES: usize = 300_000;
    let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(1));
    let command = shell("stty raw -echo; printf go; exec cat").terminal(TerminalSize::default());
    let mut begun = false;
    let heard = Heard::new(&log, &countdown, move |process, _, all| {
        if !std::mem::replace(&mut begun, true) {
            assert!(all.starts_with("go"));
        }
        if all == "go" {
            process.write(&[b'x'; BYTES]);
        }
        if all.len() == BYTES + 2 {
            assert!(all[2..].bytes().all(|byte| byte == b'x'));
            process.kill().unwrap();
        }
    });
    reactor.spawn_process(&command, heard).unwrap();
    run_clean(&reactor);
    assert_eq!(log.take().last().unwrap(), "ended: signal 9");
}

/// Goal: a child is reaped before its end is reported, even if other parts of it are still open.
/// Method: a grandchild keeps a pipe for longer than the child lives.
#[test]
fn a_child_is_reaped_before_its_end_is_reported() {
    for own_group in [true, false] {
        let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(1));
        let command = shell("{ cat <&5 >&6; } & exit 2")
            .own_group(own_group)
            .fd(5, Stdio::PipeToChild)
            .fd(6, Stdio::PipeFromChild);
        let mut heard = Heard::deaf(&log, &countdown);
        heard.on_exit = Some(Box::new(|process| {
            let pid = pid_of(process);
            let left = waitpid(pid, WaitOptions::NOHANG);
            assert_eq!(left.err(), Some(Errno::CHILD), "it is not reaped");
            assert_eq!(test_kill_process(pid.unwrap()), Err(Errno::SRCH));
            process.close_fd(5);
        }));
        reactor.spawn_process(&command, heard).unwrap();
        run_clean(&reactor);
        assert_eq!(log.take().last().unwrap(), "ended: exit code 2");
    }
}

#[test]
fn children_that_end_before_the_loop_runs_are_reported_and_reaped() {
    let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(1));
    let heard = Heard::deaf(&log, &countdown);
    let process = reactor.spawn_process(&shell("exit 3"), heard).unwrap();
    let pid = pid_of(&process);
    let ended = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    waitid(WaitId::Pid(pid.unwrap()), ended).expect("it is a child of ours");
    run_clean(&reactor);
    assert_eq!(log.take().last().unwrap(), "ended: exit code 3");
    let left = waitpid(pid, WaitOptions::NOHANG).unwrap_err();
    assert_eq!(left, Errno::CHILD);
}

#[test]
fn a_detached_child_is_reaped_by_a_reactor_that_runs() {
    let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(1));
    let heard = Heard::deaf(&log, &countdown);
    let process = reactor.spawn_process(&shell("exit 1"), heard).unwrap();
    process.detach();
    run_clean(&reactor);
    assert_eq!(log.take().last().unwrap(), "ended: exit code 1");
    let left = waitpid(pid_of(&process), WaitOptions::NOHANG).unwrap_err();
    assert_eq!(left, Errno::CHILD);
}

/// Goal: a child that leads no group, and so has no tree, is killed like any other.
#[test]
fn a_child_without_a_group_is_killed_by_a_stop_a_panic_and_a_drop() {
    for panics in [false, true] {
        let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(1));
        let heard = Heard::new(&log, &countdown, move |process, _, _| {
            assert!(!panics, "a deliberate panic");
            process.reactor().stop();
        });
        let command = shell("echo ready; exec cat").own_group(false);
        reactor.spawn_process(&command, heard).unwrap();
        run(&reactor);
        assert_eq!(log.take().last().unwrap(), "ended: signal 9");
    }
    let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(1));
    let (mut answers, answer) = io::pipe().unwrap();
    let command = shell("exec cat")
        .own_group(false)
        .fd(4, Stdio::Descriptor(answer.as_raw_fd()));
    reactor
        .spawn_process(&command, Heard::deaf(&log, &countdown))
        .unwrap();
    drop((answer, reactor));
    // The child holds the pipe open until its end.
    let mut answer = String::new();
    answers.read_to_string(&mut answer).unwrap();
}

/// Goal: dropping a reactor neither ends a detached child nor waits for it.
/// Method: the child answers afterwards, through pipes that the reactor does not know.
#[test]
fn a_detached_child_lives_on_when_its_reactor_is_dropped() {
    let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(1));
    let (question, mut ask) = io::pipe().unwrap();
    let (mut answers, answer) = io::pipe().unwrap();
    let command = shell("cat <&3 >&4")
        .fd(3, Stdio::Descriptor(question.as_raw_fd()))
        .fd(4, Stdio::Descriptor(answer.as_raw_fd()));
    let process = reactor
        .spawn_process(&command, Heard::deaf(&log, &countdown))
        .unwrap();
    drop((question, answer));
    process.detach();
    let pid = pid_of(&process);
    drop((process, reactor));
    ask.write_all(b"alive?").unwrap();
    drop(ask);
    let mut answer = String::new();
    answers.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "alive?");
    assert!(log.take().is_empty(), "no protocol is told of it");
    // Without a waiting thread, nothing else reaps the child.
    let _ = waitpid(pid, WaitOptions::empty());
}

#[test]
fn signals_that_we_ignore_are_not_ignored_by_the_child() {
    let (reactor, log, countdown) = (reactor(), Log::default(), Countdown::new(1));
    // Rust programs ignore SIGPIPE, and reactors handle SIGINT: the child must not inherit either.
    let script = "trap '' HUP; for s in PIPE INT TERM; do trap \"echo $s\" $s; kill -$s $$; done";
    let heard = Heard::deaf(&log, &countdown);
    let command = shell(script).stderr(Stdio::Inherit);
    let process = reactor.spawn_process(&command, heard).unwrap();
    run_clean(&reactor);
    assert!(
        log.take()
            .contains(&"lost 1 after \"PIPE\\nINT\\nTERM\\n\"".to_owned())
    );
    let error = process
        .signal(Signal::Kill, SignalTarget::Process)
        .unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
}

/// Goal: a process that escaped a command's end and holds its pipes does not hold up the result.
#[cfg(target_os = "linux")]
#[test]
fn a_time_limit_holds_for_pipes_that_nobody_closes() {
    use std::time::Duration;
    use tidewaiter::{CommandFailure, CommandOptions};

    let escaping = shell("setsid sleep 20 & echo begun; exit 4");
    // The shell of a busy machine takes long to come to its end.
    for limit in [500, 2000, 8000].map(Duration::from_millis) {
        let (reactor, log) = (reactor(), Log::default());
        let told = log.clone();
        reactor.run_command(
            CommandOptions::new(escaping.clone()).time_limit(limit),
            move |reactor, result| {
                let error = result.expect_err("its pipes are held open");
                assert!(matches!(error.failure, CommandFailure::TimedOut(_)));
                let output = error.output.expect("it was started");
                let stdout = String::from_utf8_lossy(&output.stdout);
                told.add(format!("{stdout}{}", output.status));
                reactor.stop();
            },
        );
        run_clean(&reactor);
        if log.take() == ["begun\nexit code 4"] {
            return;
        }
    }
    panic!("the shell does not come to its end");
}
