//! Signals that this program sends to itself, in child processes that run a single test again.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::mpsc::channel;
use std::time::Duration;

use signal_hook::low_level::raise;

use super::{ShutdownSignal, SignalWatch, watch};
use crate::port::{Port, PortKind, PortOptions};

const CHILD: &str = "TIDEWAITER_TEST_SIGNALS";

/// Longer than any step here takes; only a failure takes this long.
const LONG: Duration = Duration::from_secs(20);

/// Sets the signal's disposition to `action`.
#[expect(unsafe_code, reason = "the standard library does not set it")]
fn dispose(number: i32, action: libc::sighandler_t) {
    // SAFETY: the action is one of the system's own, so no handler of ours runs.
    let before = unsafe { libc::signal(number, action) };
    assert_ne!(before, libc::SIG_ERR);
}

/// Runs `body` in a child process. The test called `name` must do nothing else.
fn in_child(name: &str, body: fn()) -> Option<ExitStatus> {
    if std::env::var_os(CHILD).is_some() {
        // The tests may run as a shell's background job, with signals ignored.
        for number in [libc::SIGHUP, libc::SIGINT, libc::SIGTERM] {
            dispose(number, libc::SIG_DFL);
        }
        body();
        return None;
    }
    let status = std::process::Command::new(std::env::current_exe().expect("this program"))
        .args([
            format!("port::signals::tests::unix::{name}").as_str(),
            "--exact",
        ])
        .env(CHILD, "1")
        .status()
        .expect("a child");
    Some(status)
}

#[test]
fn every_watch_gets_every_signal_and_is_woken() {
    let status = in_child("every_watch_gets_every_signal_and_is_woken", || {
        let (sender, woken) = channel();
        let watches = [watch(&sender), watch(&sender)];
        raise(libc::SIGTERM).expect("raised");
        raise(libc::SIGINT).expect("raised");
        for watch in &watches {
            woken.recv_timeout(LONG).expect("woken");
            assert_eq!(watch.take(), Some(ShutdownSignal::Interrupt));
            assert_eq!(watch.take(), Some(ShutdownSignal::Terminate));
            assert_eq!(watch.take(), None);
        }
        let [first, second] = watches;
        drop(first);
        raise(libc::SIGTERM).expect("raised");
        assert_eq!(second.take(), Some(ShutdownSignal::Terminate));
    });
    assert!(status.is_none_or(|status| status.success()), "{status:?}");
}

#[test]
fn after_the_last_watch_a_signal_ends_the_program_again() {
    let status = in_child(
        "after_the_last_watch_a_signal_ends_the_program_again",
        || {
            let (sender, _woken) = channel();
            drop(watch(&sender));
            drop(watch(&sender));
            raise(libc::SIGINT).expect("raised");
        },
    );
    if let Some(status) = status {
        assert_eq!(status.signal(), Some(libc::SIGINT), "{status}");
    }
}

/// Goal: the signal handler's wake-up ends a port's unlimited wait, whether it runs before the wait, on the port's own
/// thread, or meanwhile, on another one.
#[test]
fn a_signal_ends_a_wait() {
    let status = in_child("a_signal_ends_a_wait", || {
        for kind in [PortKind::Poll, PortKind::Uring] {
            let options = PortOptions {
                kind: Some(kind),
                ..PortOptions::default()
            };
            let mut port = match Port::open(&options) {
                Ok(port) => port,
                // The lane `uring` says where the kernel refuses rings.
                Err(_) if kind == PortKind::Uring => continue,
                Err(error) => panic!("{error}"),
            };
            let watch = SignalWatch::install(port.waker()).expect("watching");
            raise(libc::SIGHUP).expect("raised");
            port.wait(None, &mut Vec::new()).expect("a wait");
            assert_eq!(watch.take(), Some(ShutdownSignal::Hangup), "{kind}");
            let thread = std::thread::spawn(|| raise(libc::SIGTERM));
            port.wait(None, &mut Vec::new()).expect("a wait");
            assert_eq!(watch.take(), Some(ShutdownSignal::Terminate), "{kind}");
            thread.join().expect("a thread").expect("raised");
        }
    });
    assert!(status.is_none_or(|status| status.success()), "{status:?}");
}

#[test]
fn what_was_ignored_to_begin_with_stays_ignored() {
    let status = in_child("what_was_ignored_to_begin_with_stays_ignored", || {
        for number in [libc::SIGHUP, libc::SIGINT, libc::SIGTERM] {
            dispose(number, libc::SIG_IGN);
        }
        let (sender, _woken) = channel();
        let watch = watch(&sender);
        for number in [libc::SIGHUP, libc::SIGINT, libc::SIGTERM] {
            raise(number).expect("raised");
            assert_eq!(watch.take(), None, "{number}");
        }
    });
    assert!(status.is_none_or(|status| status.success()), "{status:?}");
}
