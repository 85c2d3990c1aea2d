//! Tests of the examples.
//!
//! The examples are compiled into this file, so that the tests run the code that the documentation shows.
//! Examples that end by themselves run as programs: this executable, started again.
#![allow(
    dead_code,
    reason = "the tests do not call the `main` of every example"
)]

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::error::Error;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tidewaiter::port::sim::Sim;
use tidewaiter::{Address, Protocol, Reactor, Reason, Transport};

#[path = "../examples/async_chat.rs"]
mod async_chat;
#[path = "../examples/child.rs"]
mod child;
#[path = "../examples/client.rs"]
mod client;
#[path = "../examples/directory.rs"]
mod directory;
#[path = "../examples/echo.rs"]
mod echo;
#[path = "../examples/file_server.rs"]
mod file_server;
#[path = "../examples/hand_over.rs"]
mod hand_over;
#[cfg(windows)]
#[path = "../examples/hand_over_windows.rs"]
mod hand_over_windows;
#[path = "../examples/job_runner.rs"]
mod job_runner;
#[path = "../examples/pipe.rs"]
mod pipe;
#[path = "../examples/proxy.rs"]
mod proxy;
#[path = "../examples/serial.rs"]
mod serial;
#[path = "../examples/several_reactors.rs"]
mod several_reactors;
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
#[path = "../examples/watch.rs"]
mod watch;

use starting::start;

/// The variable that names the example to run, in the process that [`run`] starts.
const EXAMPLE: &str = "TIDEWAITER_TEST_EXAMPLE";

/// An address at which nobody listens: no OS assigns this port.
const DESERTED: &str = "127.0.0.1:1";

fn any_port() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

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

/// Sends `request`, ends its side, and returns the whole answer.
fn talk(address: Address, request: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).expect("the server listens");
    let mut writer = stream.try_clone().expect("a stream is shared");
    thread::scope(|scope| {
        scope.spawn(move || {
            writer.write_all(request).expect("the other side reads");
            writer.shutdown(Shutdown::Write).expect("it still does");
        });
        let mut answer = Vec::new();
        stream
            .read_to_end(&mut answer)
            .expect("the end comes in order");
        answer
    })
}

/// Runs `client` on a thread while `reactor` runs on this one.
fn run_with<T: Send + 'static>(
    reactor: &Reactor,
    client: impl FnOnce() -> T + Send + 'static,
) -> T {
    let remote = reactor.remote();
    let thread: JoinHandle<T> = thread::spawn(move || {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(client));
        remote.stop().expect("the reactor runs until now");
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    reactor.run().expect("the port works");
    thread.join().expect("the client succeeds")
}

fn megabytes() -> Vec<u8> {
    (0..3_000_000_u32)
        .map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1])
        .collect()
}

#[test]
fn the_echo_server_sends_everything_back() {
    let reactor = Reactor::builder().signals(false).build().expect("a port");
    let listener = echo::serve(&reactor, any_port()).expect("a free address");
    let address = listener.local_addr();
    let same = run_with(&reactor, move || talk(address, &megabytes()) == megabytes());
    assert!(same);
}

#[test]
fn the_chat_passes_lines_to_all_others() {
    let reactor = Reactor::builder().signals(false).build().expect("a port");
    let listener = tidewaiter::io::Listener::bind(&reactor, any_port()).expect("a free address");
    let address = listener.local_addr().socket_addr().expect("it is one");
    reactor.spawn(async_chat::serve(reactor.clone(), listener));
    let lines = run_with(&reactor, move || {
        let [mut first, mut second] =
            [(); 2].map(|()| TcpStream::connect(address).expect("it listens"));
        let mut lines = Vec::new();
        for text in ["one\n", "two\n"] {
            second.write_all(text.as_bytes()).expect("it is open");
            let mut line = [0; 4];
            first.read_exact(&mut line).expect("the others get it");
            lines.push(line);
            std::mem::swap(&mut first, &mut second);
        }
        lines
    });
    assert_eq!(lines, [*b"one\n", *b"two\n"]);
}

#[test]
fn the_chat_disconnects_those_that_do_not_read() {
    const LINE: &[u8] = &[b'x'; 4095];
    const ROUNDS: usize = 256;
    let reactor = Reactor::builder().signals(false).build().expect("a port");
    let listener = tidewaiter::io::Listener::bind(&reactor, any_port()).expect("a free address");
    let address = listener.local_addr().socket_addr().expect("it is one");
    reactor.spawn(async_chat::serve(reactor.clone(), listener));
    let (sent, received) = run_with(&reactor, move || {
        let [mut writer, mut reader, mut slow] =
            [(); 3].map(|()| TcpStream::connect(address).expect("it listens"));
        // Each line shows that its sender is a member.
        for member in [&mut reader, &mut slow] {
            member.write_all(b"here\n").expect("it is open");
            writer.read_exact(&mut [0; 5]).expect("the others get it");
        }
        let lines = [LINE, b"\n"].concat().repeat(16);
        let mut same = vec![0; lines.len()];
        reader
            .read_exact(&mut same[..5])
            .expect("it was there first");
        for _ in 0..ROUNDS {
            writer.write_all(&lines).expect("it is open");
            reader.read_exact(&mut same).expect("it reads all");
            assert!(same == lines);
        }
        let mut received = Vec::new();
        // The system may drop what was not read.
        let _ = slow.read_to_end(&mut received);
        (ROUNDS * lines.len(), received.len())
    });
    assert!(received < sent, "{received} of {sent} bytes were received");
}

#[test]
fn the_watch_of_a_directory_tells_what_happens() {
    let name = format!("tidewaiter-example-{}", std::process::id());
    let path = std::env::temp_dir().join(name);
    std::fs::create_dir(&path).expect("a new name");
    let reactor = Reactor::builder().signals(false).build().expect("a port");
    let told = Rc::new(RefCell::new(Vec::new()));
    let (lines, stopping) = (Rc::clone(&told), reactor.clone());
    let watch = directory::watch(&reactor, &path, move |line| {
        if line == "created last" {
            stopping.stop();
        }
        lines.borrow_mut().push(line);
    });
    let watched = match watch {
        // Neither Linux nor Windows.
        Err(error) if error.kind() == std::io::ErrorKind::Unsupported => false,
        watch => watch.is_ok(),
    };
    if watched {
        reactor.iterate(Duration::ZERO).expect("the port works");
        std::fs::create_dir(path.join("first")).expect("a new name");
        std::fs::rename(path.join("first"), path.join("second")).expect("another name");
        std::fs::create_dir(path.join("last")).expect("a new name");
        reactor.run().expect("the port works");
        let expected = ["created first", "first is now second", "created last"];
        let mut told = told.take();
        told.retain(|line| !line.starts_with("changed"));
        assert_eq!(told, expected);
    }
    std::fs::remove_dir_all(&path).expect("it is ours");
}

#[test]
fn a_serial_port_that_is_not_there_is_refused() {
    let reactor = Reactor::builder().signals(false).build().expect("a port");
    let refused = serial::open(&reactor, "no-such-port", 9600).expect_err("there is none");
    assert_eq!(refused.kind(), std::io::ErrorKind::NotFound);
}

#[test]
fn the_udp_server_answers() {
    let output = run("udp", &[]);
    assert!(output.contains("answered: hello\n"), "{output}");
}

#[test]
fn the_file_server_sends_files_of_its_directory_only() {
    let directory = std::env::temp_dir().join(format!("tidewaiter-served-{}", std::process::id()));
    std::fs::create_dir(&directory).expect("it is new");
    std::fs::write(directory.join("large"), megabytes()).expect("there is room");
    let reactor = Reactor::builder().signals(false).build().expect("a port");
    let served = file_server::serve(&reactor, directory.clone(), any_port());
    let address = served.expect("a free address").local_addr();
    run_with(&reactor, move || {
        assert!(talk(address.clone(), b"large\n") == megabytes());
        let missing = talk(address.clone(), b"small\n");
        assert!(String::from_utf8_lossy(&missing).contains("small"));
        assert_eq!(talk(address, b"../large\n"), b"no such file\n");
    });
    std::fs::remove_dir_all(directory).expect("it is still there");
}

/// Goal: none of the echoes in the documentation holds more than a bounded amount for a peer that does not
/// read.
#[test]
fn every_documented_echo_reads_no_faster_than_its_peer() {
    for shown in [
        include_str!("../../../README.md"),
        include_str!("../src/lib.rs"),
        include_str!("../src/transport/group.rs"),
        include_str!("../examples/echo.rs"),
    ] {
        let (_, echo) = shown.split_once("impl Protocol for Echo").expect("an echo");
        let (made, _) = echo.split_once("fn data_received").expect("it receives");
        assert!(
            made.contains("transport.pause_while_congested();"),
            "{echo}"
        );
    }
}

#[test]
fn the_echo_reads_no_faster_than_its_client() {
    let sim = Sim::new(1);
    let reactor = Reactor::builder().simulation(&sim).build().expect("a port");
    let echo = echo::serve(&reactor, any_port()).expect("a free address");
    let client = Rc::new(RefCell::new(None));
    let taken = Rc::new(RefCell::new(Vec::new()));
    let (connected, taking) = (Rc::clone(&client), Rc::clone(&taken));
    reactor.connect_tcp(echo.local_addr(), move |_| {
        End::Both(Rc::clone(&connected), Rc::clone(&taking))
    });
    let left = Rc::new(Cell::new(0));
    let counted = Rc::clone(&left);
    reactor.call_later(NAP / 2, move |_| {
        counted.set(client.borrow().as_ref().map_or(0, Transport::queued));
    });
    reactor.run().expect("the port works");
    // The bytes on their way are in the connection's buffers and in the echo's queue, of 64 KiB each.
    assert!(left.get() > megabytes().len() - 512 * 1024, "{left:?}");
    assert!(*taken.borrow() == megabytes());
}

#[test]
fn the_proxy_passes_data_and_half_closes_on_both_ways() {
    let reactor = Reactor::builder().signals(false).build().expect("a port");
    let server = TcpListener::bind(any_port()).expect("a free address");
    let target = server.local_addr().expect("it listens");
    let target = target.to_string().parse().expect("an address is a target");
    let listener = proxy::serve(&reactor, any_port(), target).expect("a free address");
    let address = listener.local_addr();
    // The server answers only after it has received the whole request, including its end.
    let server = thread::spawn(move || {
        let (mut stream, _) = server.accept().expect("the proxy connects");
        let mut request = Vec::new();
        stream
            .read_to_end(&mut request)
            .expect("the end comes in order");
        request.reverse();
        stream.write_all(&request).expect("the proxy reads");
    });
    let answer = run_with(&reactor, move || talk(address, &megabytes()));
    server.join().expect("the server did its part");
    assert!(answer.into_iter().rev().eq(megabytes()));
    let metrics = reactor.metrics();
    assert_eq!(
        (metrics.accepted, metrics.connected, metrics.live),
        (1, 1, 0)
    );
}

/// Sends many bytes, or begins to read only after a while.
enum End {
    Sender(Rc<RefCell<Option<Transport>>>),
    Sluggard(Rc<RefCell<Vec<u8>>>),
    Both(Rc<RefCell<Option<Transport>>>, Rc<RefCell<Vec<u8>>>),
}

const NAP: Duration = Duration::from_secs(60);

impl Protocol for End {
    fn connection_made(&mut self, transport: &Transport) {
        if let End::Sender(own) | End::Both(own, _) = self {
            transport.write_bytes(megabytes());
            transport.lose_write_connection();
            own.replace(Some(transport.clone()));
        }
        if let End::Sluggard(_) | End::Both(..) = self {
            transport.pause_producing();
            let own = transport.clone();
            let awake = move |_: &Reactor| own.resume_producing();
            transport.reactor().call_later(NAP, awake);
        }
    }

    fn data_received(&mut self, _: &Transport, data: &[u8]) {
        if let End::Sluggard(taken) | End::Both(_, taken) = self {
            taken.borrow_mut().extend_from_slice(data);
        }
    }

    fn connection_lost(&mut self, transport: &Transport, reason: Reason) {
        assert!(reason.is_done(), "{reason}");
        if let End::Sluggard(_) | End::Both(..) = self {
            transport.reactor().stop();
        }
    }
}

#[test]
fn the_proxy_reads_from_one_side_no_faster_than_the_other_reads() {
    let sim = Sim::new(1);
    let reactor = Reactor::builder().simulation(&sim).build().expect("a port");
    let taken = Rc::new(RefCell::new(Vec::new()));
    let taking = Rc::clone(&taken);
    let sluggard = reactor.listen_tcp(any_port(), move |_| End::Sluggard(Rc::clone(&taking)));
    let target = sluggard.expect("a free address").local_addr().to_string();
    let target = target.parse().expect("an address is a target");
    let proxy = proxy::serve(&reactor, any_port(), target).expect("a free address");
    let sender = Rc::new(RefCell::new(None));
    let sending = Rc::clone(&sender);
    reactor.connect_tcp(proxy.local_addr(), move |_| {
        End::Sender(Rc::clone(&sending))
    });
    let left = Rc::new(Cell::new(0));
    let counted = Rc::clone(&left);
    reactor.call_later(NAP / 2, move |_| {
        counted.set(sender.borrow().as_ref().map_or(0, Transport::queued));
    });
    reactor.run().expect("the port works");
    // The bytes on their way are in two connections' buffers and in the proxy's queue, of 64 KiB each.
    assert!(left.get() > megabytes().len() - 512 * 1024, "{left:?}");
    assert!(*taken.borrow() == megabytes());
}

#[test]
fn the_proxy_resets_a_client_when_it_cannot_connect() {
    let reactor = Reactor::builder().signals(false).build().expect("a port");
    let target = DESERTED.parse().expect("an address is a target");
    let listener = proxy::serve(&reactor, any_port(), target).expect("a free address");
    let address = listener.local_addr();
    let read = run_with(&reactor, move || {
        let mut stream = TcpStream::connect(address).expect("the proxy listens");
        stream.read(&mut [0; 16]).map_err(|error| error.kind())
    });
    // Wine shuts a socket down before it closes it, so a read at that moment sees an end of file first.
    let seen_by_halves = cfg!(windows) && read == Ok(0);
    assert!(
        seen_by_halves || read == Err(std::io::ErrorKind::ConnectionReset),
        "{read:?}"
    );
}

#[test]
fn the_client_prints_the_answer_or_why_there_is_none() {
    let server = TcpListener::bind(any_port()).expect("a free address");
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
fn several_reactors_share_a_listener() {
    let (group, listener) = several_reactors::serve(3, any_port()).expect("a free address");
    let greetings: BTreeSet<Vec<u8>> = (0..100).map(|_| talk(listener.local_addr(), b"")).collect();
    let expected: BTreeSet<Vec<u8>> = (0..3)
        .map(|number| format!("reactor {number} says hello\n").into_bytes())
        .collect();
    assert_eq!(greetings, expected);
    group.stop();
    group.join().expect("all of them ended well");
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

#[test]
fn the_watch_tells_what_arrives() {
    let reactor = Reactor::builder().signals(false).build().expect("a port");
    let socket = std::net::UdpSocket::bind(any_port()).expect("a free port");
    let address = socket.local_addr().expect("it is bound");
    let told = Rc::new(RefCell::new(Vec::new()));
    let noted = Rc::clone(&told);
    let watching = watch::watch(&reactor, socket, move |watch, data| {
        noted.borrow_mut().push(data.to_vec());
        if noted.borrow().len() == 2 {
            watch.stop();
            watch.reactor().stop();
        }
    });
    watching.expect("sockets can be watched");
    let sender = std::net::UdpSocket::bind(any_port()).expect("a free port");
    for text in ["one", "two"] {
        sender
            .send_to(text.as_bytes(), address)
            .expect("it is sent");
    }
    reactor.run().expect("the port works");
    assert_eq!(*told.borrow(), [b"one", b"two"]);
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
                Err(error) => assert!(begun.elapsed() < Duration::from_secs(60), "{error}"),
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
    let mut command = command("hand_over_windows", &["127.0.0.1:0"]);
    let mut parent = start(command.stdout(Stdio::piped())).expect("the example starts");
    let mut lines = BufReader::new(parent.stdout.take().expect("it is a pipe")).lines();
    let mut told = |start: &str| {
        let line = lines.by_ref().map_while(Result::ok);
        let line = line.filter_map(|line| Some(line.strip_prefix(start)?.trim().to_owned()));
        { line }.next().expect("the example tells it")
    };
    let address: SocketAddr = told("listening on ").parse().expect("an address");
    let mut client = TcpStream::connect(address).expect("it listens");
    let mut said = String::new();
    client.read_to_string(&mut said).expect("it is text");
    assert_eq!(said, "hello from the worker\n");
    assert_eq!(told("the worker has ended: "), "exit code 0");
    assert!(parent.wait().expect("it runs").success());
}
