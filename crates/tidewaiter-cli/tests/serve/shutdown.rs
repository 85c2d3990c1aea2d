//! Shutdown of a server by signals.
#![cfg(unix)]

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use std::io::Read;
use std::net::Shutdown;

use crate::support::{Server, exchange, field, rest, serve, tidewaiter_with_default_signals};

fn pid_of(number: u32) -> Pid {
    Pid::from_raw(number.try_into().expect("a pid")).expect("a pid")
}

pub(crate) fn terminate(server: &Server) {
    kill_process(pid_of(server.pid()), Signal::TERM).expect("it runs");
}

/// Kills a process by its id as the log shows it.
pub(crate) fn kill(pid: &str) {
    let pid = pid_of(pid.parse().expect("a pid"));
    kill_process(pid, Signal::KILL).expect("it runs");
}

pub(crate) fn interrupt(pid: u32) {
    kill_process(pid_of(pid), Signal::INT).expect("it runs");
}

pub(crate) fn is_gone(child: u32) -> bool {
    test_kill_process(pid_of(child)).is_err()
}

/// Goal: a server drains when its terminal is closed, and SIGHUP does not count as a second signal, because service
/// managers send one right after SIGTERM.
#[test]
fn a_hang_up_drains_and_ends_no_child_at_once() {
    for signals in [&[Signal::HUP][..], &[Signal::TERM, Signal::HUP]] {
        let mut command = tidewaiter_with_default_signals();
        serve(&mut command, "127.0.0.1:0", "echo", &["--grace", "1h"]);
        let server = Server::run(command);
        let mut client = server.connect_to_child();
        for &signal in signals {
            kill_process(pid_of(server.pid()), signal).expect("it runs");
            server.await_line(if signal == Signal::HUP {
                "received hangup"
            } else {
                "received terminate"
            });
        }
        assert_eq!(exchange(&mut client, b"still here"), b"still here");
        client.shutdown(Shutdown::Write).expect("it is open");
        assert_eq!(rest(&mut client), b"");
        assert_eq!(server.wait().code(), Some(0));
    }
}

#[test]
fn children_are_ended_after_the_grace_period() {
    let server = Server::start("stay", &["--grace", "100ms"]);
    let mut client = server.connect_to_child();
    terminate(&server);
    // The connection ends, with an end of file or with a reset.
    let _ = client.read(&mut [0]);
    let line = server.await_line("connection ended");
    let child = field(&line, "pid").parse().unwrap();
    assert_eq!(server.wait().code(), Some(3));
    assert!(is_gone(child));
}

#[test]
fn a_second_signal_ends_all_at_once() {
    let server = Server::start("stay", &["--grace", "1h"]);
    let mut client = server.connect_to_child();
    terminate(&server);
    server.await_line("children may finish");
    terminate(&server);
    let _ = client.read(&mut [0]);
    let line = server.await_line("connection ended");
    let child = field(&line, "pid").parse().unwrap();
    assert_eq!(server.wait().code(), Some(3));
    assert!(is_gone(child));
}

#[cfg(target_os = "linux")]
mod on_linux {
    use std::io::{BufRead, BufReader};

    use super::{is_gone, terminate};
    use crate::support::{Server, field, tidewaiter, within_patience};

    /// Whether a process has ended; somebody else may have to reap it.
    fn has_ended(pid: &str) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
        stat.map_or(true, |stat| stat.contains(") Z "))
    }

    /// Goal: a process that has left the child's group and session ends with the child.
    #[test]
    fn processes_with_a_session_of_their_own_end_with_the_child() {
        for options in [&["--grace", "100ms"][..], &["--grace", "100ms", "--inetd"]] {
            let mut command = tidewaiter();
            let script = "setsid sleep 600 & echo $!; wait";
            let served = ["127.0.0.1:0", "--", "sh", "-c", script];
            command.args(["serve", "-v"]).args(options).args(served);
            let server = Server::run(command);
            let mut pid = String::new();
            BufReader::new(server.connect())
                .read_line(&mut pid)
                .expect("the child tells");
            terminate(&server);
            assert_eq!(server.wait().code(), Some(3));
            within_patience("it has ended", || has_ended(pid.trim()));
        }
    }

    #[test]
    fn a_child_that_ignores_the_reset_of_its_client_is_ended() {
        let server = Server::start("stay", &["--grace", "100ms"]);
        let client = server.connect();
        // Closing with unread data resets the connection.
        client.peek(&mut [0]).expect("the child speaks");
        drop(client);
        // The log has this line once the reset was received and the child was ended.
        let line = server.await_line("connection ended");
        assert!(line.contains("reason=\"client reset\""), "{line}");
        assert!(is_gone(field(&line, "pid").parse().unwrap()));
    }
}
