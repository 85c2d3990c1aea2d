//! Child processes.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use bench_common::child::{self, Count, Lines, Pipeline, Received};
use tidewaiter::process::{Command, ExitStatus, SharedPipe, SpawnError, Stdio};
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
            // As the children of the others.
            .own_group(false)
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

/// A child of the pipeline. Stops the reactor when all have ended.
struct Part {
    left: Rc<Cell<usize>>,
    pipeline: Rc<Pipeline>,
}

impl ProcessProtocol for Part {
    fn process_ended(&mut self, process: &Process, status: ExitStatus) {
        assert!(status.success(), "each child gets all bytes");
        self.left.set(self.left.get() - 1);
        if self.left.get() == 0 {
            self.pipeline.end(true);
            process.reactor().stop();
        }
    }
}

pub(crate) fn pipeline(reactor: &Reactor) -> Result<(), SpawnError> {
    let pipeline = Rc::new(Pipeline::begin());
    let (first, second) = (SharedPipe::new(), SharedPipe::new());
    let parts: [(_, Stdio, Stdio); 3] = [
        (child::WRITER, Stdio::Null, first.writer().into()),
        (child::ECHOER, first.reader().into(), second.writer().into()),
        (child::DRAIN, second.reader().into(), Stdio::Null),
    ];
    let left = Rc::new(Cell::new(parts.len()));
    for (argument, input, output) in parts {
        let command = Command::new(child::program())
            .arg(argument)
            .stdin(input)
            .stdout(output)
            .stderr(Stdio::Inherit);
        let (left, pipeline) = (Rc::clone(&left), Rc::clone(&pipeline));
        reactor.spawn_process(&command, Part { left, pipeline })?;
    }
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
