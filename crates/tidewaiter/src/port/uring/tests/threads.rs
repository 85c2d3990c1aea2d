//! Rings, and the threads that they belong to.

use std::rc::{Rc, Weak};
use std::sync::mpsc;
use std::thread;

use super::super::BufferRing;
use super::{Harness, pair};
use crate::port::Request;

/// A port on its way to another thread, with a reference that shows whether its buffers are alive.
struct Carried(Harness, Weak<BufferRing>);

// SAFETY: the sending thread does not touch it afterwards.
unsafe impl Send for Carried {}

/// Returns a port that another thread has used, and the means to end that thread.
fn used_elsewhere() -> (Carried, mpsc::Sender<()>, thread::JoinHandle<()>) {
    let (give, given) = mpsc::channel();
    let (end, ending) = mpsc::channel();
    let thread = thread::spawn(move || {
        let mut harness = Harness::new();
        let (ours, theirs) = pair();
        let ours = harness.adopt(ours);
        harness.submit(ours, Request::Receive);
        harness.send(ours, b"hello");
        let buffers = Rc::downgrade(&harness.port.buffers);
        give.send(Carried(harness, buffers)).expect("it is awaited");
        let _ = ending.recv();
        drop(theirs);
    });
    (given.recv().expect("it is sent"), end, thread)
}

#[test]
fn a_port_dropped_after_its_thread_ended_frees_its_buffers() {
    for _ in 0..20 {
        let (Carried(harness, buffers), end, thread) = used_elsewhere();
        drop(end);
        thread.join().expect("it only waits");
        drop(harness);
        assert_eq!(buffers.strong_count(), 0);
    }
}

/// Goal: while the thread lives, the kernel may still perform operations there.
#[test]
fn a_port_dropped_by_another_thread_than_its_own_frees_nothing_under_the_kernels_hands() {
    let (Carried(harness, buffers), end, thread) = used_elsewhere();
    drop(harness);
    assert_eq!(buffers.strong_count(), 1);
    drop(end);
    thread.join().expect("it only waits");
}
