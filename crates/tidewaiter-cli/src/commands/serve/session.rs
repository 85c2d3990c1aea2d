//! A session: a connection joined to its child.
//!
//! A session is over when the connection is closed, the child has exited *and* all its pipes are closed. When one side
//! ends, the session ends the other: first by passing on the end of the data, and after a while by force.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tidewaiter::process::{Command, ExitStatus, Signal, SignalTarget, Stdio};
use tidewaiter::{Address, DelayedCall, Process, ProducerKind, Reactor, Reason, Transport};

use super::connection::Connection;
use super::environment;
use super::peer::{IDLE_TIMEOUT, Peer, WAITING_BYTES_MAX};
use super::terminal;
use super::totals::{Totals, add};
use crate::plan::{ServePlan, Streams};

/// Delay between asking a child to end and killing it.
const KILL_AFTER: Duration = Duration::from_secs(2);
/// After a child has exited, its descendants may hold its output open for this long.
const ORPHANS_LIMIT: Duration = Duration::from_secs(2);
/// Upper bound of the output that a pipe still holds when its child is killed.
const PIPE_BYTES_MAX: u64 = 1 << 20;

/// The server, as its sessions see it.
pub(super) trait Owner {
    fn plan(&self) -> &ServePlan;
    fn totals(&self) -> &Totals;
    /// Removes a session that is over.
    fn session_ended(self: Rc<Self>, session: &Rc<Session>);
}

pub(super) struct Session {
    owner: Rc<dyn Owner>,
    pub(super) id: Cell<u64>,
    /// Whether the session counts towards `--max-clients`: its child was started, or failed to start.
    pub(super) served: Cell<bool>,
    reactor: Reactor,
    connection: Connection,
    peer: Address,
    started: Instant,
    process: RefCell<Option<Process>>,
    status: Cell<Option<ExitStatus>>,
    ended: Ended,
    traffic: Traffic,
    activity: Activity,
    reason: RefCell<Option<Cow<'static, str>>>,
    /// The child was asked to end, or was killed.
    ending: Cell<bool>,
    /// Delayed calls, cancelled when the session is over.
    timers: RefCell<Vec<DelayedCall>>,
}

/// The parts of a session that have ended.
struct Ended {
    client: Cell<bool>,
    /// The child has closed its output, and we have shut down the sending side of the connection.
    output: Cell<bool>,
    /// The child has exited and its pipes are closed, or it was never started.
    child: Cell<bool>,
}

/// The bytes that were passed on.
#[derive(Default)]
struct Traffic {
    bytes_in: Cell<u64>,
    bytes_out: Cell<u64>,
    /// Whether what the client sent ends within a line.
    in_line: Cell<bool>,
}

/// The time of the last activity, for `--idle-timeout`.
struct Activity {
    last: Cell<Instant>,
    /// Output that the client had not received at the last check.
    last_left: Cell<usize>,
}

impl Session {
    pub(super) fn new(
        owner: Rc<dyn Owner>,
        reactor: &Reactor,
        connection: Connection,
        peer: Address,
    ) -> Rc<Session> {
        let now = reactor.now();
        Rc::new(Session {
            owner,
            id: Cell::new(0),
            served: Cell::new(false),
            reactor: reactor.clone(),
            connection,
            peer,
            started: now,
            process: RefCell::new(None),
            status: Cell::new(None),
            ended: Ended {
                client: Cell::new(false),
                output: Cell::new(false),
                child: Cell::new(true),
            },
            traffic: Traffic::default(),
            activity: Activity {
                last: Cell::new(now),
                last_left: Cell::new(0),
            },
            reason: RefCell::new(None),
            ending: Cell::new(false),
            timers: RefCell::default(),
        })
    }

    /// Sets the options of the client's socket, which only TCP has.
    pub(super) fn set_options(&self) {
        if self.peer.socket_addr().is_none() {
            return;
        }
        let no_delay = self.owner.plan().no_delay;
        if let Err(error) = self.connection.set_options(no_delay) {
            log::debug!(peer:% = self.peer; "socket options: {error}");
        }
    }

    /// Joins the client to its child, and starts to read from the client, unless the child does that itself.
    pub(super) fn join(self: &Rc<Self>, process: Process) {
        log::debug!(peer:% = self.peer, pid = process.pid(); "connected");
        self.ended.child.set(false);
        if self.connection.is_handed_over() {
            // Only the child has the connection from here on, so its end is the end of the connection.
            self.connection.release();
            self.ended.client.set(true);
            self.process.replace(Some(process));
            return;
        }
        self.join_streams(process);
        let unless_said = self.connection.datagrams().map(|_| IDLE_TIMEOUT);
        if let Some(limit) = self.owner.plan().idle_timeout.or(unless_said) {
            self.touch();
            self.later(limit, move |session| session.check_idle(limit));
        }
    }

    fn join_streams(&self, process: Process) {
        let Some(client) = self.client() else {
            self.process.replace(Some(process));
            let early = self.connection.datagrams().map(Peer::take_early);
            if let Some(stdin) = self.pipe(0) {
                stdin.write(&early.unwrap_or_default());
            }
            return;
        };
        // Backpressure: read from each side only as fast as the other side takes the data.
        if let Some(stdin) = process.pipe(0) {
            stdin.register_producer(client.clone(), ProducerKind::Push);
        }
        if let Some(stdout) = process.pipe(1) {
            client.register_producer(stdout, ProducerKind::Push);
        }
        self.process.replace(Some(process));
        client.resume_producing();
    }

    /// The child's command line and environment.
    pub(super) fn command(&self) -> Command {
        let plan = self.owner.plan();
        let [program, args @ ..] = &plan.command[..] else {
            unreachable!("the command line requires a command");
        };
        let command = plan.confinement.command(program).args(args);
        let local = self.connection.local_addr();
        let is_udp = self.connection.datagrams().is_some();
        let command = environment::describe(command, local.as_ref(), &self.peer, is_udp);
        let command = match self.connection.peer_credentials() {
            Some(peer) => environment::identify(command, &self.peer, peer),
            None => command,
        };
        let command = self.connection.give(command);
        match plan.streams {
            Streams::Terminal(size) => command.terminal(size),
            _ if plan.merge_stderr => command.stderr(Stdio::SameAs(1)),
            _ => command,
        }
    }

    // Events of the client.

    pub(super) fn client_data_received(&self, data: &[u8]) {
        self.touch();
        add(&self.traffic.bytes_in, data.len() as u64);
        add(&self.owner.totals().bytes_in, data.len() as u64);
        let stdin = self.pipe(0);
        match (stdin, self.connection.datagrams()) {
            (None, Some(peer)) if self.ended.child.get() => peer.keep(data),
            (Some(stdin), Some(_)) if stdin.queued() + data.len() > WAITING_BYTES_MAX => {
                log::debug!(peer:% = self.peer; "the command does not read: a datagram is dropped");
            }
            (Some(stdin), _) => stdin.write(data),
            (None, _) => {}
        }
        self.traffic
            .in_line
            .set(!matches!(data.last(), Some(b'\n' | b'\r')));
    }

    /// The client has ended its output: ends the child's input.
    pub(super) fn client_output_ended(self: &Rc<Self>) {
        self.touch();
        if let Some(stdin) = self.pipe(0) {
            stdin.unregister_producer();
            if self.has_terminal() {
                self.type_end();
            } else {
                stdin.lose_connection();
            }
        }
    }

    /// Ends the input of a terminal, which has no end for good: each end is read once, so there is another one for
    /// whatever reads next.
    fn type_end(self: &Rc<Self>) {
        let Some(stdin) = self.pipe(0) else { return };
        if stdin.queued() == 0 || self.traffic.in_line.get() {
            stdin.write(terminal::end_of_input(self.traffic.in_line.replace(false)));
        }
        self.later(terminal::END_AGAIN, Session::type_end);
    }

    pub(super) fn client_lost(self: &Rc<Self>, reason: &Reason) {
        self.ended.client.set(true);
        match reason {
            // The client reacts to the end of the output. The child has ended, though its exit may be reported later.
            Reason::Done if self.ended.output.get() => {}
            Reason::Done => self.because("client closed"),
            Reason::Reset(_) => self.because("client reset"),
            other => self.because(other.to_string()),
        }
        if self.ended.child.get() {
            self.finish();
            return;
        }
        if self.has_terminal() {
            // Together with the other end below, this hangs up.
            if let Some(stdin) = self.pipe(0) {
                stdin.abort_connection();
            }
        } else {
            // Deliver the received data to the child, then end its input.
            self.client_output_ended();
        }
        // The output has no receiver any more.
        if let Some(stdout) = self.pipe(1) {
            stdout.lose_connection();
        }
        self.later(self.owner.plan().grace, Session::end_tree);
    }

    /// The peer of a datagram socket is gone: ends the child's input, and after a while the child. What the peer sends
    /// from now on is for another child.
    pub(super) fn peer_gone(self: &Rc<Self>, reason: &'static str) {
        self.because(reason);
        self.connection.release();
        self.client_output_ended();
        self.later(self.owner.plan().grace, Session::end_tree);
    }

    // Events of the child.

    pub(super) fn child_data_received(&self, data: &[u8]) {
        self.touch();
        add(&self.traffic.bytes_out, data.len() as u64);
        add(&self.owner.totals().bytes_out, data.len() as u64);
        match &self.connection {
            Connection::Joined(client) => client.write(data),
            Connection::Datagrams(peer) => peer.send(data),
            Connection::HandedOver(_) => {}
        }
    }

    /// The child has closed its input: from now on, reads data from the client only to drop it.
    pub(super) fn child_input_closed(&self) {
        if let Some(client) = self.client() {
            client.resume_producing();
        }
    }

    /// The child has closed its output: shuts down the sending side of the connection.
    pub(super) fn child_output_ended(&self) {
        self.ended.output.set(true);
        self.deliver_rest();
    }

    pub(super) fn child_exited(self: &Rc<Self>, status: ExitStatus) {
        self.status.set(Some(status));
        self.owner.totals().count_exit(status);
        self.because("child ended");
        // Close the pipe even if a descendant of the child still reads from it: it serves no client.
        if let Some(stdin) = self.pipe(0) {
            stdin.abort_connection();
        }
        if !self.connection.is_handed_over() {
            self.later(ORPHANS_LIMIT, Session::end_tree);
            self.watch_rest();
        } else if let Some(process) = &*self.process.borrow() {
            // Nobody tells which of the processes that the child left have the connection.
            process.terminate_then_kill(KILL_AFTER);
        }
    }

    /// The child has exited, and all its pipes are closed.
    pub(super) fn child_ended(self: &Rc<Self>) {
        self.ended.child.set(true);
        if self.ended.client.get() || self.connection.datagrams().is_some() {
            self.finish();
        } else {
            self.deliver_rest();
        }
    }

    // Ending.

    /// Resets the connection after a while, when the server ends: the client has as much time as its child.
    pub(super) fn cut_client_off_soon(self: &Rc<Self>) {
        self.later(KILL_AFTER * 2, |session| session.reset());
    }

    /// Closes a connection that has no child.
    pub(super) fn turn_away(self: &Rc<Self>, reason: &'static str) {
        self.because(reason);
        if let Some(client) = self.client() {
            client.lose_connection();
        } else {
            self.connection.release();
            // No event follows.
            self.later(Duration::ZERO, Session::finish);
        }
    }

    /// Resets a connection that is ours.
    pub(super) fn reset(&self) {
        if let Some(client) = self.client() {
            client.abort_connection();
        }
    }

    /// Reads no output of the child for now: the network takes no more.
    pub(super) fn pause_output(&self) {
        if let Some(stdout) = self.pipe(1) {
            stdout.pause_producing();
        }
    }

    pub(super) fn resume_output(&self) {
        if let Some(stdout) = self.pipe(1) {
            stdout.resume_producing();
        }
    }

    /// Leaves the client's data with the kernel, until there is a child.
    pub(super) fn hold_back(&self) {
        if let Some(client) = self.client() {
            client.pause_producing();
        }
    }

    /// Asks the child and its descendants to end, and kills them a little later.
    pub(super) fn end_tree(self: &Rc<Self>) {
        if self.ended.child.get() || self.ending.replace(true) {
            return;
        }
        self.signal(Signal::Terminate);
        if let Some(hang_up) = terminal::HANG_UP.filter(|_| self.has_terminal()) {
            // Shells at a terminal ignore the request.
            self.signal(hang_up);
        }
        self.later(KILL_AFTER, Session::kill);
    }

    /// Kills the child and its descendants.
    pub(super) fn kill(self: &Rc<Self>) {
        if self.ended.child.get() {
            return;
        }
        self.ending.set(true);
        self.signal(Signal::Kill);
        let output = self.traffic.bytes_out.get();
        self.later(KILL_AFTER, move |session| session.cut_off(output, output));
    }

    /// Closes pipes that stay open after the kill, because a process that we cannot signal holds them.
    ///
    /// Waits as long as the client is still receiving output that was in the pipe. `at_kill` and `before` count the
    /// bytes of output at the kill and at the last check.
    fn cut_off(self: &Rc<Self>, at_kill: u64, before: u64) {
        let output = self.traffic.bytes_out.get();
        let flows = output > before && output - at_kill < PIPE_BYTES_MAX;
        let takes = flows || self.client().is_some_and(Transport::is_congested);
        if self.ended.client.get() || !takes {
            for child_fd in 0..3 {
                if let Some(pipe) = self.pipe(child_fd) {
                    pipe.abort_connection();
                }
            }
        }
        if !self.ended.child.get() {
            self.later(KILL_AFTER, move |session| session.cut_off(at_kill, output));
        }
    }

    fn signal(&self, signal: Signal) {
        let process = self.process.borrow();
        let Some(process) = &*process else { return };
        match process.signal(signal, SignalTarget::Tree) {
            Ok(unreached) if signal == Signal::Kill && !unreached.processes.is_empty() => {
                let left = unreached.processes;
                log::warn!(peer:% = self.peer, pid = process.pid(); "cannot kill these processes of the command: {left:?}");
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                log::debug!(pid = process.pid(); "{signal:?}: {error}");
            }
            _ => {}
        }
    }

    fn check_idle(self: &Rc<Self>, limit: Duration) {
        // A client that receives data is active, too.
        let left = self.undelivered().unwrap_or(0);
        if self.activity.last_left.replace(left) != left {
            self.touch();
        }
        let now = self.reactor().now();
        let idle = now.saturating_duration_since(self.activity.last.get());
        if let Some(rest) = limit.checked_sub(idle).filter(|rest| !rest.is_zero()) {
            self.later(rest, move |session| session.check_idle(limit));
            return;
        }
        let Some(client) = self.client() else {
            self.peer_gone("idle timeout");
            return;
        };
        self.because("idle timeout");
        self.end_tree();
        if left > 0 {
            client.abort_connection();
        } else {
            client.unregister_producer();
            client.lose_connection();
        }
    }

    /// Notes why the session ends. The log shows the first reason.
    pub(super) fn because(&self, reason: impl Into<Cow<'static, str>>) {
        self.reason
            .borrow_mut()
            .get_or_insert_with(|| reason.into());
    }

    fn finish(self: &Rc<Self>) {
        for timer in self.timers.take() {
            timer.cancel();
        }
        let pid = self.pid();
        self.process.take();
        self.connection.release();
        let now = self.reactor().now();
        let elapsed = now.saturating_duration_since(self.started);
        let bytes = |count: &Cell<u64>| match self.connection.is_handed_over() {
            false => count.get().to_string(),
            true => "unknown".to_owned(),
        };
        log::info!(
            peer:% = self.peer,
            pid = pid.unwrap_or_default(),
            seconds:% = format_args!("{:.3}", elapsed.as_secs_f64()),
            bytes_in:% = bytes(&self.traffic.bytes_in),
            bytes_out:% = bytes(&self.traffic.bytes_out),
            exit:% = self.status.get().map_or_else(|| "none".to_owned(), |status| status.to_string()),
            reason:% = self.reason.borrow().as_deref().unwrap_or("none");
            "connection ended"
        );
        Rc::clone(&self.owner).session_ended(self);
    }

    // Helpers.

    /// Calls `call` after `delay`, unless the session is over by then.
    pub(super) fn later(
        self: &Rc<Self>,
        delay: Duration,
        call: impl FnOnce(&Rc<Session>) + 'static,
    ) {
        let session = Rc::clone(self);
        let timer = self.reactor().call_later(delay, move |_| call(&session));
        let mut timers = self.timers.borrow_mut();
        timers.retain(DelayedCall::is_active);
        timers.push(timer);
    }

    /// Whether the child has a terminal.
    fn has_terminal(&self) -> bool {
        matches!(self.owner.plan().streams, Streams::Terminal(_))
    }

    fn touch(&self) {
        self.activity.last.set(self.reactor().now());
    }

    pub(super) fn reactor(&self) -> &Reactor {
        &self.reactor
    }

    /// The client, if we pass on its bytes.
    pub(super) fn client(&self) -> Option<&Transport> {
        self.connection.transport()
    }

    /// Whether the child has exited and all its pipes are closed.
    pub(super) fn child_has_ended(&self) -> bool {
        self.ended.child.get()
    }

    fn pipe(&self, child_fd: u32) -> Option<Transport> {
        self.process.borrow().as_ref()?.pipe(child_fd)
    }

    /// The child's process id, from its start to the end of the session.
    pub(super) fn pid(&self) -> Option<u32> {
        self.process.borrow().as_ref().map(Process::pid)
    }

    pub(super) fn peer(&self) -> &Address {
        &self.peer
    }
}
