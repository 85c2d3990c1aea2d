//! Connections and their children.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use crate::support::{
    Server, await_ready, exchange, field, metrics, rest, tidewaiter, within_patience,
};

/// Number of clients at once; fewer on Windows, because children start slowly under Wine.
const MANY: usize = if cfg!(windows) { 100 } else { 1000 };

#[test]
fn bytes_go_both_ways_and_the_log_counts_them() {
    let server = Server::start("echo", &[]);
    let mut client = server.connect_to_child();
    assert_eq!(exchange(&mut client, b"hello"), b"hello");
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&mut client), b"");
    let line = server.await_line("connection ended");
    assert_eq!(field(&line, "bytes_in"), "5");
    assert!(line.contains("exit=\"exit code 0\""), "{line}");
    assert_eq!(
        field(&line, "peer"),
        client.local_addr().unwrap().to_string()
    );
}

#[test]
fn the_clients_end_of_file_ends_the_childs_input_and_the_answer_still_arrives() {
    let server = Server::start("count", &[]);
    let mut client = server.connect_to_child();
    client.write_all(&vec![b'x'; 300_000]).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&mut client), b"300000");
}

#[test]
fn a_thousand_clients_at_once_get_their_echo_and_leave_nothing_open() {
    let server = Server::start("echo", &["--metrics", "127.0.0.1:0"]);
    let metrics_address = server.address_in("serving metrics");
    #[cfg(target_os = "linux")]
    let before = holdings(&server);
    let mut clients: Vec<TcpStream> = (0..MANY).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(await_ready);
    for (number, client) in clients.iter_mut().enumerate() {
        let text = format!("client {number:04}");
        assert_eq!(exchange(client, text.as_bytes()), text.as_bytes());
    }
    for client in &clients {
        client.shutdown(Shutdown::Write).unwrap();
    }
    for client in &mut clients {
        assert_eq!(rest(client), b"");
    }
    for _ in 0..MANY {
        let line = server.await_line("connection ended");
        assert!(line.contains("exit=\"exit code 0\""), "{line}");
    }
    // A session logs its end just before its handles close.
    within_patience("all are closed", || {
        let text = metrics(metrics_address);
        // Two listeners, and the connection of this request.
        text.contains("tidewaiter_reactor_live 3\n")
    });
    #[cfg(target_os = "linux")]
    within_patience("nothing is left", || holdings(&server) == before);
}

/// The number of descriptors that the server has open, and the list of its children.
#[cfg(target_os = "linux")]
fn holdings(server: &Server) -> (usize, String) {
    let own = format!("/proc/{}", server.pid());
    let descriptors = std::fs::read_dir(format!("{own}/fd")).expect("it runs");
    let children = format!("{own}/task/{}/children", server.pid());
    let children = std::fs::read_to_string(children).expect("it runs");
    (descriptors.count(), children)
}

#[test]
fn a_client_beyond_max_clients_waits_for_a_place() {
    let server = Server::start("echo", &["--max-clients", "1"]);
    let first = server.connect_to_child();
    let mut second = server.connect();
    second.write_all(b"early").unwrap();
    server.await_line("accepting pauses");
    first.shutdown(Shutdown::Both).unwrap();
    drop(first);
    await_ready(&mut second);
    let mut answer = [0; 5];
    second.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"early");
}

#[test]
fn an_idle_connection_and_its_child_are_ended() {
    let server = Server::start("stay", &["--idle-timeout", "300ms"]);
    let mut client = server.connect();
    // On a busy machine the timeout may come before the first output of the child.
    rest(&mut client);
    let line = server.await_line("connection ended");
    assert!(line.contains("reason=\"idle timeout\""), "{line}");
}

/// Goal: a client that resets its connection is noticed although the command reads nothing of what it has sent.
#[test]
fn a_reset_is_noticed_while_the_command_leaves_bytes_unread() {
    /// A write that takes longer than this is blocked.
    const BLOCKED: Duration = Duration::from_millis(500);
    let server = Server::start("stay", &["--grace", "100ms"]);
    let mut client = server.connect();
    client
        .peek(&mut [0])
        .expect("the child says that it is ready");
    client.set_write_timeout(Some(BLOCKED)).unwrap();
    while client.write(&[b'x'; 1 << 16]).is_ok() {}
    // Closing a connection with unread data resets it.
    drop(client);
    let line = server.await_line("connection ended");
    assert!(line.contains("reason=\"client reset\""), "{line}");
}

#[test]
fn the_childs_environment_has_the_addresses_of_the_connection() {
    let server = Server::start("environment", &[]);
    let mut client = server.connect_to_child();
    let text = String::from_utf8(rest(&mut client)).unwrap();
    let (own, there) = (client.local_addr().unwrap().port(), server.address.port());
    for expected in [
        "REMOTE_ADDR=127.0.0.1\n".to_owned(),
        format!("REMOTE_PORT={own}\n"),
        "PROTO=TCP\n".to_owned(),
        format!("TCPREMOTEPORT={own}\n"),
        "TCPLOCALIP=127.0.0.1\n".to_owned(),
        format!("TCPLOCALPORT={there}\n"),
    ] {
        assert!(text.contains(&expected), "{expected} is not in {text}");
    }
}

#[test]
fn standard_error_is_logged_line_by_line() {
    let server = Server::start("complain", &[]);
    let mut client = server.connect_to_child();
    assert_eq!(rest(&mut client), b"");
    server.await_line("stderr=\"first complaint\"");
    server.await_line("stderr=\"second \u{fffd} one\"");
    server.await_line("stderr=unfinished");
}

#[test]
fn standard_error_can_go_to_the_client() {
    let server = Server::start("complain", &["--merge-stderr"]);
    let mut client = server.connect_to_child();
    assert_eq!(
        rest(&mut client),
        b"first complaint\nsecond \xff one\nunfinished"
    );
}

#[test]
fn a_program_that_does_not_exist_ends_only_its_connection() {
    let mut command = tidewaiter();
    command.args(["serve", "127.0.0.1:0", "--", "no-such-program-anywhere"]);
    let server = Server::run(command);
    for _ in 0..2 {
        assert_eq!(rest(&mut server.connect()), b"");
        let line = server.await_line("cannot start");
        assert!(line.contains("no-such-program-anywhere"), "{line}");
        server.await_line("reason=\"spawn failed\"");
    }
}

#[test]
#[cfg(unix)]
fn the_log_reports_the_signal_that_killed_a_child() {
    let server = Server::start("stay", &[]);
    let line = {
        let mut client = server.connect_to_child();
        let connected = server.await_line("msg=connected");
        crate::shutdown::kill(field(&connected, "pid"));
        assert_eq!(rest(&mut client), b"");
        server.await_line("connection ended")
    };
    assert!(line.contains("exit=\"signal 9\""), "{line}");
    assert!(line.contains("reason=\"child ended\""), "{line}");
}

#[test]
fn a_process_that_a_child_left_running_does_not_keep_the_connection() {
    let server = Server::start("leave-grandchild", &[]);
    let mut client = server.connect_to_child();
    // The grandchild would hold the pipes for longer than we wait.
    rest(&mut client);
    let line = server.await_line("connection ended");
    assert!(line.contains("exit=\"exit code 0\""), "{line}");
}

#[test]
fn ipv6_is_served_too() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        // This machine has no IPv6: the server must report that.
        let mut command = tidewaiter();
        let output = command.args(["serve", "[::1]:0", "--", "x"]).output();
        assert_eq!(output.unwrap().status.code(), Some(1));
        return;
    }
    let server = Server::start_on("[::1]:0", "environment", &[]);
    assert!(server.address.is_ipv6());
    let text = String::from_utf8(rest(&mut server.connect_to_child())).unwrap();
    for expected in ["REMOTE_ADDR=::1\n", "PROTO=TCP6\n", "TCPLOCALIP=::1\n"] {
        assert!(text.contains(expected), "{expected} is not in {text}");
    }
}

#[test]
fn a_host_name_is_served_at_its_address() {
    let server = Server::start_on("localhost:0", "echo", &[]);
    assert!(server.address.ip().is_loopback());
    assert_eq!(exchange(&mut server.connect_to_child(), b"hello"), b"hello");
}
