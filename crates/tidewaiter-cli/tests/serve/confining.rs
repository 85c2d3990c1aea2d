//! The directory, environment, user and limits of the server's children.

use crate::child::ROLE;
use crate::support::{Server, rest};

/// The output of the child of one connection.
fn output(server: &Server) -> String {
    String::from_utf8_lossy(&rest(&mut server.connect_to_child())).into_owned()
}

#[test]
fn a_child_starts_in_its_directory_with_the_variables_that_were_set() {
    let directory = std::env::temp_dir().canonicalize().expect("there is one");
    let directory = directory.to_str().expect("it is text");
    let options = ["--chdir", directory, "--env", "A=1", "--env", "A=2=3"];
    let server = Server::start("surroundings", &options);
    let text = output(&server);
    let name = directory.trim_start_matches(r"\\?\");
    assert!(text.contains(name), "{name} is not in {text}");
    assert!(
        text.contains("\nA=2=3\n") && !text.contains("A=1"),
        "{text}"
    );
    assert!(text.contains("\nREMOTE_ADDR=127.0.0.1\n"), "{text}");
}

#[test]
fn a_cleared_environment_has_what_was_set_and_the_connections_variables() {
    let role = format!("{ROLE}=surroundings");
    // Programs for Windows do not start without it.
    let root = std::env::var("SystemRoot").unwrap_or_default();
    let root = format!("SystemRoot={root}");
    let options = ["--clear-env", "--env", &role, "--env", &root];
    // The variable of a connection cannot be replaced.
    let options = [&options[..], &["--env", "REMOTE_ADDR=x"]].concat();
    let server = Server::start("echo", &options);
    let text = output(&server);
    assert!(text.contains("\nREMOTE_ADDR=127.0.0.1\n"), "{text}");
    assert!(text.contains(&format!("\n{role}\n")), "{text}");
    assert!(!text.to_uppercase().contains("\nPATH="), "{text}");
}

/// Whether the system enforces limits. If not, the server says so for the connection.
fn enforces(server: &Server, name: &str) -> bool {
    if cfg!(unix) {
        return true;
    }
    // Wine enforces no limit.
    let _client = server.connect();
    let line = server.await_any(&["does not enforce", "connection ended"]);
    assert!(
        !line.contains("does not enforce") || line.contains(name),
        "{line}"
    );
    !line.contains("does not enforce")
}

#[test]
fn a_child_gets_no_more_memory_than_its_limit() {
    for (limit, answer) in [("150M", "refused"), ("1G", "allocated")] {
        let server = Server::start("allocate", &["--limit-memory", limit]);
        if enforces(&server, "memory") {
            assert_eq!(output(&server), answer, "{limit}");
        }
    }
}

#[test]
fn a_child_ends_when_its_cpu_time_is_used_up() {
    let server = Server::start("compute", &["--limit-cpu", "1s"]);
    if cfg!(windows) && !enforces(&server, "cpu_time") {
        return;
    }
    let _client = server.connect();
    let line = server.await_line("connection ended");
    let ends = ["exit=\"signal 24", "exit=\"exit code 1816"];
    assert!(ends.iter().any(|end| line.contains(end)), "{line}");
}

/// Goal: a limit that keeps COMMAND from starting at all is an error, and not a shortage that will pass.
#[cfg(unix)]
#[test]
fn a_command_that_does_not_fit_into_its_memory_ends_its_connection() {
    let server = Server::start("echo", &["--limit-memory", "64K"]);
    let _client = server.connect();
    server.await_line("connection ended");
}

#[cfg(unix)]
mod users {
    use crate::support::{Server, connect, rest, tidewaiter};

    /// The output of a shell's script that the server runs.
    fn told(options: &[&str], script: &str) -> String {
        let mut command = tidewaiter();
        let served = ["127.0.0.1:0", "--", "sh", "-c", script];
        command.args(["serve", "-v"]).args(options).args(served);
        let server = Server::run(command);
        String::from_utf8(rest(&mut connect(server.address))).expect("it is text")
    }

    /// Only root can run others' programs.
    fn is_root() -> bool {
        rustix::process::geteuid().is_root()
    }

    #[test]
    fn a_child_runs_as_the_user_and_group_given_by_number() {
        if is_root() {
            let options = ["--user", "4000000001", "--group", "4000000002"];
            let text = told(&options, "id -u; id -g; id -G");
            assert_eq!(text, "4000000001\n4000000002\n4000000002\n");
        }
    }

    #[test]
    fn a_child_runs_as_the_user_given_by_name_with_its_groups_and_home() {
        if is_root() {
            let text = told(
                &["--user", "daemon"],
                "id -un; echo $USER $LOGNAME $HOME; id -G",
            );
            let expected = told(
                &[],
                "id -un daemon; echo daemon daemon ~daemon; id -G daemon",
            );
            assert!(text.starts_with("daemon\ndaemon daemon /"), "{text}");
            assert_eq!(text, expected);
        }
    }
}

#[cfg(windows)]
#[test]
fn what_windows_does_not_have_is_refused() {
    for (option, value, said) in [
        ("--user", "x", "another user"),
        ("--limit-open-files", "9", "no such limit"),
    ] {
        let output = crate::command_line::run(&["serve", "localhost:1", option, value, "--", "x"]);
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{message}");
        assert!(message.contains(said), "{message}");
    }
}
