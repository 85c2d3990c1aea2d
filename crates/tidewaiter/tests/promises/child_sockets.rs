//! Children whose standard streams are sockets. They behave like pipes, and are pipes on systems without UNIX
//! sockets.

use bytes::Bytes;
use tidewaiter::port::{CloseMode, Outcome};
use tidewaiter::process::{ExitStatus, Signal, SignalTarget, Stdio};

use crate::KILLED;
use crate::support::harness::Harness;
use crate::support::piped_child::Child;
use crate::support::reader::Reader;
use crate::support::roles::Role;

#[track_caller]
fn start(harness: &mut Harness, role: Role) -> Child {
    let command = crate::child(role)
        .stdin(Stdio::Socket)
        .stdout(Stdio::Socket)
        .stderr(Stdio::Socket);
    Child::run(harness, &command)
}

/// Goal: more bytes pass each way than the sockets hold, and the end of the input ends the child.
#[test]
fn a_child_echoes_through_sockets_until_its_input_ends() {
    const TOTAL: usize = 3 << 20;
    let mut harness = Harness::new();
    let child = start(&mut harness, Role::Echo);
    let mut output = child.output(&mut harness);
    let data: Vec<u8> = (0..=250).cycle().take(TOTAL).collect();
    for piece in data.chunks(TOTAL / 12) {
        harness.send_all(child.stdin, piece);
        assert_eq!(output.take(&mut harness, piece.len()), piece);
    }
    harness.close_now(child.stdin);
    let (rest, end) = output.read_to_end(&mut harness);
    assert!(rest.is_empty() && end.is_ok(), "{end:?}");
    assert_eq!(child.status(&mut harness), ExitStatus::Code(0));
    harness.finish();
}

#[test]
fn a_child_can_close_its_socket_and_run_on() {
    let mut harness = Harness::new();
    let child = start(&mut harness, Role::Mute);
    let output = child.output(&mut harness);
    let (rest, end) = output.read_to_end(&mut harness);
    assert!(rest.is_empty() && end.is_ok(), "{end:?}");
    assert!(harness.is_live(child.exit), "it has not exited");
    harness.close_now(child.stdin);
    assert_eq!(child.status(&mut harness), ExitStatus::Code(3));
    harness.finish();
}

/// Goal: all bytes sent before the end arrive, however many, and then the end.
#[test]
fn all_output_of_a_child_arrives_before_the_end() {
    const COUNT: u32 = 5000;
    let mut harness = Harness::new();
    let child = start(&mut harness, Role::Flood(COUNT));
    harness.close_now(child.stdin);
    let errors = Reader::new(&mut harness, child.stderr);
    let (flood, end) = errors.read_to_end(&mut harness);
    assert_eq!(flood.len(), 1024 * usize::try_from(COUNT).expect("it fits"));
    assert!(
        flood.iter().all(|byte| *byte == b'!') && end.is_ok(),
        "{end:?}"
    );
    assert_eq!(child.status(&mut harness), ExitStatus::Code(0));
    harness.finish();
}

#[test]
fn a_full_socket_keeps_a_send_pending_until_it_is_cancelled_or_the_child_dies() {
    let mut harness = Harness::new();
    let child = start(&mut harness, Role::Deaf);
    let data = Bytes::from(vec![1; 1 << 20]);
    let (stuck, _) = harness.send_until_stuck(child.stdin, &data);
    assert!(harness.port.cancel(stuck));
    harness.assert_cancelled(stuck);
    let (stuck, _) = harness.send_until_stuck(child.stdin, &data);
    harness
        .port
        .signal(child.process, Signal::Kill, SignalTarget::Tree)
        .expect("it runs");
    let error = harness.refusal(stuck);
    assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe, "{error}");
    assert_eq!(child.status(&mut harness), KILLED);
    harness.finish();
}

#[test]
fn closing_a_full_socket_cancels_its_send() {
    let mut harness = Harness::new();
    let child = start(&mut harness, Role::Deaf);
    let data = Bytes::from(vec![1; 1 << 20]);
    let (stuck, _) = harness.send_until_stuck(child.stdin, &data);
    let closing = harness.close(child.stdin, CloseMode::Graceful);
    assert!(matches!(harness.last(closing), Ok(Outcome::Closed)));
    harness.assert_cancelled(stuck);
    assert!(harness.is_live(child.exit), "it has not exited");
    harness.finish();
}
