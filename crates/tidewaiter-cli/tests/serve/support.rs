//! A server as a process, its log, and clients of it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use crate::child::{ARGS, READY, ROLE};

/// Far longer than anything here takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The command under test.
pub(crate) fn tidewaiter() -> Command {
    Command::new(env!("CARGO_BIN_EXE_tidewaiter"))
}

/// A server; dropped, it is killed.
pub(crate) struct Server {
    process: Child,
    pub(crate) address: SocketAddr,
    log: Receiver<String>,
}

impl Server {
    /// Serves on a free port with a child that plays `role`.
    pub(crate) fn start(role: &str, options: &[&str]) -> Server {
        let program = std::env::current_exe().expect("we are a program");
        let mut command = tidewaiter();
        command
            .args(["serve", "-v"])
            .args(options)
            .args(["127.0.0.1:0", "--"])
            .arg(program)
            .args(ARGS)
            .env(ROLE, role);
        Server::run(command)
    }

    /// Runs a command that serves.
    pub(crate) fn run(mut command: Command) -> Server {
        let started = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let mut process = started.expect("the server starts");
        let errors = BufReader::new(process.stderr.take().expect("it is a pipe"));
        let (sender, log) = mpsc::channel();
        std::thread::spawn(move || {
            for line in errors.lines().map_while(Result::ok) {
                // The test may have seen enough.
                let _ = sender.send(line);
            }
        });
        let mut server = Server {
            process,
            address: ([127, 0, 0, 1], 0).into(),
            log,
        };
        server.address = server.address_in("msg=listening");
        server
    }

    /// The address in the next line of the log that has `mark`.
    pub(crate) fn address_in(&self, mark: &str) -> SocketAddr {
        field(&self.await_line(mark), "address")
            .parse()
            .expect("an address")
    }

    /// The next line of the log that has `mark`.
    pub(crate) fn await_line(&self, mark: &str) -> String {
        loop {
            let line = self
                .log
                .recv_timeout(PATIENCE)
                .unwrap_or_else(|error| panic!("no line with {mark:?}: {error}"));
            if line.contains(mark) {
                return line;
            }
        }
    }

    pub(crate) fn connect(&self) -> TcpStream {
        connect(self.address)
    }

    /// Connects, and waits until the child plays its role.
    pub(crate) fn connect_to_child(&self) -> TcpStream {
        let mut client = self.connect();
        await_ready(&mut client);
        client
    }

    #[cfg(unix)]
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Waits for the server's end: its log ends when it does.
    pub(crate) fn wait(mut self) -> ExitStatus {
        while self.log.recv_timeout(PATIENCE).is_ok() {}
        self.process.wait().expect("it is our child")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
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

/// Reads until the child plays its role.
pub(crate) fn await_ready(client: &mut TcpStream) {
    let (mut seen, mut byte) = (Vec::new(), [0]);
    while !seen.ends_with(READY) {
        client
            .read_exact(&mut byte)
            .expect("the child says that it is ready");
        seen.push(byte[0]);
    }
}

/// All that still comes.
pub(crate) fn rest(client: &mut TcpStream) -> Vec<u8> {
    let mut data = Vec::new();
    client
        .read_to_end(&mut data)
        .expect("the connection ends in order");
    data
}

/// Sends `data` and reads as much back.
pub(crate) fn exchange(client: &mut TcpStream, data: &[u8]) -> Vec<u8> {
    client.write_all(data).expect("the server reads");
    let mut answer = vec![0; data.len()];
    client.read_exact(&mut answer).expect("the child answers");
    answer
}

/// The value of a key in a line of the log, if it has no spaces.
pub(crate) fn field<'a>(line: &'a str, key: &str) -> &'a str {
    let mark = format!(" {key}=");
    let (_, after) = line
        .split_once(&mark)
        .unwrap_or_else(|| panic!("no {key} in {line}"));
    after.split(' ').next().unwrap_or(after)
}
