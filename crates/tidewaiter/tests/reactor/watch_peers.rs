//! The documented behaviours of libuv, mio and tokio for the readiness of descriptors, one test each, with the reason where
//! ours differs. Promises that other tests check:
//!
//! - libuv, `uv_poll_start`: the callback comes as long as the descriptor is ready.
//!   `watching::readiness_is_reported_as_long_as_it_lasts`. mio reports changes (edges), so that a program must read until
//!   nothing is left; tokio keeps the readiness until the program takes it back. Ours asks the OS in each turn, because
//!   foreign libraries read as much as they like.
//! - libuv: events may be changed while the watch lasts; mio, `reregister`. `watching::the_interest_can_be_changed`.
//! - libuv, `UV_DISCONNECT`; mio, `is_read_closed`, `is_error`: asked for, or hints. Ours reports hang-ups and errors always,
//!   because a library that waits to write must learn that it never will:
//!   `watching_descriptors::hang_ups_and_errors_are_always_reported`, on Windows `watching_sockets::a_reset_is_always_reported`.
//! - libuv: several active handles for one descriptor malfunction; mio, `register`: `AlreadyExists`. Ours as mio's:
//!   `watching_descriptors::refusals_name_the_descriptor`.
//! - libuv, mio: a descriptor must not be closed while it is watched. Ours survives it:
//!   `watching_descriptors::a_descriptor_closed_too_early_does_not_make_the_loop_spin`, on Windows
//!   `watching_sockets::a_socket_closed_while_watched_ends_the_watch`.
//! - libuv, mio: after `uv_poll_stop`, `deregister`, the descriptor may be closed at once, and its number used again:
//!   `watching::a_number_can_be_used_again_right_after`. libuv: no callback comes after it:
//!   `watching::a_stopped_watch_is_not_called_in_the_same_turn`.
//! - tokio, `AsyncFd::new`: fails for regular files on Linux (`EPERM`). Ours reports them as always ready, as `poll(2)` does:
//!   `watching_descriptors::files_are_always_ready`.
//! - libuv, mio: on Windows only sockets can be polled. `watching_sockets::refusals_name_the_number`; handles have a call of
//!   their own.
//! - mio and libuv on Windows, through AFD: a connect that fails is an error, one that succeeds makes the socket writable.
//!   `watching_sockets::the_end_of_an_attempt_to_connect_is_reported`.
//! - libuv, `UV_PRIORITIZED`; mio, `Interest::PRIORITY`; tokio, `Interest::PRIORITY`: urgent data. Ours has none: few programs
//!   use it, and AFD and kqueue tell it in other ways. Inline (`SO_OOBINLINE`), it is readable as any other byte.

use std::cell::Cell;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

use rustix::fs::{OFlags, fcntl_getfl};
use tidewaiter::Reactor;
use tidewaiter::port::Interest;

use super::promises::support::{reactor, run_clean};

/// libuv, `uv_poll_init`: switches the descriptor to non-blocking mode. tokio: the program must have done so. Ours leaves
/// it as it is: other processes may share the mode, and a read that follows a report does not block.
#[test]
fn libuv_the_mode_of_a_descriptor_stays() {
    let reactor = reactor();
    let (mut ours, mut theirs) = UnixStream::pair().expect("a pair");
    theirs.write_all(b"x").expect("there is room");
    let descriptor = ours.as_raw_fd();
    let on_ready = move |watch: &tidewaiter::Watch, _| {
        let flags = fcntl_getfl(&ours).expect("it is open");
        assert!(!flags.contains(OFlags::NONBLOCK));
        assert_eq!(ours.read(&mut [0; 10]).expect("it is there"), 1);
        watch.reactor().stop();
    };
    let watch = reactor.watch(descriptor, Interest::READABLE, on_ready);
    watch.expect("it can be watched");
    run_clean(&reactor);
}

/// tokio: dropping the `AsyncFd` ends the registration. Dropping ours does not, as the reactor owns it: a library that
/// registers once keeps no handle.
#[test]
fn tokio_dropping_the_handle_does_not_end_the_watch() {
    let reactor = reactor();
    let (ours, theirs) = UnixStream::pair().expect("a pair");
    let watch = reactor.watch(ours.as_raw_fd(), Interest::READABLE, |watch, _| {
        watch.reactor().stop();
    });
    drop(watch.expect("it can be watched"));
    reactor.call_later(Duration::from_millis(1), move |_: &Reactor| drop(theirs));
    run_clean(&reactor);
}

/// libuv and mio: a report may be out of date, so that a read finds nothing. Ours, too, where another callback of the turn
/// has read: the program reads without blocking there.
#[test]
fn mio_a_report_may_be_out_of_date() {
    let reactor = reactor();
    let (ours, mut theirs) = UnixStream::pair().expect("a pair");
    ours.set_nonblocking(true).expect("it is open");
    theirs.write_all(b"x").expect("there is room");
    let read = Rc::new(Cell::new(0));
    // Two numbers of one socket.
    for socket in [ours.try_clone().expect("a duplicate"), ours] {
        let read = Rc::clone(&read);
        let descriptor = socket.as_raw_fd();
        let watch = reactor.watch(descriptor, Interest::READABLE, move |watch, _| {
            if (&socket).read(&mut [0; 10]).is_ok() {
                read.set(read.get() + 1);
            }
            watch.reactor().stop();
        });
        watch.expect("each number is watched");
    }
    run_clean(&reactor);
    assert_eq!(read.get(), 1);
}
