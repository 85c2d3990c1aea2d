//! Running out of descriptors, where a shell can limit them.
#![cfg(unix)]

use std::io::Read;
use std::process::Command;

use crate::support::{Server, await_ready, connect, exchange, serve};

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

#[test]
fn a_child_without_descriptors_costs_its_connection_alone() {
    let server = start("-n 40", &[]);
    let mut clients = Vec::new();
    // The place for a child runs out before the one for a connection does.
    let failed = loop {
        clients.push(server.connect());
        let lines = server.lines_up_to("peer=");
        let line = lines.into_iter().next_back().expect("it was awaited");
        if !line.contains("msg=connected") {
            break line;
        }
    };
    assert!(failed.contains("cannot start"), "{failed}");
    let mut refused = clients.pop().expect("it is the last one");
    assert_eq!(refused.read(&mut [0]).expect("it ends in order"), 0);
    assert!(clients.len() > 1, "{}", clients.len());
    server.await_line("reason=\"spawn failed\"");
    drop(clients.pop());
    server.await_line("connection ended");
    assert_eq!(exchange(&mut server.connect_to_child(), b"hello"), b"hello");
}
