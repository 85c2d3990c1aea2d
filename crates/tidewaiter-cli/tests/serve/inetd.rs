//! Connections that are COMMAND's own standard input and output.

use std::io::{Read, Write};
use std::net::Shutdown;

use crate::command_line;
use crate::support::{Server, await_ready, exchange, field, metrics, rest, tidewaiter};

#[test]
fn the_connection_is_the_childs_and_the_log_invents_no_bytes() {
    let server = Server::start("echo", &["--inetd", "--metrics", "127.0.0.1:0"]);
    let address = server.address_in("serving metrics");
    let mut client = server.connect_to_child();
    assert_eq!(exchange(&mut client, b"hello"), b"hello");
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&mut client), b"");
    let line = server.await_line("connection ended");
    for (key, value) in [("bytes_in", "unknown"), ("bytes_out", "unknown")] {
        assert_eq!(field(&line, key), value, "{line}");
    }
    assert!(line.contains("exit=\"exit code 0\" reason=\"child ended\""));
    let peer = client.local_addr().unwrap().to_string();
    assert_eq!(field(&line, "peer"), peer);
    let text = metrics(address);
    assert!(text.contains("tidewaiter_connections_total 1\n"), "{text}");
    assert!(!text.contains("received_bytes_total"), "{text}");
}

#[test]
fn the_childs_environment_has_the_addresses_of_its_connection() {
    let server = Server::start("environment", &["--inetd"]);
    let mut client = server.connect_to_child();
    let text = String::from_utf8(rest(&mut client)).unwrap();
    let (own, there) = (client.local_addr().unwrap().port(), server.address.port());
    for expected in [
        "REMOTE_ADDR=127.0.0.1\n".to_owned(),
        format!("REMOTE_PORT={own}\n"),
        format!("TCPLOCALPORT={there}\n"),
    ] {
        assert!(text.contains(&expected), "{expected} is not in {text}");
    }
}

#[test]
fn standard_error_goes_to_the_log_or_to_the_client() {
    let server = Server::start("complain", &["--inetd"]);
    assert_eq!(rest(&mut server.connect_to_child()), b"");
    server.await_line("stderr=\"first complaint\"");
    let server = Server::start("complain", &["--inetd", "--merge-stderr"]);
    assert_eq!(
        rest(&mut server.connect_to_child()),
        b"first complaint\nsecond \xff one\nunfinished"
    );
    server.await_line("connection ended");
}

#[test]
fn a_client_beyond_max_clients_waits_with_what_it_sent() {
    let server = Server::start("echo", &["--inetd", "--max-clients", "1"]);
    let first = server.connect_to_child();
    let mut second = server.connect();
    second.write_all(b"early").unwrap();
    server.await_line("accepting pauses");
    drop(first);
    await_ready(&mut second);
    let mut answer = [0; 5];
    second.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"early");
}

#[test]
fn a_program_that_does_not_exist_ends_only_its_connection() {
    let mut command = tidewaiter();
    let served = ["127.0.0.1:0", "--", "no-such-program-anywhere"];
    command
        .args(["serve", "--inetd", "--max-clients", "1"])
        .args(served);
    let server = Server::run(command);
    for _ in 0..3 {
        assert_eq!(rest(&mut server.connect()), b"");
        let line = server.await_line("connection ended");
        assert!(line.contains("reason=\"spawn failed\""), "{line}");
    }
}

/// Goal: what COMMAND leaves running has the connection, so it ends with COMMAND, and with it the connection.
#[test]
fn a_process_that_a_child_left_running_does_not_keep_the_connection() {
    for options in [&["--inetd"][..], &["--inetd", "--merge-stderr"]] {
        let server = Server::start("leave-grandchild", options);
        let mut client = server.connect_to_child();
        // The grandchild would hold the connection for longer than we wait.
        let _ = client.read_to_end(&mut Vec::new());
        let line = server.await_line("connection ended");
        assert!(line.contains("exit=\"exit code 0\""), "{line}");
    }
}

#[test]
fn an_idle_timeout_is_refused_because_the_server_sees_no_bytes() {
    let options = ["serve", "localhost:1", "--inetd", "--idle-timeout", "1s"];
    let output = command_line::run(&[&options[..], &["--", "x"]].concat());
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(message.contains("only COMMAND knows"), "{message}");
}

#[cfg(unix)]
mod on_unix {
    use std::io::Read;
    use std::net::Shutdown;
    use std::time::Duration;

    use crate::limits;
    use crate::shutdown::{is_gone, kill, terminate};
    use crate::support::{Server, exchange, field, rest};

    #[test]
    fn a_killed_child_ends_its_connection_and_the_log_reports_the_signal() {
        let server = Server::start("stay", &["--inetd"]);
        let mut client = server.connect_to_child();
        let connected = server.await_line("msg=connected");
        kill(field(&connected, "pid"));
        assert_eq!(rest(&mut client), b"");
        let line = server.await_line("connection ended");
        assert!(line.contains("exit=\"signal 9\""), "{line}");
    }

    /// Goal: only the child notices a reset. One that reads ends by it; the server serves on.
    #[test]
    fn a_reset_reaches_the_child() {
        let server = Server::start("echo", &["--inetd"]);
        let client = server.connect_to_child();
        rustix::net::sockopt::set_socket_linger(&client, Some(Duration::ZERO))
            .expect("the option can be set");
        drop(client);
        let line = server.await_line("connection ended");
        assert!(line.contains("exit=\"exit code 1\""), "{line}");
        assert_eq!(exchange(&mut server.connect_to_child(), b"hello"), b"hello");
    }

    #[test]
    fn children_may_finish_at_shutdown() {
        let server = Server::start("echo", &["--inetd", "--grace", "1h"]);
        let mut client = server.connect_to_child();
        terminate(&server);
        server.await_line("children may finish");
        assert_eq!(exchange(&mut client, b"still here"), b"still here");
        client.shutdown(Shutdown::Write).expect("it is open");
        assert_eq!(rest(&mut client), b"");
        assert_eq!(server.wait().code(), Some(0));
    }

    #[test]
    fn children_are_ended_after_the_grace_period() {
        let server = Server::start("stay", &["--inetd", "--grace", "100ms"]);
        let mut client = server.connect_to_child();
        terminate(&server);
        let _ = client.read(&mut [0]);
        let line = server.await_line("connection ended");
        assert!(is_gone(field(&line, "pid").parse().unwrap()));
        assert_eq!(server.wait().code(), Some(3));
    }

    #[test]
    fn a_second_signal_ends_all_at_once() {
        let server = Server::start("stay", &["--inetd", "--grace", "1h"]);
        let mut client = server.connect_to_child();
        terminate(&server);
        server.await_line("children may finish");
        terminate(&server);
        let _ = client.read(&mut [0]);
        let line = server.await_line("connection ended");
        assert!(is_gone(field(&line, "pid").parse().unwrap()));
        assert_eq!(server.wait().code(), Some(3));
    }

    /// Goal: connections that wait for a place when the server shuts down are closed, and the server ends.
    #[test]
    fn waiting_connections_are_turned_away_at_shutdown() {
        let options = ["--inetd", "--max-clients", "unlimited"];
        let server = limits::start("-n 20", &options);
        let mut clients: Vec<_> = (0..12).map(|_| server.connect()).collect();
        server.await_line("connections wait");
        terminate(&server);
        server.await_line("children may finish");
        terminate(&server);
        for client in &mut clients {
            let _ = client.read_to_end(&mut Vec::new());
        }
        assert_eq!(server.wait().code(), Some(3));
    }

    /// Goal: at the limit of descriptors, connections wait, and are served in turn.
    #[test]
    fn without_descriptors_connections_wait_and_none_is_dropped() {
        let server = limits::start("-n 20", &["--inetd", "--max-clients", "unlimited"]);
        limits::expect_all_served_in_turn(&server);
    }
}
