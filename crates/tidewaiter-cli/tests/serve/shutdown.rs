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

/// What the server has open, and its children.
#[cfg(target_os = "linux")]
fn holdings(server: &Server) -> (usize, String) {
    let own = format!("/proc/{}", server.pid());
    let descriptors = std::fs::read_dir(format!("{own}/fd"))
        .expect("it runs")
        .count();
    let children = format!("{own}/task/{}/children", server.pid());
    (
        descriptors,
        std::fs::read_to_string(children).expect("it runs"),
    )
}

#[test]
#[cfg(target_os = "linux")]
fn nothing_is_left_of_connections_that_ended() {
    let server = Server::start("echo", &[]);
    let before = holdings(&server);
    let clients: Vec<_> = (0..20).map(|_| server.connect_to_child()).collect();
    assert!(holdings(&server).0 > before.0);
    drop(clients);
    for _ in 0..20 {
        server.await_line("connection ended");
    }
    assert_eq!(holdings(&server), before);
}

#[test]
#[cfg(target_os = "linux")]
fn a_child_whose_client_resets_is_ended_when_it_lives_on() {
    let server = Server::start("stay", &["--grace", "100ms"]);
    let client = server.connect();
    // What the child said is never read: closing resets the connection.
    client.peek(&mut [0]).expect("the child speaks");
    drop(client);
    // Sent after the reset was received, at the latest.
    let line = server.await_line("connection ended");
    assert!(line.contains("reason=\"client reset\""), "{line}");
    assert!(is_gone(field(&line, "pid").parse().unwrap()));
}
