//! What is typed, and what comes of it: messages, exit codes, `info`.

use std::net::TcpListener;
use std::process::{Output, Stdio};

use crate::support::tidewaiter;

pub(crate) fn run(args: &[&str]) -> Output {
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
        &["info", "--backend", "carrier-pigeon"],
        // It would be taken for a TCP port.
        &["connect", "localhost", "--port", "7000"],
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

/// A label longer than 63 bytes is no name: no server is asked.
#[test]
fn a_name_that_does_not_resolve_is_named_once_with_code_1() {
    let name = "x".repeat(64);
    let address = format!("{name}:80");
    for args in [
        &["connect", &address][..],
        &["serve", "-q", &address, "--", "x"],
    ] {
        let output = run(args);
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}: {message}");
        let expected = format!("tidewaiter: cannot resolve {name:?}: ");
        assert!(message.starts_with(&expected), "{args:?}: {message}");
        assert_eq!(message.matches(&name).count(), 1, "{args:?}: {message}");
    }
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
    let foreign = if cfg!(windows) { "uring" } else { "iocp" };
    let line = format!("\nalternative {foreign}: not on this OS\n");
    assert!(text.contains(&line), "{text}");
}
