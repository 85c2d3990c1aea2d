//! `tidewaiter connect`: standard input and output joined to a connection.
//!
//! Input is read, and output written, by the reactor's worker threads, one piece at a time: neither a
//! terminal nor a full pipe can hold the loop.

use std::cell::{Cell, RefCell};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::rc::Rc;

use tidewaiter::{
    ConnectError, ConnectOptions, Factory, Producer, ProducerKind, Protocol, Reactor, Reason,
    Transport, WorkLost,
};

use crate::plan::{self, ConnectPlan, Failure};

/// How much is read from standard input at a time.
const INPUT_BYTES: usize = 64 * 1024;
/// Above this much unwritten output, the connection is not read.
const OUTPUT_BYTES_MAX: usize = 256 * 1024;
/// What a shell gives a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

/// How it ended.
enum End {
    Done,
    Interrupted,
    Failed(String),
}

#[derive(Default)]
struct Join {
    transport: RefCell<Option<Transport>>,
    output: RefCell<Vec<u8>>,
    writing: Cell<bool>,
    /// Input is not read before the connection has sent what it has.
    input_paused: Cell<bool>,
    reading: Cell<bool>,
    input_ended: Cell<bool>,
    /// Set once the connection has ended; output may still be on its way.
    end: RefCell<Option<End>>,
}

pub(crate) fn run(plan: ConnectPlan) -> Result<ExitCode, Failure> {
    let reactor = plan::reactor(plan.port)?;
    let join = Rc::new(Join::default());
    let interrupted = Rc::clone(&join);
    reactor.on_signal(move |reactor, _| {
        interrupted.end.replace(Some(End::Interrupted));
        reactor.crash();
    });
    let options = ConnectOptions::from(plan.address).timeout(plan.timeout);
    reactor.connect_tcp(options, Dial(Rc::clone(&join)));
    reactor.run().map_err(Failure::failed)?;
    match join.end.take() {
        Some(End::Failed(message)) => Err(Failure::Failed(message)),
        Some(End::Interrupted) => Ok(ExitCode::from(INTERRUPTED)),
        Some(End::Done) | None => Ok(ExitCode::SUCCESS),
    }
}

struct Dial(Rc<Join>);

impl Factory for Dial {
    fn build_protocol(&mut self, _: SocketAddr) -> Option<Box<dyn Protocol>> {
        Some(Box::new(Connection(Rc::clone(&self.0))))
    }

    fn connection_failed(&mut self, reactor: &Reactor, error: ConnectError) {
        self.0.finish(reactor, End::Failed(error.to_string()));
    }
}

struct Connection(Rc<Join>);

impl Protocol for Connection {
    fn connection_made(&mut self, transport: &Transport) {
        // It is for people and for request and answer: nothing is gained by waiting for more.
        if let Err(error) = transport.set_no_delay(true) {
            log::debug!("TCP_NODELAY: {error}");
        }
        self.0.transport.replace(Some(transport.clone()));
        transport.register_producer(
            Input(Rc::clone(&self.0), transport.reactor().clone()),
            ProducerKind::Push,
        );
        self.0.read_input(transport.reactor());
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        let mut output = self.0.output.borrow_mut();
        output.extend_from_slice(data);
        if output.len() > OUTPUT_BYTES_MAX {
            transport.pause_producing();
        }
        drop(output);
        self.0.write_output(transport.reactor());
    }

    fn read_connection_lost(&mut self, transport: &Transport) {
        transport.unregister_producer();
        transport.lose_connection();
    }

    fn connection_lost(&mut self, transport: &Transport, reason: Reason) {
        let end = if reason.is_done() {
            End::Done
        } else {
            End::Failed(format!("connection lost: {reason}"))
        };
        self.0.finish(transport.reactor(), end);
    }
}

/// Standard input, as what fills the connection.
struct Input(Rc<Join>, Reactor);

impl Producer for Input {
    fn pause_producing(&mut self) {
        self.0.input_paused.set(true);
    }

    fn resume_producing(&mut self) {
        self.0.input_paused.set(false);
        self.0.read_input(&self.1);
    }
}

impl Join {
    fn read_input(self: &Rc<Self>, reactor: &Reactor) {
        if self.input_paused.get() || self.input_ended.get() || self.reading.replace(true) {
            return;
        }
        let join = Rc::clone(self);
        reactor.defer_to_thread(read_stdin, move |reactor, read| {
            join.input_read(reactor, read);
        });
    }

    fn input_read(self: &Rc<Self>, reactor: &Reactor, read: Result<io::Result<Vec<u8>>, WorkLost>) {
        self.reading.set(false);
        let Some(transport) = self.transport.borrow().clone() else {
            return;
        };
        match read {
            Ok(Ok(data)) if !data.is_empty() => {
                transport.write_bytes(data);
                if !transport.is_congested() {
                    self.read_input(reactor);
                }
                return;
            }
            Ok(Ok(_)) => {}
            Ok(Err(error)) => log::warn!("standard input: {error}"),
            Err(lost) => log::warn!("standard input: {lost}"),
        }
        self.input_ended.set(true);
        transport.unregister_producer();
        transport.lose_write_connection();
    }

    fn write_output(self: &Rc<Self>, reactor: &Reactor) {
        if self.output.borrow().is_empty() || self.writing.replace(true) {
            return;
        }
        let data = self.output.take();
        let join = Rc::clone(self);
        reactor.defer_to_thread(
            move || write_stdout(&data),
            move |reactor, written| join.output_written(reactor, written),
        );
    }

    fn output_written(
        self: &Rc<Self>,
        reactor: &Reactor,
        written: Result<io::Result<()>, WorkLost>,
    ) {
        self.writing.set(false);
        let failure = match written {
            Ok(Ok(())) => None,
            Ok(Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => Some(End::Done),
            Ok(Err(error)) => Some(End::Failed(format!("standard output: {error}"))),
            Err(lost) => Some(End::Failed(format!("standard output: {lost}"))),
        };
        if let Some(end) = failure {
            // Nobody takes the rest.
            self.output.take();
            self.end.replace(Some(end));
            reactor.crash();
            return;
        }
        self.write_output(reactor);
        if !self.writing.get() && self.end.borrow().is_some() {
            reactor.crash();
        }
        if let Some(transport) = &*self.transport.borrow() {
            transport.resume_producing();
        }
    }

    /// The connection has ended, or was never made. Ends the program once all output is written.
    ///
    /// The reactor is left as it is: stopping it would await a thread that waits for the terminal.
    fn finish(&self, reactor: &Reactor, end: End) {
        let mut known = self.end.borrow_mut();
        known.get_or_insert(end);
        drop(known);
        if !self.writing.get() {
            reactor.crash();
        }
    }
}

fn read_stdin() -> io::Result<Vec<u8>> {
    let mut data = vec![0; INPUT_BYTES];
    let count = io::stdin().lock().read(&mut data)?;
    data.truncate(count);
    Ok(data)
}

fn write_stdout(data: &[u8]) -> io::Result<()> {
    let mut output = io::stdout().lock();
    output.write_all(data)?;
    output.flush()
}
