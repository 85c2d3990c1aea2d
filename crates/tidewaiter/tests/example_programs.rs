//! Tests of the examples that end by themselves: they run as programs.
//!
//! The examples are compiled into this file, so that the tests run the code that the documentation shows. A program is this
//! executable, started again.

use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::thread;

#[path = "../examples/child.rs"]
mod child;
#[path = "../examples/client.rs"]
mod client;
#[path = "../examples/hand_over.rs"]
mod hand_over;
#[cfg(windows)]
#[path = "../examples/hand_over_windows.rs"]
mod hand_over_windows;
#[path = "../examples/job_runner.rs"]
mod job_runner;
#[path = "../examples/pipe.rs"]
mod pipe;
#[path = "../examples/simulated.rs"]
mod simulated;
#[path = "../examples/simulated_tasks.rs"]
mod simulated_tasks;
#[path = "support/starting.rs"]
mod starting;
#[path = "../examples/udp.rs"]
mod udp;
#[path = "../examples/unix_socket.rs"]
mod unix_socket;

use starting::start;

/// The variable that names the example to run, in the process that [`run`] starts.
const EXAMPLE: &str = "TIDEWAITER_TEST_EXAMPLE";

/// An address at which nobody listens: no OS assigns this port.
const DESERTED: &str = "127.0.0.1:1";

/// A loopback address with a port of the OS's choice.
const ANY_PORT: &str = "127.0.0.1:0";

/// The command that runs the example `name`.
fn command(name: &str, words: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("we are a program"));
    // The test harness of that process takes these words for names of tests that do not exist.
    command
        .args(words)
        .args(["--exact", "is_an_example", "--nocapture"])
        .env(EXAMPLE, name);
    command
}

/// Runs the example `name` to its end, and returns what it printed.
fn run(name: &str, words: &[&str]) -> String {
    let mut command = command(name, words);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let started = start(&mut command).expect("the example starts");
    let output = started.wait_with_output().expect("it is our child");
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    text.replace("\r\n", "\n")
}

/// The entry point of the processes that [`run`] starts. In any other process, this test does nothing.
#[test]
fn is_an_example() -> Result<(), Box<dyn Error>> {
    match std::env::var(EXAMPLE).as_deref() {
        Ok("child") => child::main(),
        Ok("client") => client::main(),
        Ok("hand_over") => hand_over::main(),
        #[cfg(windows)]
        Ok("hand_over_windows") => hand_over_windows::main(),
        Ok("job_runner") => job_runner::main(),
        Ok("pipe") => pipe::main(),
        Ok("simulated") => simulated::main(),
        Ok("simulated_tasks") => simulated_tasks::main(),
        Ok("unix_socket") => unix_socket::main(),
        Ok("udp") => udp::main(),
        _ => Ok(()),
    }
}

#[test]
fn the_udp_server_answers() {
    let output = run("udp", &[]);
    assert!(output.contains("answered: hello\n"), "{output}");
}

#[test]
fn the_client_prints_the_answer_or_why_there_is_none() {
    let server = TcpListener::bind(ANY_PORT).expect("a free address");
    let address = server.local_addr().expect("it listens").to_string();
    let serving = thread::spawn(move || {
        let (mut stream, _) = server.accept().expect("the client connects");
        let mut line = [0; 6];
        stream.read_exact(&mut line).expect("the client asks");
        stream.write_all(b"answer to ").expect("the client listens");
        stream.write_all(&line).expect("the client listens");
        // Reads the second request, and does not answer it.
        let (mut stream, _) = server.accept().expect("the client connects");
        let mut question = Vec::new();
        let ended = stream.read_to_end(&mut question);
        (question, ended.map_err(|error| error.kind()))
    });
    let answered = run("client", &[&address, "first"]);
    assert!(
        answered.contains("answer to first\nclosed in order"),
        "{answered}"
    );
    let late = run("client", &[&address, "second"]);
    assert!(late.contains("no answer within 3s"), "{late}");
    let (_, ended) = serving.join().expect("the server did its part");
    assert_eq!(ended, Err(std::io::ErrorKind::ConnectionReset));
    let refused = run("client", &[DESERTED, "third"]);
    assert!(
        refused.contains(&format!("{DESERTED} refused the connection")),
        "{refused}"
    );
}

#[test]
fn the_childs_events_are_printed_in_order() {
    let said = run("child", &[]);
    let at = |what: &str| {
        said.find(what)
            .unwrap_or_else(|| panic!("no {what:?} in {said}"))
    };
    assert!(at("parent: the child runs") < at("PORT"));
    assert!(at("PROTOCOL") < at("parent: pipe 1 is closed"));
    assert!(at("that was all") < at("parent: pipe 2 is closed"));
    let end = at("parent: the child has ended: exit code 0");
    for event in ["pipe 0 is closed", "pipe 1 is closed", "pipe 2 is closed"] {
        assert!(at(event) < end, "{said}");
    }
    assert!(at("parent: the child exited: exit code 0") < end);
}

#[test]
fn messages_come_back_over_the_pipe_one_by_one() {
    let said = run("pipe", &[]);
    let expected = "answered: one\nanswered: two\nclosed in order\n";
    assert!(said.contains(expected), "{said}");
}

/// Goal: what the job runner prints reaches a program that reads its output.
#[test]
fn the_job_runner_prints_into_a_pipe() {
    let echo = if cfg!(windows) { "cmd /c echo" } else { "echo" };
    let mut command = command("job_runner", &["2", "60"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut runner = start(&mut command).expect("the example starts");
    let mut jobs = runner.stdin.take().expect("it is a pipe");
    write!(jobs, "{echo} one\n{echo} two\n").expect("the example reads them");
    drop(jobs);
    let output = runner.wait_with_output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    for word in ["one", "two"] {
        let expected = format!("{echo} {word}: exit code 0: {word}");
        assert!(said.contains(&expected), "{said}");
    }
}

#[test]
fn the_simulated_protocol_passes_its_own_test() {
    let said = run("simulated", &[]);
    assert!(said.contains("50 simulations"), "{said}");
}

#[test]
fn the_simulated_tasks_pass_their_own_test() {
    let said = run("simulated_tasks", &[]);
    assert!(said.contains("50 simulations"), "{said}");
}

#[cfg(unix)]
#[test]
fn the_unix_socket_passes_a_file() {
    let folder = std::env::temp_dir();
    let name = |kind| folder.join(format!("tw-example-{}.{kind}", std::process::id()));
    let (socket, file) = (name("sock"), name("txt"));
    std::fs::write(&file, "eleven byte").expect("it is written");
    let text = |path: &std::path::Path| path.to_str().expect("plain text").to_owned();
    let told = run("unix_socket", &[&text(&socket), &text(&file)]);
    std::fs::remove_file(&file).expect("it is there");
    assert!(
        told.contains("the file has 11 bytes\nwith it came: read this\n"),
        "{told}"
    );
    assert!(!socket.exists());
}

/// Goal: the worker serves the client, whether it comes before the worker or after.
#[cfg(unix)]
#[test]
fn a_client_is_served_by_the_process_that_got_the_listener() {
    let folder = std::env::temp_dir();
    let path = folder.join(format!("tw-hand-over-{}.sock", std::process::id()));
    let address = format!("unix:{}", path.display());
    let client = thread::spawn(move || {
        use std::os::unix::net::UnixStream;
        let begun = std::time::Instant::now();
        let mut client = loop {
            match UnixStream::connect(&path) {
                Ok(client) => break client,
                Err(error) => assert!(
                    begun.elapsed() < std::time::Duration::from_secs(60),
                    "{error}"
                ),
            }
            thread::yield_now();
        };
        let mut said = String::new();
        client.read_to_string(&mut said).expect("it is text");
        said
    });
    let told = run("hand_over", &[&address]);
    assert!(told.contains(&format!("listening on {address}")), "{told}");
    assert!(told.contains("the worker has ended: exit code 0"), "{told}");
    let said = client.join().expect("it was served");
    assert_eq!(said, "hello from the worker\n");
}

/// Goal: the worker serves a client with its copy of the listener.
#[cfg(windows)]
#[test]
fn a_client_is_served_by_the_process_that_got_a_copy_of_the_listener() {
    use std::io::{BufRead, BufReader};
    let mut command = command("hand_over_windows", &[ANY_PORT]);
    let mut parent = start(command.stdout(Stdio::piped())).expect("the example starts");
    let mut lines = BufReader::new(parent.stdout.take().expect("it is a pipe")).lines();
    let mut told = |start: &str| {
        let line = lines.by_ref().map_while(Result::ok);
        let line = line.filter_map(|line| Some(line.strip_prefix(start)?.trim().to_owned()));
        { line }.next().expect("the example tells it")
    };
    let address: std::net::SocketAddr = told("listening on ").parse().expect("an address");
    let mut client = std::net::TcpStream::connect(address).expect("it listens");
    let mut said = String::new();
    client.read_to_string(&mut said).expect("it is text");
    assert_eq!(said, "hello from the worker\n");
    assert_eq!(told("the worker has ended: "), "exit code 0");
    assert!(parent.wait().expect("it runs").success());
}
