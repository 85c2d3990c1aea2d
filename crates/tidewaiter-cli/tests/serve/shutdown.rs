//! How a server ends, where signals can be sent.
#![cfg(unix)]

use std::io::Read;
use std::net::Shutdown;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::support::{Server, exchange, field, rest};

fn pid_of(number: u32) -> Pid {
    Pid::from_raw(number.try_into().expect("a pid")).expect("a pid")
}

fn terminate(server: &Server) {
    kill_process(pid_of(server.pid()), Signal::TERM).expect("it runs");
}

fn is_gone(child: u32) -> bool {
    test_kill_process(pid_of(child)).is_err()
}

#[test]
fn children_may_finish_before_the_server_ends() {
    let server = Server::start("echo", &[]);
    let mut client = server.connect_to_child();
    terminate(&server);
    server.await_line("children may finish");
    assert_eq!(exchange(&mut client, b"still here"), b"still here");
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&mut client), b"");
    assert_eq!(server.wait().code(), Some(0));
}

#[test]
fn after_the_grace_children_are_ended() {
    let server = Server::start("stay", &["--grace", "100ms"]);
    let mut client = server.connect_to_child();
    terminate(&server);
    // However it ends for the client, it ends.
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
