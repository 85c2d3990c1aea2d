//! Which processes the server reaps.
#![cfg(target_os = "linux")]

use std::process::{Command, Stdio};

use crate::support::{Server, rest, within_patience};

/// A script that leaves a process behind. The process lives until its input ends, as the session ends.
const LEAVES_ORPHAN: &str = "exec 3<&0; cat <&3 >/dev/null 2>&1 & echo left";

/// Starts a server whose command line follows `program` and `args`; its children run `script`.
fn start(program: &str, args: &[&str], script: &str) -> Server {
    let mut command = Command::new(program);
    command.args(args).arg(env!("CARGO_BIN_EXE_tidewaiter"));
    command.args(["serve", "-v", "127.0.0.1:0", "--", "sh", "-c", script]);
    Server::run(command)
}

/// The children of a process that are zombies.
fn zombies(pid: u32) -> usize {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let children = std::fs::read_to_string(path).expect("it runs");
    let is_zombie = |child: &&str| {
        let status = std::fs::read_to_string(format!("/proc/{child}/status"));
        status.is_ok_and(|status| status.contains("\nState:\tZ"))
    };
    children.split_whitespace().filter(is_zombie).count()
}

#[test]
fn as_the_first_process_it_reaps_orphans() {
    const UNSHARE: [&str; 6] = [
        "--user",
        "--map-root-user",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
    ];
    let mut possible = Command::new("unshare");
    possible.args(UNSHARE).arg("true").stderr(Stdio::null());
    if !possible.status().is_ok_and(|status| status.success()) {
        // This machine does not allow us to make a container.
        return;
    }
    let server = start("unshare", &UNSHARE, LEAVES_ORPHAN);
    for _ in 0..3 {
        assert_eq!(rest(&mut server.connect()), b"left\n");
        // Both lines appear, in either order.
        let lines = [
            server.await_any(&["reaped an orphan", "connection ended"]),
            server.await_any(&["reaped an orphan", "connection ended"]),
        ];
        let is_end = |line: &&String| line.contains("exit=\"exit code 0\"");
        assert_eq!(lines.iter().filter(is_end).count(), 1, "{lines:?}");
    }
}

/// Goal: the server does not reap children of the program that called `exec` to become the server.
#[test]
fn as_any_other_process_it_reaps_only_its_own_children() {
    let script = "true & exec \"$@\"";
    let server = start("sh", &["-c", script, "sh"], LEAVES_ORPHAN);
    within_patience("the first child has ended", || zombies(server.pid()) == 1);
    assert_eq!(rest(&mut server.connect()), b"left\n");
    server.await_line("connection ended");
    assert_eq!(zombies(server.pid()), 1);
}

#[test]
fn the_exit_status_is_known_even_if_the_server_is_started_with_sigchld_ignored() {
    let ignoring = "trap '' CHLD; exec \"$@\"";
    let server = start("sh", &["-c", ignoring, "sh"], "exit 42");
    assert_eq!(rest(&mut server.connect()), b"");
    let line = server.await_line("connection ended");
    assert!(line.contains("exit=\"exit code 42\""), "{line}");
}
