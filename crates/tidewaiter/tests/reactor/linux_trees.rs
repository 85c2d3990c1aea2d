//! The tree of a child on Linux.

use std::io::{Read, Write, pipe};
use std::os::fd::AsRawFd;
use std::thread;

use tidewaiter::ProcessProtocol;
use tidewaiter::process::Stdio;

use crate::promises::support::reactor;
use crate::support::roles::{READY, Role};

struct Ignored;

impl ProcessProtocol for Ignored {}

/// Goal: a child that ends with its parent does not end with the thread that asked for it.
#[test]
fn a_child_that_ends_with_its_parent_outlives_the_thread_that_started_it() {
    let (input, mut to_child) = pipe().expect("a pipe");
    let (mut from_child, output) = pipe().expect("a pipe");
    let started = thread::spawn(move || {
        let reactor = reactor();
        let command = crate::child(Role::Echo)
            .stdin(Stdio::Descriptor(input.as_raw_fd()))
            .stdout(Stdio::Descriptor(output.as_raw_fd()))
            .stderr(Stdio::Null)
            .die_with_parent(true);
        let process = reactor.spawn_process(&command, Ignored).expect("it starts");
        process.detach();
    });
    started.join().expect("it does not panic");
    to_child.write_all(b"still here").expect("it lives");
    drop(to_child);
    let mut text = Vec::new();
    from_child.read_to_end(&mut text).expect("it can be read");
    assert!(text.ends_with(b"still here"), "{text:?}");
    assert!(text.windows(READY.len()).any(|part| part == READY));
}
