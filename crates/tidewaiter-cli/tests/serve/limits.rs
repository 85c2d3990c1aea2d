//! Running out of descriptors, where a shell can limit them.
#![cfg(unix)]

use std::net::Shutdown;
use std::process::Command;
use std::time::Duration;

use crate::support::{Server, await_ready, connect, exchange, rest, serve};

/// A server to which `ulimit` applies.
fn start(limit: &str, options: &[&str]) -> Server {
    let mut command = Command::new("sh");
    let script = format!("ulimit {limit}; exec \"$0\" \"$@\"");
    command
        .args(["-c", &script])
        .arg(env!("CARGO_BIN_EXE_tidewaiter"));
    serve(&mut command, "127.0.0.1:0", "echo", options);
    Server::run(command)
}

#[test]
fn the_limit_is_raised_as_far_as_it_goes() {
    let server = start("-Sn 32", &[]);
    let mut clients: Vec<_> = (0..20).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(await_ready);
}

#[test]
fn accepting_pauses_when_descriptors_run_out_and_goes_on_afterwards() {
    let server = start("-n 30", &["--metrics", "127.0.0.1:0"]);
    let metrics = server.address_in("serving metrics");
    let mark = format!("msg=\"{metrics}: accept");
    // These cost one descriptor each, and no child.
    let idle: Vec<_> = (0..32).map(|_| connect(metrics)).collect();
    let paused = server.await_line("accepting pauses");
    assert!(paused.contains(&mark), "{paused}");
    // This one waits, or finds that there are some again already.
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

/// Goal: at the limit, whoever cannot be served waits, and is served in turn.
/// Method: more clients than there are descriptors for, each of which needs four others to go first.
#[test]
fn without_descriptors_for_children_connections_wait_and_none_is_dropped() {
    let server = start("-n 40", &[]);
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

/// Goal: those who gave up waiting leave nothing behind: whoever comes next is served.
#[test]
fn clients_that_are_reset_while_they_wait_hold_nobody_up() {
    let server = start("-n 40", &[]);
    for _ in 0..3 {
        let clients: Vec<_> = (0..24).map(|_| server.connect()).collect();
        server.await_line("connections wait");
        for client in clients {
            rustix::net::sockopt::set_socket_linger(&client, Some(Duration::ZERO))
                .expect("closing it resets it");
        }
        assert_eq!(exchange(&mut server.connect_to_child(), b"hello"), b"hello");
    }
}
