//! Promise 5: `wait` rounds its timeout up, never spins, and ends early for a waker.

use std::time::Duration;

use tidewaiter::port::{CloseMode, Handle};

use crate::support::harness::Harness;
use crate::support::piped_child::Child;
use crate::support::roles::Role;

/// So long that an early return cannot be mistaken for it.
const LONG: Duration = Duration::from_secs(60);

/// Waits for `timeout`. The wait must return nothing and last that long.
#[track_caller]
fn assert_full_wait(harness: &mut Harness, timeout: Duration) {
    // Signals that other tests send to the process would end the wait, correctly.
    #[cfg(target_os = "linux")]
    crate::support::system::without_signals();
    let start = harness.port.now();
    let count = harness.turn(Some(timeout));
    let elapsed = harness.port.now() - start;
    assert_eq!(count, 0, "nothing should arrive");
    assert!(elapsed >= timeout, "{elapsed:?} are less than {timeout:?}");
}

#[test]
fn a_timeout_is_never_early() {
    let mut harness = Harness::new();
    for nanoseconds in [
        1, 999, 1000, 123_456, 999_999, 1_000_000, 1_000_001, 1_500_000,
    ] {
        for _ in 0..20 {
            assert_full_wait(&mut harness, Duration::from_nanos(nanoseconds));
        }
    }
    assert_full_wait(&mut harness, Duration::from_millis(50));
    harness.finish();
}

/// Method: of many waits, one is fast. On a busy machine, many are not.
#[test]
fn a_timeout_of_zero_does_not_block() {
    let mut harness = Harness::new();
    let times = (0..1000).map(|_| {
        let start = harness.port.now();
        assert_eq!(harness.turn(Some(Duration::ZERO)), 0);
        harness.port.now() - start
    });
    let fastest = times.min().expect("there are some");
    assert!(fastest < Duration::from_millis(1), "{fastest:?}");
    harness.finish();
}

#[test]
fn the_longest_timeout_does_not_overflow() {
    let mut harness = Harness::new();
    let waker = harness.port.waker();
    for timeout in [
        Some(Duration::MAX),
        Some(Duration::from_secs(1 << 40)),
        None,
    ] {
        waker.wake();
        assert_eq!(harness.turn(timeout), 0);
    }
    harness.finish();
}

#[test]
fn a_wake_up_before_the_wait_ends_it() {
    let mut harness = Harness::new();
    let waker = harness.port.waker();
    for _ in 0..100 {
        let start = harness.port.now();
        waker.wake();
        harness.turn(Some(LONG));
        assert!(harness.port.now() - start < LONG / 2, "it ended early");
    }
    harness.finish();
}

#[test]
fn wake_ups_before_a_wait_count_once() {
    let mut harness = Harness::new();
    let waker = harness.port.waker();
    for _ in 0..100 {
        waker.wake();
        waker.clone().wake();
    }
    harness.turn(Some(LONG));
    assert_full_wait(&mut harness, Duration::from_millis(20));
    harness.finish();
}

#[test]
fn a_wait_of_zero_consumes_a_wake_up() {
    let mut harness = Harness::new();
    let waker = harness.port.waker();
    waker.wake();
    harness.turn(Some(Duration::ZERO));
    waker.wake();
    let start = harness.port.now();
    harness.turn(Some(LONG));
    assert!(
        harness.port.now() - start < LONG / 2,
        "the second one counts"
    );
    harness.finish();
}

#[test]
fn waking_a_dropped_port_does_nothing() {
    let harness = Harness::new();
    let waker = harness.port.waker();
    waker.wake();
    harness.finish();
    for _ in 0..100 {
        waker.wake();
        waker.clone().wake();
    }
}

/// Waits with no operation submitted: readiness at the OS must not end the waits.
#[track_caller]
fn assert_quiet(harness: &mut Harness, handle: Handle) {
    for _ in 0..3 {
        assert_full_wait(harness, Duration::from_millis(20));
    }
    harness.close_now(handle);
}

#[test]
fn bytes_without_a_receive_do_not_end_a_wait() {
    let mut harness = Harness::new();
    let (client, server) = harness.pair();
    harness.send_all(client, b"unread");
    assert_quiet(&mut harness, server);
    harness.finish();
}

#[test]
fn an_end_or_reset_without_an_operation_does_not_end_a_wait() {
    let mut harness = Harness::new();
    for mode in [CloseMode::Graceful, CloseMode::Reset] {
        let (client, server) = harness.pair();
        let receiving = harness.receive(server);
        harness.port.cancel(receiving);
        harness.assert_cancelled(receiving);
        let closing = harness.close(client, mode);
        harness.last(closing).expect("closing succeeds");
        assert_quiet(&mut harness, server);
    }
    harness.finish();
}

#[test]
fn a_connection_without_an_accept_does_not_end_a_wait() {
    let mut harness = Harness::new();
    let (listener, address) = harness.listen();
    let (_, connecting) = harness.connect(address);
    harness.last(connecting).expect("the backlog has room");
    assert_quiet(&mut harness, listener);
    harness.finish();
}

#[test]
fn an_exit_without_an_operation_does_not_end_a_wait() {
    let mut harness = Harness::new();
    let child = Child::start(&mut harness, Role::Exit(0));
    child.status(&mut harness);
    assert_quiet(&mut harness, child.process);
    assert_quiet(&mut harness, child.stdout);
    harness.finish();
}

/// Goal: room to send does not end the waits of a program that only receives.
#[test]
fn an_idle_receive_ends_no_wait() {
    let mut harness = Harness::new();
    let (client, server) = harness.pair();
    harness.receive(client);
    harness.receive(server);
    harness.turn(Some(Duration::ZERO));
    for _ in 0..5 {
        assert_full_wait(&mut harness, Duration::from_millis(20));
    }
    harness.finish();
}
