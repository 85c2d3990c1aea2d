//! Promise 5 for signals: a wait ends early when a signal was handled during it.

#![cfg(target_os = "linux")]

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use signal_hook::consts::SIGUSR1;
use tidewaiter::port::Request;

use crate::support::harness::{Harness, PATIENCE};
use crate::support::system::signal_thread;

/// Sends one signal to this thread as soon as it sleeps. It sleeps only in the port.
fn signal_when_waiting() -> thread::JoinHandle<()> {
    let this = rustix::thread::gettid();
    thread::spawn(move || {
        let state = format!("/proc/self/task/{this}/stat");
        loop {
            let text = fs::read_to_string(&state).expect("the thread lives");
            let (_, fields) = text.rsplit_once(')').expect("its name is in brackets");
            if fields.trim_start().starts_with('S') {
                break;
            }
            thread::yield_now();
        }
        signal_thread(this, SIGUSR1).expect("the signal is sent");
    })
}

/// Interrupts a wait with one signal, and checks that the wait ends because of it.
#[track_caller]
fn assert_interrupted(harness: &mut Harness, timeout: Option<Duration>) {
    let handled = Arc::new(AtomicBool::new(false));
    let action = signal_hook::flag::register(SIGUSR1, Arc::clone(&handled)).expect("a handler");
    let start = harness.port.now();
    let signaller = signal_when_waiting();
    assert_eq!(harness.turn(timeout), 0, "nothing else should arrive");
    assert!(handled.load(Ordering::SeqCst), "the handler has run");
    assert!(harness.port.now() - start < PATIENCE, "it ended early");
    signaller.join().expect("it has sent the signal");
    signal_hook::low_level::unregister(action);
}

#[test]
fn a_handled_signal_ends_a_wait() {
    let mut harness = Harness::new();
    for timeout in [Some(PATIENCE), None, Some(PATIENCE), None] {
        assert_interrupted(&mut harness, timeout);
    }
    harness.finish();
}

/// Goal: a handled signal also ends a wait that first starts operations, which the kernel reports differently.
#[test]
fn a_handled_signal_ends_a_wait_that_starts_operations() {
    let mut harness = Harness::new();
    let (client, server) = harness.pair();
    let (listener, _) = harness.listen();
    for timeout in [Some(PATIENCE), None] {
        let receiving = harness.receive(server);
        let accepting = harness.submit(listener, Request::Accept);
        assert_interrupted(&mut harness, timeout);
        harness.port.cancel(receiving);
        harness.assert_cancelled(receiving);
        harness.port.cancel(accepting);
        harness.assert_cancelled(accepting);
    }
    harness.close_now(client);
    harness.finish();
}
