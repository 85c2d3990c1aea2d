//! Shortages of descriptors, on systems where a shell can limit them.
#![cfg(unix)]

use std::net::Shutdown;
use std::process::Command;
use std::time::Duration;

use crate::support::{Server, await_ready, connect, exchange, field, metrics, rest, serve};

/// Starts a server under `ulimit`.
pub(crate) fn start(limit: &str, options: &[&str]) -> Server {
    let mut command = Command::new("sh");
    let script = format!("ulimit {limit}; exec \"$0\" \"$@\"");
    command
        .args(["-c", &script])
        .arg(env!("CARGO_BIN_EXE_tidewaiter"));
    serve(&mut command, "127.0.0.1:0", "echo", options);
    Server::run(command)
}

/// Connects more clients than the descriptors allow at once, of which none may be dropped.
pub(crate) fn expect_all_served_in_turn(server: &Server) {
    let mut clients: Vec<_> = (0..24).map(|_| server.connect()).collect();
    server.await_line("connections wait");
    for client in &mut clients {
        await_ready(client);
        assert_eq!(exchange(client, b"hello"), b"hello");
        client.shutdown(Shutdown::Write).expect("it is open");
        assert_eq!(rest(client), b"");
    }
    for _ in &clients {
        let line = server.await_line("connection ended");
        assert!(line.contains("exit=\"exit code 0\""), "{line}");
    }
}

#[test]
fn the_soft_limit_is_raised_to_the_hard_limit() {
    let server = start("-Sn 32", &[]);
    let mut clients: Vec<_> = (0..20).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(await_ready);
}

#[test]
fn accepting_pauses_when_descriptors_run_out_and_goes_on_afterwards() {
    let server = start("-n 30", &["--metrics", "127.0.0.1:0"]);
    let metrics = server.address_in("serving metrics");
    let mark = format!("msg=\"{metrics}: accept");
    // Clients of the metrics take one descriptor each, and no child.
    let idle: Vec<_> = (0..32).map(|_| connect(metrics)).collect();
    let paused = server.await_line("accepting pauses");
    assert!(paused.contains(&mark), "{paused}");
    // This client waits, or finds that descriptors are free again already.
    let waiting = server.connect();
    drop(idle);
    let until = format!("{metrics}: accepting connections again");
    let lines = server.lines_up_to(&until);
    let repeated = lines
        .iter()
        .filter(|line| line.contains("accepting pauses"));
    assert!(repeated.filter(|line| line.contains(&mark)).count() == 0);
    drop(waiting);
    server.await_line("connection ended");
    assert_eq!(exchange(&mut server.connect_to_child(), b"hello"), b"hello");
}

/// Goal: at the limit, connections that cannot be served wait, and are served in turn.
/// Method: more clients than the descriptors allow; each waiting client needs descriptors that an earlier one frees.
#[test]
fn without_descriptors_for_children_connections_wait_and_none_is_dropped() {
    let server = start("-n 40", &["--max-clients", "unlimited"]);
    expect_all_served_in_turn(&server);
}

/// Goal: connections that are reset while they wait leave nothing behind, so that the next client is served.
#[test]
fn clients_that_are_reset_while_they_wait_do_not_block_the_next() {
    let server = start("-n 40", &["--max-clients", "unlimited"]);
    for _ in 0..3 {
        let clients: Vec<_> = (0..24).map(|_| server.connect()).collect();
        server.await_line("connections wait");
        for client in clients {
            rustix::net::sockopt::set_socket_linger(&client, Some(Duration::ZERO))
                .expect("the option can be set");
        }
        assert_eq!(exchange(&mut server.connect_to_child(), b"hello"), b"hello");
    }
}

/// Goal: without `--max-clients`, the server serves no more clients at once than the limit of descriptors carries, and
/// says so.
#[test]
fn the_default_limit_on_clients_is_lowered_to_what_the_system_carries() {
    let server = start("-n 42", &["--metrics", "127.0.0.1:0"]);
    let listening = server.beginning.last().expect("it is there");
    assert_eq!(field(listening, "max_clients"), "2");
    let mut lines = server.beginning.iter();
    let said =
        "serving 2 clients at once instead of 1000: the limit of 42 open files carries no more";
    assert!(lines.any(|line| line.contains(said)), "{lines:?}");
    let text = metrics(server.address_in("serving metrics"));
    assert!(text.contains("\ntidewaiter_max_clients 2\n"), "{text}");
    let served = [server.connect_to_child(), server.connect_to_child()];
    let mut waiting = server.connect();
    server.await_line("full: accepting pauses");
    drop(served);
    await_ready(&mut waiting);
}

#[test]
fn a_limit_on_clients_that_was_asked_for_is_kept_with_a_warning() {
    let server = start("-n 42", &["--max-clients", "3"]);
    let listening = server.beginning.last().expect("it is there");
    assert_eq!(field(listening, "max_clients"), "3");
    let said = "the limit of 42 open files carries 2 clients at once";
    let mut lines = server.beginning.iter();
    assert!(lines.any(|line| line.contains(said)), "{lines:?}");
}

#[test]
fn without_a_limit_on_clients_the_server_says_unlimited() {
    let options = ["--max-clients", "unlimited", "--metrics", "127.0.0.1:0"];
    let server = start("-n 42", &options);
    let listening = server.beginning.last().expect("it is there");
    assert_eq!(field(listening, "max_clients"), "unlimited");
    let text = metrics(server.address_in("serving metrics"));
    assert!(text.contains("\ntidewaiter_max_clients +Inf\n"), "{text}");
}

#[test]
fn a_child_opens_no_more_files_than_its_limit() {
    let mut command = crate::support::tidewaiter();
    let served = ["127.0.0.1:0", "--", "sh", "-c", "ulimit -n"];
    command
        .args(["serve", "--limit-open-files", "123"])
        .args(served);
    let server = Server::run(command);
    assert_eq!(rest(&mut server.connect()), b"123\n");
}
