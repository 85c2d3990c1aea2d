//! `tidewaiter connect`: joins standard input and output to a connection.

mod datagrams;

use std::cell::{Cell, RefCell};
use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use tidewaiter::port::Resource;
use tidewaiter::process::{OwnTerminal, RawMode};
use tidewaiter::{
    Address, ConnectError, ConnectOptions, DelayedCall, Factory, Producer, ProducerKind, Protocol,
    Reactor, Reason, Transport,
};

use crate::failure::Failure;
use crate::place::{Place, take_descriptor, take_passed};
use crate::plan::{self, ConnectPlan};

/// Reading from the connection pauses while more output than this is unwritten.
const OUTPUT_BYTES_MAX: usize = 256 * 1024;
/// After the other side has ended its output, input may stay silent for this long before we stop waiting for it.
const INPUT_PATIENCE: Duration = Duration::from_secs(1);
/// Exit code when part of standard input was not sent.
const UNSENT: u8 = 4;
/// Exit code after Ctrl-C, as shells report it (128 + SIGINT).
const INTERRUPTED: u8 = 130;
/// The key that ends the command while the terminal is raw, as in telnet: Ctrl-].
const ESCAPE: u8 = 0x1d;

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
    /// The place to connect to, as the user named it.
    place: String,
    /// Stop sending when the other side ends its output.
    end_with_peer: bool,
    /// The terminal, if it is to be raw once there is a connection.
    terminal: Option<OwnTerminal>,
    raw: RefCell<Option<RawMode>>,
    connection: RefCell<Option<Transport>>,
    /// Standard input and output.
    standard: RefCell<Option<Transport>>,
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
    if let Place::Udp(host) = &plan.place {
        return outcome(datagrams::run(&reactor, host)?);
    }
    let terminal = plan.raw.then(OwnTerminal::find);
    if matches!(terminal, Some(None)) {
        let message = "--raw needs a terminal as standard input or output";
        return Err(Failure::usage(message));
    }
    let join = Rc::new(Join {
        place: plan.place.to_string(),
        // Input from a terminal rarely ends, so do not wait for its end.
        end_with_peer: plan.end_with_peer || io::stdin().is_terminal(),
        terminal: terminal.flatten(),
        ..Join::default()
    });
    let interrupted = Rc::clone(&join);
    reactor.on_signal(move |reactor, _| {
        interrupted.end.replace(Some(End::Interrupted));
        reactor.crash();
    });
    connect(&reactor, plan.place, plan.timeout, &join)?;
    let run = reactor.run();
    // Whatever is reported is shown as usual.
    join.raw.take();
    run.map_err(Failure::failed)?;
    outcome(join.end.take())
}

fn outcome(end: Option<End>) -> Result<ExitCode, Failure> {
    match end {
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

/// Begins to connect, or takes over a connection.
fn connect(
    reactor: &Reactor,
    place: Place,
    timeout: Duration,
    join: &Rc<Join>,
) -> Result<(), Failure> {
    let options = match place {
        Place::Tcp(host) => ConnectOptions::from(host),
        Place::Local(address) => ConnectOptions::from(address),
        Place::Descriptor(number) => return adopt(reactor, take_descriptor(number)?, &place, join),
        Place::Passed(ref name) => {
            let mut passed = take_passed(name.as_deref())?;
            let passed = passed.swap_remove(0);
            return adopt(reactor, passed.resource, &place, join);
        }
        Place::Udp(_) => unreachable!("UDP has no connections"),
    };
    reactor.connect(options.timeout(timeout), Dial(Rc::clone(join)));
    Ok(())
}

fn adopt(
    reactor: &Reactor,
    resource: Resource,
    place: &Place,
    join: &Rc<Join>,
) -> Result<(), Failure> {
    let adopted = reactor.adopt(resource, Connection(Rc::clone(join)));
    adopted.map_err(|error| Failure::Failed(format!("{place}: {error}")))?;
    Ok(())
}

struct Dial(Rc<Join>);

impl Factory for Dial {
    fn build_protocol(&mut self, _: Address) -> Option<Box<dyn Protocol>> {
        Some(Box::new(Connection(Rc::clone(&self.0))))
    }

    fn connection_failed(&mut self, reactor: &Reactor, error: ConnectError) {
        let message = match error {
            // None of the addresses answered in time, so the error has no address.
            ConnectError::TimedOut { source } => format!("{}: {source}", self.0.place),
            error => error.to_string(),
        };
        self.0.finish(reactor, End::Failed(message));
    }
}

/// The connection: passes on what arrives to standard output.
struct Connection(Rc<Join>);

impl Protocol for Connection {
    fn connection_made(&mut self, connection: &Transport) {
        // The traffic is interactive: send small pieces at once.
        let is_tcp = connection
            .peer_addr()
            .is_some_and(|peer| peer.socket_addr().is_some());
        if is_tcp && let Err(error) = connection.set_no_delay(true) {
            log::debug!("TCP_NODELAY: {error}");
        }
        let join = &self.0;
        let raw = join.terminal.as_ref().map(OwnTerminal::make_raw);
        match raw.transpose() {
            Ok(raw) => drop(join.raw.replace(raw)),
            Err(error) => {
                let end = End::Failed(format!("the terminal cannot be made raw: {error}"));
                return join.finish(connection.reactor(), end);
            }
        }
        let standard = match connection.reactor().standard_io(Standard(Rc::clone(join))) {
            Ok(standard) => standard,
            Err(error) => {
                let end = End::Failed(format!("standard input or output: {error}"));
                return join.finish(connection.reactor(), end);
            }
        };
        join.connection.replace(Some(connection.clone()));
        join.standard.replace(Some(standard.clone()));
        standard.set_water_marks(OUTPUT_BYTES_MAX / 2, OUTPUT_BYTES_MAX);
        standard.register_producer(connection.clone(), ProducerKind::Push);
        connection.register_producer(Input(Rc::clone(join), standard), ProducerKind::Push);
    }

    fn data_received(&mut self, _: &Transport, data: &[u8]) {
        if let Some(standard) = &*self.0.standard.borrow() {
            standard.write(data);
        }
        self.0.await_silence();
    }

    fn read_connection_lost(&mut self, _: &Transport) {
        self.0.peer_ended.set(true);
        if self.0.end_with_peer {
            self.0.end_input();
        } else {
            self.0.await_input();
        }
    }

    fn connection_lost(&mut self, connection: &Transport, reason: Reason) {
        let (place, unsent) = (&self.0.place, connection.unsent());
        let missing = unsent > 0 || !self.0.input_ended.get();
        let end = if self.0.peer_ended.get() && missing && !self.0.end_with_peer {
            End::Unsent(unsent)
        } else if reason.is_done() {
            End::Done
        } else if unsent > 0 {
            End::Failed(format!(
                "{place}: connection lost: {reason}; at least {unsent} bytes of standard input were not sent"
            ))
        } else {
            End::Failed(format!("{place}: connection lost: {reason}"))
        };
        self.0.finish(connection.reactor(), end);
    }
}

/// Standard input and output: passes on what arrives to the connection.
struct Standard(Rc<Join>);

impl Protocol for Standard {
    fn data_received(&mut self, standard: &Transport, data: &[u8]) {
        if self.0.input_ended.get() {
            return;
        }
        if self.0.raw.borrow().is_some() && data.contains(&ESCAPE) {
            return self.0.finish(standard.reactor(), End::Done);
        }
        if let Some(connection) = &*self.0.connection.borrow() {
            connection.write(data);
        }
        self.0.await_input();
    }

    fn read_connection_lost(&mut self, _: &Transport) {
        self.0.end_input();
    }

    fn connection_lost(&mut self, standard: &Transport, reason: Reason) {
        let failed = match &reason {
            Reason::Done => None,
            Reason::Os {
                call: "read" | "recv",
                ..
            } => Some("standard input"),
            _ => Some("standard output"),
        };
        if let Some(stream) = failed {
            let end = End::Failed(format!("{stream}: {reason}"));
            self.0.end.borrow_mut().get_or_insert(end);
        }
        standard.reactor().crash();
    }
}

/// Standard input as the connection's producer.
struct Input(Rc<Join>, Transport);

impl Producer for Input {
    fn pause_producing(&mut self) {
        self.1.pause_producing();
        self.0.stop_patience();
    }

    fn resume_producing(&mut self) {
        self.1.resume_producing();
        self.0.await_input();
    }
}

fn is_pipe(connection: &Transport) -> bool {
    matches!(connection.peer_addr(), Some(Address::Pipe(_)))
}

impl Join {
    /// Once the other side has ended its output, ends the input after a while, unless something arrives before.
    fn await_input(self: &Rc<Self>) {
        self.stop_patience();
        let Some(connection) = self.connection.borrow().clone() else {
            return;
        };
        if !self.peer_ended.get() || self.input_ended.get() || connection.is_congested() {
            return;
        }
        let join = Rc::clone(self);
        let reactor = connection.reactor();
        let call = reactor.call_later(INPUT_PATIENCE, move |_| join.end_input());
        self.patience.replace(Some(call));
    }

    fn stop_patience(&self) {
        if let Some(patience) = self.patience.take() {
            patience.cancel();
        }
    }

    /// Shuts down the sending side as soon as everything that was read is sent.
    fn end_input(self: &Rc<Self>) {
        self.stop_patience();
        self.input_ended.set(true);
        if let Some(connection) = &*self.connection.borrow() {
            connection.unregister_producer();
            if !is_pipe(connection) {
                connection.lose_write_connection();
            }
        }
        self.await_silence();
    }

    /// Once all of the input is sent over a named pipe, ends the connection when nothing has come for a while: a pipe
    /// cannot be ended in one direction.
    fn await_silence(self: &Rc<Self>) {
        let connection = self.connection.borrow().clone();
        let Some(connection) = connection.filter(|it| self.input_ended.get() && is_pipe(it)) else {
            return;
        };
        self.stop_patience();
        let reactor = connection.reactor().clone();
        let call = reactor.call_later(INPUT_PATIENCE, move |_| connection.lose_connection());
        self.patience.replace(Some(call));
    }

    /// Handles the end of the connection, or a failure to connect: leaves the loop once all output is written.
    ///
    /// This calls `crash` rather than `stop`, because `stop` would wait no longer than a second for the output.
    fn finish(&self, reactor: &Reactor, end: End) {
        self.stop_patience();
        self.end.borrow_mut().get_or_insert(end);
        match &*self.standard.borrow() {
            Some(standard) if standard.is_open() => {
                standard.unregister_producer();
                standard.lose_connection();
            }
            Some(_) => {}
            None => reactor.crash(),
        }
    }
}
