//! Children that say nothing, that do not read, or that are paused: they cost neither wake-ups nor memory.

use std::time::Duration;

use tidewaiter::process::{Command, ExitStatus, Stdio, TerminalSize};
use tidewaiter::{ChildFd, Process, ProcessProtocol, Reactor};

use super::support::{Countdown, reactor, run_clean};
use crate::support::roles::{READY, Role};

/// The number of bytes that a child does not read.
const UNREAD: usize = 64 << 20;

/// How long a reactor gets to come to rest, and how long it is watched then.
const REST: Duration = Duration::from_millis(300);
const QUIET: Duration = Duration::from_millis(700);

/// How often the loop's thread was woken: its turns, and on Linux also what does not make a turn.
fn wake_ups(reactor: &Reactor) -> (u64, u64) {
    let mut switches = None;
    // Wine lets a program read it, too, but its threads also wait for its server.
    if cfg!(target_os = "linux") {
        let status = std::fs::read_to_string("/proc/thread-self/status").expect("it is there");
        let name = "voluntary_ctxt_switches:";
        let count = status.lines().find_map(|line| line.strip_prefix(name));
        switches = count.and_then(|count| count.trim().parse().ok());
    }
    (reactor.metrics().turns, switches.unwrap_or_default())
}

/// Calls `then` once the reactor was watched for a while, in which nothing woke it.
fn expect_quiet(reactor: &Reactor, then: impl FnOnce(&Reactor) + 'static) {
    reactor.call_later(REST, move |reactor| {
        let before = wake_ups(reactor);
        reactor.call_later(QUIET, move |reactor| {
            let after = wake_ups(reactor);
            let (turns, switches) = (after.0 - before.0, after.1 - before.1);
            // The one for this call, and what the system's scheduler adds now and then.
            assert!(
                turns <= 2 && switches <= 20,
                "{turns} turns, {switches} switches"
            );
            then(reactor);
        });
    });
}

/// Waits until its child plays its role, has it kept quiet, and kills it.
struct Unheard {
    /// The child writes this once it plays its role.
    mark: &'static [u8],
    unread: usize,
    output: Vec<u8>,
    is_ready: bool,
    countdown: Countdown,
}

impl ProcessProtocol for Unheard {
    fn child_data_received(&mut self, process: &Process, _: ChildFd, data: &[u8]) {
        self.output.extend_from_slice(data);
        let mut parts = self.output.windows(self.mark.len());
        if self.is_ready || !parts.any(|part| part == self.mark) {
            return;
        }
        self.is_ready = true;
        if self.unread > 0 {
            let input = process.pipe(0).expect("it is a pipe");
            input.write_bytes(vec![b'?'; self.unread]);
        }
        let child = process.clone();
        expect_quiet(process.reactor(), move |_| {
            child.kill().expect("it lives");
        });
    }

    fn process_ended(&mut self, process: &Process, status: ExitStatus) {
        assert_eq!(status, crate::KILLED);
        self.countdown.hit(process.reactor());
    }
}

fn check_unheard(command: &Command, mark: &'static [u8], unread: usize) {
    let (reactor, countdown) = (reactor(), Countdown::new(1));
    let unheard = Unheard {
        mark,
        unread,
        output: Vec::new(),
        is_ready: false,
        countdown,
    };
    let child = reactor.spawn_process(command, unheard);
    child.expect("the child starts");
    run_clean(&reactor);
}

#[test]
fn a_silent_child_causes_no_wake_up() {
    check_unheard(&crate::child(Role::Deaf), READY, 0);
}

#[test]
fn a_silent_child_on_a_terminal_causes_no_wake_up() {
    if !crate::SIMULATED {
        let command = crate::child(Role::Converse).terminal(TerminalSize::default());
        check_unheard(&command, b"ready", 0);
    }
}

#[test]
fn a_child_that_does_not_read_what_is_queued_for_it_causes_no_wake_up() {
    check_unheard(&crate::child(Role::Deaf), READY, UNREAD);
    let sockets = crate::child(Role::Deaf)
        .stdin(Stdio::Socket)
        .stdout(Stdio::Socket);
    check_unheard(&sockets, READY, UNREAD);
}

/// The bytes that a child writes while it is paused: less on Windows, because each piece that goes through a pipe passes a
/// server of Wine.
pub(crate) const FLOOD: usize = if cfg!(windows) { 64 << 20 } else { 1 << 30 };

/// Pauses the flood of its child, and takes it all in some time after the child has begun.
struct Dammed {
    output: Vec<u8>,
    received: usize,
    countdown: Countdown,
}

impl ProcessProtocol for Dammed {
    fn connection_made(&mut self, process: &Process) {
        let flood = process.pipe(2).expect("it is a pipe");
        flood.pause_producing();
    }

    fn child_data_received(&mut self, process: &Process, child_fd: ChildFd, data: &[u8]) {
        if child_fd != 2 {
            self.output.extend_from_slice(data);
            if self.output.ends_with(READY) {
                wait_for_the_flood(process);
            }
            return;
        }
        assert_eq!((data.first(), data.last()), (Some(&b'!'), Some(&b'!')));
        self.received += data.len();
        if self.received == FLOOD {
            process.close_stdin();
        }
    }

    fn process_ended(&mut self, process: &Process, status: ExitStatus) {
        assert_eq!((status, self.received), (ExitStatus::Code(0), FLOOD));
        self.countdown.hit(process.reactor());
    }
}

fn wait_for_the_flood(process: &Process) {
    let flood = process.pipe(2).expect("it is a pipe");
    expect_quiet(process.reactor(), move |reactor| {
        let taken = reactor.metrics().bytes_received;
        assert!(taken < 1 << 20, "{taken} bytes were taken during the pause");
        flood.resume_producing();
    });
}

/// Has a child write [`FLOOD`] bytes, and takes them in after a pause.
pub(crate) fn pass_a_flood() {
    let (reactor, countdown) = (reactor(), Countdown::new(1));
    let dammed = Dammed {
        output: Vec::new(),
        received: 0,
        countdown,
    };
    let kibibytes = u32::try_from(FLOOD >> 10).expect("it fits");
    let child = reactor.spawn_process(&crate::child(Role::Flood(kibibytes)), dammed);
    child.expect("the child starts");
    run_clean(&reactor);
}

#[test]
fn a_gibibyte_waits_in_the_child_during_a_pause_and_arrives_whole() {
    pass_a_flood();
}
