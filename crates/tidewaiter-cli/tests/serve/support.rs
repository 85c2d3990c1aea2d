//! Starts servers as processes, reads their logs, and connects clients to them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::child::{ARGS, READY, ROLE};
use crate::starting::start;

/// Time limit for every wait in these tests, far longer than any of them takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The command under test.
pub(crate) fn tidewaiter() -> Command {
    Command::new(env!("CARGO_BIN_EXE_tidewaiter"))
}

/// The same, where `nohup` or a shell's `&` had the tests ignore signals, which a child inherits.
#[cfg(unix)]
pub(crate) fn tidewaiter_with_default_signals() -> Command {
    let mut command = Command::new("env");
    command
        .arg("--default-signal=HUP,INT")
        .arg(env!("CARGO_BIN_EXE_tidewaiter"));
    command
}

/// Adds arguments that serve on `address` with children in `role`.
pub(crate) fn serve(command: &mut Command, address: &str, role: &str, options: &[&str]) {
    let program = std::env::current_exe().expect("we are a program");
    command
        .args(["serve", "-v"])
        .args(options)
        .args([address, "--"])
        .arg(program)
        .args(ARGS)
        .env(ROLE, role);
}

/// A running server. Dropping it kills it.
pub(crate) struct Server {
    process: Child,
    /// Where the server listens, as the log shows it.
    pub(crate) place: String,
    /// The same as an IP address, which it is unless the test chose another kind.
    pub(crate) address: SocketAddr,
    /// The first lines of the log, up to the one that has the address.
    pub(crate) beginning: Vec<String>,
    log: Receiver<String>,
    /// While this is set, the log is not read beyond the line that has the address.
    hold: Option<Sender<()>>,
    reading: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts a server on a free port with children in `role`.
    pub(crate) fn start(role: &str, options: &[&str]) -> Server {
        Server::start_on("127.0.0.1:0", role, options)
    }

    pub(crate) fn start_on(address: &str, role: &str, options: &[&str]) -> Server {
        let mut server = Server::start_unread(address, role, options);
        server.read_log();
        server
    }

    /// Starts a server, and leaves its log unread.
    pub(crate) fn start_unread(address: &str, role: &str, options: &[&str]) -> Server {
        let mut command = tidewaiter();
        serve(&mut command, address, role, options);
        Server::run_unread(command)
    }

    /// Starts the server of a given command line.
    pub(crate) fn run(command: Command) -> Server {
        let mut server = Server::run_unread(command);
        server.read_log();
        server
    }

    /// Starts the server of a given command line, with this standard input.
    #[cfg(unix)]
    pub(crate) fn run_with_input(command: Command, input: Stdio) -> Server {
        let mut server = Server::start_with(command, input);
        server.read_log();
        server
    }

    fn run_unread(command: Command) -> Server {
        Server::start_with(command, Stdio::null())
    }

    fn start_with(mut command: Command, input: Stdio) -> Server {
        command
            .stdin(input)
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut process = start(&mut command).expect("the server starts");
        let errors = BufReader::new(process.stderr.take().expect("it is a pipe"));
        let (sender, log) = mpsc::channel();
        let (hold, held) = mpsc::channel();
        let reading = std::thread::spawn(move || {
            for line in errors.lines().map_while(Result::ok) {
                let wait = line.contains("msg=listening");
                // A test that has ended does not receive further lines.
                let _ = sender.send(line);
                if wait && held.recv().is_ok() {
                    return;
                }
            }
        });
        let mut server = Server {
            process,
            place: String::new(),
            address: ([0, 0, 0, 0], 0).into(),
            beginning: Vec::new(),
            log,
            hold: Some(hold),
            reading: Some(reading),
        };
        server.beginning = server.lines_up_to("msg=listening");
        let line = server.beginning.last().expect("it is there");
        server.place = field(line, "address").to_owned();
        if let Ok(address) = server.place.parse() {
            server.address = address;
        }
        server
    }

    /// Starts to read the log.
    pub(crate) fn read_log(&mut self) {
        self.hold = None;
    }

    /// Closes the pipe to which the server logs.
    pub(crate) fn close_log(&mut self) {
        let hold = self.hold.take().expect("the log is not read");
        hold.send(()).expect("the thread waits");
        let reading = self.reading.take().expect("it is closed once");
        reading.join().expect("the thread ends");
    }

    /// The address in the next log line that contains `mark`.
    pub(crate) fn address_in(&self, mark: &str) -> SocketAddr {
        address_of(&self.await_line(mark))
    }

    /// Waits for the next log line that contains `mark`.
    pub(crate) fn await_line(&self, mark: &str) -> String {
        self.await_any(&[mark])
    }

    /// Waits for the next log line that contains one of `marks`.
    pub(crate) fn await_any(&self, marks: &[&str]) -> String {
        let lines = self.lines_up_to_any(marks);
        lines.into_iter().next_back().expect("it is the last one")
    }

    /// The log lines up to the next one that contains `mark`.
    pub(crate) fn lines_up_to(&self, mark: &str) -> Vec<String> {
        self.lines_up_to_any(&[mark])
    }

    fn lines_up_to_any(&self, marks: &[&str]) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let line = self
                .log
                .recv_timeout(PATIENCE)
                .unwrap_or_else(|error| panic!("no line with {marks:?}: {error}"));
            let found = marks.iter().any(|mark| line.contains(mark));
            lines.push(line);
            if found {
                return lines;
            }
        }
    }

    /// The peak of the server's memory, in bytes.
    #[cfg(target_os = "linux")]
    pub(crate) fn peak_memory(&self) -> usize {
        let path = format!("/proc/{}/status", self.pid());
        let status = std::fs::read_to_string(path).expect("it runs");
        let line = status.lines().find(|line| line.starts_with("VmHWM:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().nth(1));
        kilobytes
            .and_then(|number| number.parse::<usize>().ok())
            .expect("Linux reports it")
            << 10
    }

    pub(crate) fn connect(&self) -> TcpStream {
        connect(self.address)
    }

    /// Connects, and waits until the child is ready.
    pub(crate) fn connect_to_child(&self) -> TcpStream {
        let mut client = self.connect();
        await_ready(&mut client);
        client
    }

    #[cfg(unix)]
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Waits for the server to exit, which closes its log.
    #[cfg(unix)]
    pub(crate) fn wait(mut self) -> std::process::ExitStatus {
        while self.log.recv_timeout(PATIENCE).is_ok() {}
        self.process.wait().expect("it is our child")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The server may have exited already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn address_of(line: &str) -> SocketAddr {
    field(line, "address").parse().expect("an address")
}

pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let client = TcpStream::connect_timeout(&address, PATIENCE).expect("the server listens");
    client
        .set_read_timeout(Some(PATIENCE))
        .expect("a timeout can be set");
    client
        .set_write_timeout(Some(PATIENCE))
        .expect("a timeout can be set");
    client
}

/// Reads until the child is ready.
pub(crate) fn await_ready(client: &mut TcpStream) {
    let (mut seen, mut byte) = (Vec::new(), [0]);
    while !seen.ends_with(READY) {
        client
            .read_exact(&mut byte)
            .expect("the child says that it is ready");
        seen.push(byte[0]);
    }
}

/// Reads until the end of the connection.
pub(crate) fn rest(client: &mut TcpStream) -> Vec<u8> {
    let mut data = Vec::new();
    client
        .read_to_end(&mut data)
        .expect("the connection ends in order");
    data
}

/// Sends `data`, and reads the same number of bytes back.
pub(crate) fn exchange(client: &mut TcpStream, data: &[u8]) -> Vec<u8> {
    client.write_all(data).expect("the server reads");
    let mut answer = vec![0; data.len()];
    client.read_exact(&mut answer).expect("the child answers");
    answer
}

/// The value of a key in a log line. The value must not contain spaces.
pub(crate) fn field<'a>(line: &'a str, key: &str) -> &'a str {
    let mark = format!(" {key}=");
    let (_, after) = line
        .split_once(&mark)
        .unwrap_or_else(|| panic!("no {key} in {line}"));
    after.split(' ').next().unwrap_or(after)
}

/// Requests the metrics from the server at `address`.
pub(crate) fn metrics(address: SocketAddr) -> String {
    let mut client = connect(address);
    client
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n")
        .expect("the server reads");
    String::from_utf8(rest(&mut client)).expect("metrics are text")
}

/// Polls a condition that no event reports.
pub(crate) fn within_patience(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what}");
        std::thread::yield_now();
    }
}
