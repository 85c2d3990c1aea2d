//! Children: their pipes and their ends.

use super::super::super::{CloseMode, Driver, Handle, Outcome, Request, RequestKind, Token};
use super::{Harness, is_cancelled};
use crate::process::{Command, ExitStatus, Signal, SignalTarget};

fn start(harness: &mut Harness, command: &Command) -> (Handle, [Handle; 3]) {
    let spawned = harness.port.spawn(command).expect("the program exists");
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

/// Goal: waiting for an end can be cancelled, and begun again before or after the end.
#[test]
fn the_wait_for_an_end_can_be_cancelled_and_repeated() {
    let mut harness = Harness::new();
    let (process, pipes) = start(&mut harness, &Command::new("cat"));
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
    // Left without input, the child ends by itself.
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
