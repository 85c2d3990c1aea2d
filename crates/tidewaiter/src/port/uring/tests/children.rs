//! Children: their pipes and their exits.

use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions};

use super::super::super::{
    CloseMode, Completion, Driver, Handle, Outcome, PortOptions, Request, RequestKind, Token,
};
use super::{Harness, KERNELS, is_cancelled};
use crate::port::named_calls::NamedCalls;
use crate::process::{Command, ExitStatus, Signal, SignalTarget, Spawn, Stdio};

fn start(harness: &mut Harness, command: &Command) -> (Handle, [Handle; 3]) {
    let spawned = harness
        .port
        .spawn(Spawn::Command(command))
        .expect("the program exists");
    (
        spawned.process,
        [0, 1, 2].map(|number| spawned.pipe(number).expect("all three are pipes")),
    )
}

#[test]
fn a_child_echoes_and_ends() {
    let mut harness = Harness::new();
    let (process, [stdin, stdout, stderr]) = start(&mut harness, &Command::new("cat"));
    let exit = harness.submit(process, Request::Exit);
    let output = harness.submit(stdout, Request::Receive);
    harness.send(stdin, b"through a child");
    assert_eq!(&*harness.receive(output), b"through a child");
    harness.close(stdin, CloseMode::Graceful);
    assert!(matches!(
        harness.next(output).result,
        Ok(Outcome::EndOfFile)
    ));
    let ended = harness.next(exit);
    assert_eq!(ended.kind, RequestKind::Exit);
    assert!(
        matches!(ended.result, Ok(Outcome::Exited(ExitStatus::Code(0)))),
        "{ended:?}"
    );
    for handle in [process, stdout, stderr] {
        harness.close(handle, CloseMode::Graceful);
    }
    harness.finish();
}

/// Goal: a wait for an exit can be cancelled, and repeated before or after the exit.
#[test]
fn the_wait_for_an_end_can_be_cancelled_and_repeated() {
    let mut harness = Harness::new();
    let (process, pipes) = start(&mut harness, &Command::new("cat").own_group(false));
    let exit = harness.submit(process, Request::Exit);
    assert!(harness.port.cancel(exit));
    assert!(is_cancelled(&harness.next(exit)));
    let exits = [Request::Exit, Request::Exit].map(|exit| harness.submit(process, exit));
    harness
        .port
        .signal(process, Signal::Kill, SignalTarget::Process)
        .expect("it lives");
    let after = harness.submit(process, Request::Exit);
    for exit in exits.into_iter().chain([after]) {
        let ended = harness.next(exit);
        let Ok(Outcome::Exited(ExitStatus::Signal { number, .. })) = ended.result else {
            panic!("not killed: {ended:?}");
        };
        assert_eq!(number, libc::SIGKILL);
    }
    for handle in pipes.into_iter().chain([process]) {
        harness.close(handle, CloseMode::Graceful);
    }
    harness.finish();
}

/// Goal: on any kernel, a child is reaped before its exit is reported, and every request for the
/// exit gets a completion.
#[test]
fn a_child_is_reaped_before_its_end_is_told() {
    for (allowed, own_group) in KERNELS
        .into_iter()
        .flat_map(|one| [(one, true), (one, false)])
    {
        let mut harness = Harness::with(&PortOptions::default(), allowed);
        let child = harness
            .port
            .spawn(Spawn::Command(&quiet().own_group(own_group)));
        let child = child.expect("true is there");
        let exits = [Request::Exit, Request::Exit].map(|exit| harness.submit(child.process, exit));
        for exit in exits {
            assert!(exited_well(&harness.next(exit)));
            let pid = i32::try_from(child.pid).ok().and_then(Pid::from_raw);
            let left = rustix::process::waitpid(pid, WaitOptions::NOHANG);
            assert_eq!(left.err(), Some(Errno::CHILD), "it is not reaped");
        }
        let again = harness.submit(child.process, Request::Exit);
        assert!(exited_well(&harness.next(again)));
        harness.close(child.process, CloseMode::Graceful);
        harness.finish();
    }
}

/// A command that exits at once, has no pipes and leads no group, so that the port may await it by
/// pid.
fn quiet() -> Command {
    let command = Command::new("true").own_group(false).stdin(Stdio::Null);
    command.stdout(Stdio::Null).stderr(Stdio::Null)
}

/// Goal: every exit is reported when there are more children than the port awaits by pid, and when
/// pids are reused.
#[test]
fn the_ends_of_many_children_at_once_all_come() {
    let mut harness = Harness::new();
    for _ in 0..2 {
        let children: Vec<_> = (0..80)
            .map(|_| {
                let spawned = harness.port.spawn(Spawn::Command(&quiet()));
                let process = spawned.expect("true is there").process;
                (process, harness.submit(process, Request::Exit))
            })
            .collect();
        for (process, exit) in children {
            assert!(exited_well(&harness.next(exit)));
            harness.close(process, CloseMode::Graceful);
        }
    }
    harness.finish();
}

fn exited_well(completion: &Completion) -> bool {
    matches!(completion.result, Ok(Outcome::Exited(ExitStatus::Code(0))))
}

#[test]
fn closing_a_process_cancels_the_wait_for_its_end() {
    let mut harness = Harness::new();
    let (process, [stdin, stdout, stderr]) = start(&mut harness, &Command::new("cat"));
    let exit = harness.submit(process, Request::Exit);
    harness
        .port
        .close(process, CloseMode::Graceful, Token(0))
        .expect("it is open");
    assert!(is_cancelled(&harness.next(exit)));
    harness.wait_for_closed();
    // Without input, the child exits by itself.
    let output = harness.submit(stdout, Request::Receive);
    harness.close(stdin, CloseMode::Graceful);
    assert!(matches!(
        harness.next(output).result,
        Ok(Outcome::EndOfFile)
    ));
    harness.close(stdout, CloseMode::Graceful);
    harness.close(stderr, CloseMode::Graceful);
    harness.finish();
}
