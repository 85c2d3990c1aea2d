//! Child processes.

use std::cell::RefCell;
use std::rc::Rc;

use bench_common::child::{self, Count, Received};
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

/// Counts what the child writes.
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

pub(crate) fn stdout(reactor: &Reactor) -> Result<(), SpawnError> {
    let command = Command::new(child::writer())
        .arg(child::WRITER)
        .stdin(Stdio::Null)
        .stderr(Stdio::Inherit);
    reactor.spawn_process(&command, Writer::default())?;
    Ok(())
}
