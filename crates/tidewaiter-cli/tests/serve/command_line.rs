//! Messages and exit codes for command lines, and the command `info`.

use std::net::TcpListener;
use std::process::{Output, Stdio};

use crate::starting::start;
use crate::support::tidewaiter;

pub(crate) fn run(args: &[&str]) -> Output {
    let mut command = tidewaiter();
    command
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let process = start(&mut command).expect("the command starts");
    process.wait_with_output().expect("it is our child")
}

#[test]
fn a_wrong_command_line_gives_a_message_of_one_line_and_code_2() {
    for args in [
        &[][..],
        &["serve"],
        &["serve", "localhost", "--", "x"],
        &["serve", "localhost:1"],
        &["serve", "localhost:1", "--max-clients", "0", "--", "x"],
        &["serve", "localhost:1", "--grace", "soon", "--", "x"],
        &["serve", "localhost:1", "--env", "NAME", "--", "x"],
        &["serve", "localhost:1", "--limit-memory", "much", "--", "x"],
        &["serve", "localhost:1", "--limit-cpu", "0", "--", "x"],
        &["serve", "localhost:1", "--limit-processes", "0", "--", "x"],
        &["serve", "localhost:1", "--pty=80", "--", "x"],
        &["serve", "localhost:1", "--pty", "--inetd", "--", "x"],
        &["serve", "localhost:1", "--limit-open-files", "0", "--", "x"],
        &["serve", "localhost:1", "--user", "no such user", "--", "x"],
        // The system does not know the group of such a user.
        &["serve", "localhost:1", "--user", "4000000001", "--", "x"],
        &["serve", "localhost:1", "--group", "0", "--", "x"],
        &["serve", "unix:", "--", "x"],
        &["serve", "fd:first", "--", "x"],
        &["serve", "localhost:1", "--metrics", "somewhere", "--", "x"],
        &["serve", "localhost:1", "--socket-mode", "600", "--", "x"],
        &["serve", "unix:/a", "--socket-mode", "rw", "--", "x"],
        &["serve", "unix:/a", "--socket-mode", "1777", "--", "x"],
        &["serve", "udp:localhost:1", "--inetd", "--", "x"],
        &["connect", "--raw", "udp:localhost:1"],
        &["connect", "pipe:"],
        &["connect", "::1:7000"],
        &["connect", "localhost:99999"],
        &["info", "--backend", "carrier-pigeon"],
        // Users might expect it to name a TCP port.
        &["connect", "localhost", "--port", "7000"],
        &["nonsense"],
    ] {
        let output = run(args);
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {message}");
        assert!(message.starts_with("tidewaiter: "), "{args:?}: {message}");
        assert_eq!(message.lines().count(), 1, "{args:?}: {message}");
        let option = args
            .iter()
            .find(|word| word.len() > 2 && word.starts_with("--"));
        let name = option.map_or("", |word| word.split('=').next().unwrap_or_default());
        let names_what_lacks = message.contains("required");
        let names_the_option = message.contains(name);
        assert!(names_the_option || names_what_lacks, "{args:?}: {message}");
    }
}

#[test]
fn the_message_for_a_port_in_use_names_the_address_with_code_1() {
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

/// Method: a label longer than 63 bytes is not a valid name, so the lookup fails without a query to a server.
#[test]
fn the_message_for_an_unresolvable_name_has_the_name_once_with_code_1() {
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
fn the_help_of_serve_names_every_signal_that_ends_it() {
    let output = run(&["serve", "--help"]);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    for signal in ["Ctrl-C", "SIGTERM", "SIGHUP"] {
        assert!(text.contains(signal), "{signal} is not in {text}");
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
