//! Shutdown of a server that runs as a child of the library, by `Process::terminate`.
//!
//! There is no such test for Windows: Ctrl-Break reaches only processes on our own console, and under Wine a test
//! without a terminal has no console (`GenerateConsoleCtrlEvent` fails with "Invalid access").
#![cfg(unix)]

use std::cell::Cell;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::rc::Rc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};

use tidewaiter::process::{Command, ExitStatus, Stdio};
use tidewaiter::{ChildFd, Process, ProcessProtocol, Reactor};

use crate::child::{ARGS, ROLE};
use crate::support::{await_ready, connect, exchange, field, rest};

/// Follows the server's log: starts a client, then the shutdown, then lets the client go on.
struct Watch {
    log: Vec<u8>,
    client: Option<JoinHandle<()>>,
    drains: Option<Sender<()>>,
    status: Rc<Cell<Option<ExitStatus>>>,
}

impl Watch {
    fn line(&mut self, process: &Process, line: &str) {
        if line.contains("msg=listening") {
            let address = field(line, "address").parse().expect("an address");
            let (drains, draining) = mpsc::channel();
            self.drains = Some(drains);
            self.client = Some(thread::spawn(move || converse(address, &draining)));
        } else if line.contains("msg=connected") {
            process.terminate().expect("the server runs");
        } else if line.contains("children may finish") {
            self.drains = None;
        }
    }
}

fn converse(address: SocketAddr, draining: &Receiver<()>) {
    let mut client: TcpStream = connect(address);
    await_ready(&mut client);
    draining.recv().expect_err("the sender is dropped");
    assert_eq!(exchange(&mut client, b"still here"), b"still here");
    client.shutdown(Shutdown::Write).expect("it is open");
    assert_eq!(rest(&mut client), b"");
}

impl ProcessProtocol for Watch {
    fn child_data_received(&mut self, process: &Process, _: ChildFd, data: &[u8]) {
        self.log.extend_from_slice(data);
        while let Some(end) = self.log.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = self.log.drain(..=end).collect();
            self.line(process, String::from_utf8_lossy(&line).trim_end());
        }
    }

    fn process_ended(&mut self, process: &Process, status: ExitStatus) {
        self.status.set(Some(status));
        // If the server ended too early, the client must not wait for the shutdown for ever.
        self.drains = None;
        if let Some(client) = self.client.take() {
            client.join().expect("the client was served to the end");
        }
        process.reactor().stop();
    }
}

#[test]
fn children_may_finish_before_the_server_ends() {
    let program = std::env::current_exe().expect("we are a program");
    let command = Command::new(env!("CARGO_BIN_EXE_tidewaiter"))
        .args(["serve", "-v", "127.0.0.1:0", "--"])
        .arg(program)
        .args(ARGS)
        .env(ROLE, "echo")
        .stdin(Stdio::Null)
        .stdout(Stdio::Null);
    let reactor = Reactor::new().expect("there is a port");
    let status = Rc::new(Cell::new(None));
    let watch = Watch {
        log: Vec::new(),
        client: None,
        drains: None,
        status: Rc::clone(&status),
    };
    let server = reactor.spawn_process(&command, watch);
    server.expect("the server starts");
    reactor.run().expect("it runs to its end");
    assert_eq!(status.get(), Some(ExitStatus::Code(0)));
    assert_eq!(reactor.metrics().panics, 0);
}
