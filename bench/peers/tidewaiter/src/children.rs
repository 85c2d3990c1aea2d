//! Child processes.

use std::cell::RefCell;
use std::rc::Rc;

use bench_common::child::{self, Count, Lines, Received};
use tidewaiter::process::{Command, ExitStatus, SpawnError, Stdio};
use tidewaiter::{ChildFd, Process, ProcessProtocol, Reactor};

/// Spawns another child when one has ended.
struct Brief {
    count: Rc<RefCell<Count>>,
}

impl ProcessProtocol for Brief {
    fn process_ended(&mut self, process: &Process, _status: ExitStatus) {
        let reactor = process.reactor();
        if self.count.borrow_mut().reaped() {
            reactor.stop();
        } else {
            next(reactor, &self.count).expect("children can be spawned");
        }
    }
}

fn next(reactor: &Reactor, count: &Rc<RefCell<Count>>) -> Result<(), SpawnError> {
    if count.borrow_mut().takes_another() {
        let command = Command::new(child::brief())
            .stdin(Stdio::Inherit)
            .stdout(Stdio::Inherit)
            .stderr(Stdio::Inherit);
        let count = Rc::clone(count);
        reactor.spawn_process(&command, Brief { count })?;
    }
    Ok(())
}

pub(crate) fn spawn(reactor: &Reactor, at_a_time: usize) -> Result<(), SpawnError> {
    let count = Rc::default();
    for _ in 0..at_a_time {
        next(reactor, &count)?;
    }
    Ok(())
}

/// Counts the output of the child.
#[derive(Default)]
struct Writer {
    received: Received,
}

impl ProcessProtocol for Writer {
    fn child_data_received(&mut self, _process: &Process, _child_fd: ChildFd, data: &[u8]) {
        self.received.add(data.len());
    }

    fn process_ended(&mut self, process: &Process, _status: ExitStatus) {
        self.received.end();
        process.reactor().stop();
    }
}

/// Reads the standard output of a child from a pipe or a socket.
pub(crate) fn stdout(reactor: &Reactor, output: Stdio) -> Result<(), SpawnError> {
    let command = Command::new(child::program())
        .arg(child::WRITER)
        .stdin(Stdio::Null)
        .stdout(output)
        .stderr(Stdio::Inherit);
    reactor.spawn_process(&command, Writer::default())?;
    Ok(())
}

/// Sends a line, and the next one when it has come back.
struct Echoer {
    number: usize,
    lines: Rc<RefCell<Lines>>,
}

impl ProcessProtocol for Echoer {
    fn connection_made(&mut self, process: &Process) {
        self.lines.borrow_mut().begin(self.number);
        process.write(child::LINE);
    }

    fn child_data_received(&mut self, process: &Process, _child_fd: ChildFd, data: &[u8]) {
        if self.lines.borrow_mut().received(self.number, data.len()) {
            process.write(child::LINE);
        }
    }
}

pub(crate) fn echo(reactor: &Reactor) -> Result<(), SpawnError> {
    let lines = Rc::default();
    for number in 0..child::echoers() {
        let command = Command::new(child::program())
            .arg(child::ECHOER)
            .stderr(Stdio::Inherit);
        let lines = Rc::clone(&lines);
        reactor.spawn_process(&command, Echoer { number, lines })?;
    }
    Ok(())
}
