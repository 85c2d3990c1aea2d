//! One connection and its child, joined.
//!
//! A session is over when the client's connection is closed *and* the child with all its pipes is gone.
//! Each side's end is passed on to the other; what does not end by itself is ended after a while.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tidewaiter::process::{Command, ExitStatus, Signal, SignalTarget, Stdio};
use tidewaiter::{DelayedCall, Process, ProducerKind, Reactor, Reason, Transport};

use super::totals::{Totals, add};
use crate::plan::ServePlan;

/// How long after asking a child to end it is ended by force.
const KILL_AFTER: Duration = Duration::from_secs(2);
/// How long what a child left running may keep its output open.
const ORPHANS_LIMIT: Duration = Duration::from_secs(2);
/// The most output that a pipe may hold when its child is killed.
const PIPE_BYTES_MAX: u64 = 1 << 20;
/// After how long a silent client is probed.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// The server, as its sessions see it.
pub(super) trait Owner {
    fn plan(&self) -> &ServePlan;
    fn totals(&self) -> &Totals;
    /// A session is over: its client and its child are gone.
    fn session_ended(self: Rc<Self>, session: &Rc<Session>);
}

pub(super) struct Session {
    owner: Rc<dyn Owner>,
    pub(super) id: Cell<u64>,
    /// Whether it takes up one of the places that `--max-clients` gives.
    pub(super) served: Cell<bool>,
    pub(super) client: Transport,
    peer: SocketAddr,
    started: Instant,
    process: RefCell<Option<Process>>,
    status: Cell<Option<ExitStatus>>,
    over: Over,
    bytes_in: Cell<u64>,
    bytes_out: Cell<u64>,
    activity: Activity,
    reason: RefCell<Option<Cow<'static, str>>>,
    ending: Cell<bool>,
    /// Calls that only matter while the session lives.
    timers: RefCell<Vec<DelayedCall>>,
}

/// What of a session has come to its end.
struct Over {
    client: Cell<bool>,
    /// The child has said all, and the client was told so.
    child_silent: Cell<bool>,
    child: Cell<bool>,
}

/// When something moved last.
struct Activity {
    last: Cell<Instant>,
    /// How much the client had not taken then.
    last_left: Cell<usize>,
}

impl Session {
    pub(super) fn new(owner: Rc<dyn Owner>, client: &Transport, peer: SocketAddr) -> Rc<Session> {
        let now = client.reactor().now();
        Rc::new(Session {
            owner,
            id: Cell::new(0),
            served: Cell::new(false),
            client: client.clone(),
            peer,
            started: now,
            process: RefCell::new(None),
            status: Cell::new(None),
            over: Over {
                client: Cell::new(false),
                child_silent: Cell::new(false),
                child: Cell::new(true),
            },
            bytes_in: Cell::new(0),
            bytes_out: Cell::new(0),
            activity: Activity {
                last: Cell::new(now),
                last_left: Cell::new(0),
            },
            reason: RefCell::new(None),
            ending: Cell::new(false),
            timers: RefCell::default(),
        })
    }

    /// Sets the options of the client's socket.
    pub(super) fn set_options(&self) {
        let set = self.client.set_no_delay(self.owner.plan().no_delay);
        if let Err(error) = set.and_then(|()| self.client.set_keep_alive(Some(KEEP_ALIVE))) {
            log::debug!(peer:% = self.peer; "socket options: {error}");
        }
    }

    /// Joins the client to its child, and starts to read from the client.
    pub(super) fn join(self: &Rc<Self>, process: Process) {
        log::debug!(peer:% = self.peer, pid = process.pid(); "connected");
        self.over.child.set(false);
        // Each side is read no faster than the other one takes it.
        if let Some(stdin) = process.pipe(0) {
            stdin.register_producer(self.client.clone(), ProducerKind::Push);
        }
        if let Some(stdout) = process.pipe(1) {
            self.client.register_producer(stdout, ProducerKind::Push);
        }
        self.process.replace(Some(process));
        self.client.resume_producing();
        if let Some(limit) = self.owner.plan().idle_timeout {
            self.touch();
            self.later(limit, move |session| session.check_idle(limit));
        }
    }

    /// The child's command line and environment.
    pub(super) fn command(&self) -> Command {
        let [program, args @ ..] = &self.owner.plan().command[..] else {
            unreachable!("the command line requires a command");
        };
        let v6 = self.peer.is_ipv6();
        let (ip, port) = (self.peer.ip().to_string(), self.peer.port().to_string());
        let mut command = Command::new(program)
            .args(args)
            .env("REMOTE_ADDR", &ip)
            .env("REMOTE_PORT", &port)
            .env("PROTO", if v6 { "TCP6" } else { "TCP" })
            .env("TCPREMOTEIP", &ip)
            .env("TCPREMOTEPORT", &port)
            // Inherited ones would be lies.
            .env_remove("TCPREMOTEHOST")
            .env_remove("TCPREMOTEINFO")
            .env_remove("TCPLOCALHOST");
        if let Ok(local) = self.client.local_addr() {
            command = command
                .env("TCPLOCALIP", local.ip().to_string())
                .env("TCPLOCALPORT", local.port().to_string());
        }
        if self.owner.plan().merge_stderr {
            command.stderr(Stdio::Stdout)
        } else {
            command
        }
    }

    // From the client.

    pub(super) fn client_said(&self, data: &[u8]) {
        self.touch();
        add(&self.bytes_in, data.len() as u64);
        add(&self.owner.totals().bytes_in, data.len() as u64);
        if let Some(stdin) = self.pipe(0) {
            stdin.write(data);
        }
    }

    /// The client has said all: so the child's input ends.
    pub(super) fn client_said_all(&self) {
        self.touch();
        if let Some(stdin) = self.pipe(0) {
            stdin.unregister_producer();
            stdin.lose_connection();
        }
    }

    pub(super) fn client_lost(self: &Rc<Self>, reason: &Reason) {
        self.over.client.set(true);
        match reason {
            // It only answers the child's end, of which we may hear a moment later.
            Reason::Done if self.over.child_silent.get() => {}
            Reason::Done => self.because("client closed"),
            Reason::Reset(_) => self.because("client reset"),
            other => self.because(other.to_string()),
        }
        if self.over.child.get() {
            self.finish();
            return;
        }
        // Nobody takes the child's output any more; its input still gets what was sent.
        self.client_said_all();
        if let Some(stdout) = self.pipe(1) {
            stdout.lose_connection();
        }
        self.later(self.owner.plan().grace, Session::end_tree);
    }

    // From the child.

    pub(super) fn child_said(&self, data: &[u8]) {
        self.touch();
        add(&self.bytes_out, data.len() as u64);
        add(&self.owner.totals().bytes_out, data.len() as u64);
        self.client.write(data);
    }

    /// The child takes no more input: what the client still says is read and dropped.
    pub(super) fn child_input_lost(&self) {
        self.client.resume_producing();
    }

    /// The child has said all: so the client sees the end.
    pub(super) fn child_said_all(&self) {
        self.over.child_silent.set(true);
        self.client.unregister_producer();
        self.client.lose_write_connection();
    }

    pub(super) fn child_exited(self: &Rc<Self>, status: ExitStatus) {
        self.status.set(Some(status));
        self.owner.totals().count_exit(status);
        self.because("child ended");
        // A descendant that shares the pipe is none of the client's business.
        if let Some(stdin) = self.pipe(0) {
            stdin.abort_connection();
        }
        self.later(ORPHANS_LIMIT, Session::end_tree);
    }

    /// The child and all its pipes are gone.
    pub(super) fn child_ended(self: &Rc<Self>) {
        self.over.child.set(true);
        if self.over.client.get() {
            self.finish();
        } else {
            self.deliver_rest();
        }
    }

    // Ending.

    /// The server ends: the client has as long as its child to take the rest.
    pub(super) fn cut_client_off_soon(self: &Rc<Self>) {
        self.later(KILL_AFTER * 2, |session| session.client.abort_connection());
    }

    /// It came too late.
    pub(super) fn turn_away(&self) {
        self.because("shut down");
        self.client.lose_connection();
    }

    /// Asks the child and its descendants to end, and ends them by force a little later.
    pub(super) fn end_tree(self: &Rc<Self>) {
        if self.over.child.get() || self.ending.replace(true) {
            return;
        }
        self.signal(Signal::Terminate);
        self.later(KILL_AFTER, Session::kill);
    }

    /// Ends the child and its descendants by force.
    pub(super) fn kill(self: &Rc<Self>) {
        if self.over.child.get() {
            return;
        }
        self.ending.set(true);
        self.signal(Signal::Kill);
        let output = self.bytes_out.get();
        self.later(KILL_AFTER, move |session| session.cut_off(output, output));
    }

    /// Somebody out of reach holds the child's pipes: lets go of them, unless the client is still busy with
    /// what the child had written. `at_kill` and `before` are how much output had come when the child was
    /// killed, and at the last look.
    fn cut_off(self: &Rc<Self>, at_kill: u64, before: u64) {
        let output = self.bytes_out.get();
        let flows = output > before && output - at_kill < PIPE_BYTES_MAX;
        if self.over.client.get() || !(flows || self.client.is_congested()) {
            for child_fd in 0..3 {
                if let Some(pipe) = self.pipe(child_fd) {
                    pipe.abort_connection();
                }
            }
        }
        if !self.over.child.get() {
            self.later(KILL_AFTER, move |session| session.cut_off(at_kill, output));
        }
    }

    fn signal(&self, signal: Signal) {
        let process = self.process.borrow();
        let Some(process) = &*process else { return };
        match process.signal(signal, SignalTarget::Tree) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                log::debug!(pid = process.pid(); "{signal:?}: {error}");
            }
            _ => {}
        }
    }

    fn check_idle(self: &Rc<Self>, limit: Duration) {
        // Bytes that the client takes are activity too.
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
        self.because("idle timeout");
        self.end_tree();
        if left > 0 {
            self.client.abort_connection();
        } else {
            self.client.unregister_producer();
            self.client.lose_connection();
        }
    }

    /// The first reason is the one that is logged.
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
        let now = self.reactor().now();
        let elapsed = now.saturating_duration_since(self.started);
        log::info!(
            peer:% = self.peer,
            pid = pid.unwrap_or_default(),
            seconds:% = format_args!("{:.3}", elapsed.as_secs_f64()),
            bytes_in = self.bytes_in.get(),
            bytes_out = self.bytes_out.get(),
            exit:% = self.status.get().map_or_else(|| "none".to_owned(), |status| status.to_string()),
            reason:% = self.reason.borrow().as_deref().unwrap_or("none");
            "connection ended"
        );
        Rc::clone(&self.owner).session_ended(self);
    }

    // Helpers.

    /// Has `call` called later, unless the session is over by then.
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

    fn touch(&self) {
        self.activity.last.set(self.reactor().now());
    }

    pub(super) fn reactor(&self) -> &Reactor {
        self.client.reactor()
    }

    fn pipe(&self, child_fd: u32) -> Option<Transport> {
        self.process.borrow().as_ref()?.pipe(child_fd)
    }

    /// The child's number, from its start to the end of the session.
    pub(super) fn pid(&self) -> Option<u32> {
        self.process.borrow().as_ref().map(Process::pid)
    }

    pub(super) fn peer(&self) -> SocketAddr {
        self.peer
    }
}
