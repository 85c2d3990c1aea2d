//! `tidewaiter connect`: joins standard input and output to a connection.
//!
//! Worker threads of the reactor read the input and write the output, one piece at a time, so that neither a
//! terminal nor a full pipe blocks the loop.

use std::cell::{Cell, RefCell};
use std::io::{self, IsTerminal, Read, Write};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use tidewaiter::{
    Address, ConnectError, ConnectOptions, DelayedCall, Factory, Producer, ProducerKind, Protocol,
    Reactor, Reason, Transport, WorkLost,
};

use crate::failure::Failure;
use crate::plan::{self, ConnectPlan};

/// Size of one read from standard input.
const INPUT_BYTES: usize = 64 * 1024;
/// Reading from the connection pauses while more output than this is unwritten.
const OUTPUT_BYTES_MAX: usize = 256 * 1024;
/// After the other side has ended its output, input may stay silent for this long before we stop waiting for it.
const INPUT_PATIENCE: Duration = Duration::from_secs(1);
/// Exit code when part of standard input was not sent.
const UNSENT: u8 = 4;
/// Exit code after Ctrl-C, as shells report it (128 + SIGINT).
const INTERRUPTED: u8 = 130;

/// The outcome of the command.
enum End {
    Done,
    Interrupted,
    Failed(String),
    /// The other side closed before all of the input was sent; at least this many bytes are missing.
    Unsent(usize),
}

/// The state that both directions share: standard input to the connection, and the connection to standard output.
#[derive(Default)]
struct Join {
    /// Stop sending when the other side ends its output.
    end_with_peer: bool,
    transport: RefCell<Option<Transport>>,
    output: RefCell<Vec<u8>>,
    writing: Cell<bool>,
    /// The connection is congested: do not read more input until it has sent what it holds.
    input_paused: Cell<bool>,
    reading: Cell<bool>,
    input_ended: Cell<bool>,
    /// The other side has ended its output.
    peer_ended: Cell<bool>,
    /// Stops waiting for input that stays silent after the other side has ended its output.
    patience: RefCell<Option<DelayedCall>>,
    /// Set when the connection has ended; some output may still be unwritten.
    end: RefCell<Option<End>>,
}

pub(crate) fn run(plan: ConnectPlan) -> Result<ExitCode, Failure> {
    let reactor = plan::reactor(plan.port)?;
    let join = Rc::new(Join {
        // Input from a terminal rarely ends, so do not wait for its end.
        end_with_peer: plan.end_with_peer || io::stdin().is_terminal(),
        ..Join::default()
    });
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
        Some(End::Unsent(bytes)) => {
            let failure = "the other side closed before all of standard input was sent";
            let known = match bytes {
                0 => String::new(),
                _ => format!(": at least {bytes} bytes are missing"),
            };
            Err(Failure::Exit(format!("{failure}{known}"), UNSENT))
        }
        Some(End::Interrupted) => Ok(ExitCode::from(INTERRUPTED)),
        Some(End::Done) | None => Ok(ExitCode::SUCCESS),
    }
}

struct Dial(Rc<Join>);

impl Factory for Dial {
    fn build_protocol(&mut self, _: Address) -> Option<Box<dyn Protocol>> {
        Some(Box::new(Connection(Rc::clone(&self.0))))
    }

    fn connection_failed(&mut self, reactor: &Reactor, error: ConnectError) {
        self.0.finish(reactor, End::Failed(error.to_string()));
    }
}

struct Connection(Rc<Join>);

impl Protocol for Connection {
    fn connection_made(&mut self, transport: &Transport) {
        // The traffic is interactive: send small pieces at once.
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
        self.0.peer_ended.set(true);
        if self.0.end_with_peer {
            self.0.end_input(transport);
        } else if self.0.reading.get() {
            self.0.await_input(transport);
        }
    }

    fn connection_lost(&mut self, transport: &Transport, reason: Reason) {
        let unsent = transport.unsent();
        let missing = unsent > 0 || !self.0.input_ended.get();
        let end = if self.0.peer_ended.get() && missing && !self.0.end_with_peer {
            End::Unsent(unsent)
        } else if reason.is_done() {
            End::Done
        } else if unsent > 0 {
            End::Failed(format!(
                "connection lost: {reason}; at least {unsent} bytes of standard input were not sent"
            ))
        } else {
            End::Failed(format!("connection lost: {reason}"))
        };
        self.0.finish(transport.reactor(), end);
    }
}

/// Standard input as the connection's producer.
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
        if let Some(transport) = self.transport.borrow().as_ref()
            && self.peer_ended.get()
        {
            self.await_input(transport);
        }
    }

    /// Ends the input after a while, unless the read that is under way brings something before.
    fn await_input(self: &Rc<Self>, transport: &Transport) {
        let (join, waiting) = (Rc::clone(self), transport.clone());
        let reactor = transport.reactor();
        let call = reactor.call_later(INPUT_PATIENCE, move |_| join.end_input(&waiting));
        self.patience.replace(Some(call));
    }

    /// Shuts down the sending side as soon as everything that was read is sent.
    fn end_input(&self, transport: &Transport) {
        self.input_ended.set(true);
        transport.unregister_producer();
        transport.lose_write_connection();
    }

    fn input_read(self: &Rc<Self>, reactor: &Reactor, read: Result<io::Result<Vec<u8>>, WorkLost>) {
        self.reading.set(false);
        if let Some(patience) = self.patience.take() {
            patience.cancel();
        }
        if self.input_ended.get() {
            return;
        }
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
        self.end_input(&transport);
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
            Ok(Err(error)) => Some(End::Failed(format!("standard output: {error}"))),
            Err(lost) => Some(End::Failed(format!("standard output: {lost}"))),
        };
        if let Some(end) = failure {
            // Standard output is closed: drop the rest.
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

    /// Handles the end of the connection, or a failure to connect: leaves the loop once all output is written.
    ///
    /// This calls `crash` rather than `stop`, because `stop` would wait for a worker thread that may be blocked on
    /// the terminal.
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
