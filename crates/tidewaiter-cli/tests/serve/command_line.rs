//! What is typed, and what comes of it: messages, exit codes, `connect` and `info`.

use std::io::Write;
use std::net::TcpListener;
use std::process::{Output, Stdio};

use crate::child::READY;
use crate::support::{Server, tidewaiter};

fn run(args: &[&str]) -> Output {
    tidewaiter()
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("the command starts")
}

#[test]
fn wrong_input_is_answered_in_one_line_with_code_2() {
    for args in [
        &[][..],
        &["serve"],
        &["serve", "localhost", "--", "x"],
        &["serve", "localhost:1"],
        &["serve", "localhost:1", "--max-clients", "0", "--", "x"],
        &["serve", "localhost:1", "--grace", "soon", "--", "x"],
        &["connect", "::1:7000"],
        &["connect", "localhost:99999"],
        &["info", "--port", "carrier-pigeon"],
        &["nonsense"],
    ] {
        let output = run(args);
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {message}");
        assert!(message.starts_with("tidewaiter: "), "{args:?}: {message}");
        assert_eq!(message.lines().count(), 1, "{args:?}: {message}");
    }
}

#[test]
fn a_port_that_is_taken_is_named_with_code_1() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = run(&["serve", "-q", &address, "--", "x"]);
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(
        message.contains(&format!("cannot listen on {address}")),
        "{message}"
    );
}

#[test]
fn connect_joins_standard_input_and_output() {
    let server = Server::start("echo", &[]);
    let mut command = tidewaiter();
    command.args(["connect", &server.address.to_string()]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut process = command.spawn().unwrap();
    process
        .stdin
        .take()
        .unwrap()
        .write_all(b"over and out")
        .unwrap();
    let output = process.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stdout.ends_with(&[READY, b"over and out"].concat()));
}

#[test]
fn a_refused_connection_has_code_1() {
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    let output = run(&["connect", &free]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("refused"));
}

#[test]
fn info_names_the_port() {
    let output = run(&["info"]);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("\nport: ") && text.contains("\nwhy: "),
        "{text}"
    );
}
