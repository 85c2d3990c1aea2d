//! The server: which sessions run, which wait for a place, and how all of them end at shutdown.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use tidewaiter::port::{ShutdownSignal, Socket};
use tidewaiter::process::SpawnError;
use tidewaiter::{Address, DelayedCall, Listener, Reactor};

use super::child::Child;
use super::connection::Connection;
use super::limits::{self, is_shortage};
use super::session::{Owner, Session};
use super::totals::{Totals, add};
use crate::plan::ServePlan;

/// Delay until the next attempt to start a child after resources ran out. The end of a session starts one earlier.
const RETRY: Duration = Duration::from_secs(1);

/// The stages of a shutdown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Serving,
    /// Accepts no connections; children may finish.
    Draining,
    /// The server ends its children.
    Ending,
}

pub(super) struct Server {
    pub(super) reactor: Reactor,
    pub(super) plan: ServePlan,
    pub(super) totals: Totals,
    listeners: RefCell<Vec<Listener>>,
    sessions: RefCell<BTreeMap<u64, Rc<Session>>>,
    next_id: Cell<u64>,
    /// The most clients served at once; `usize::MAX` for no limit.
    pub(super) clients_max: usize,
    /// Number of sessions that count towards `--max-clients`.
    served: Cell<usize>,
    /// Accepted connections without a child, oldest first. They are few, because the server stops accepting when it
    /// is full.
    waiting: RefCell<VecDeque<Rc<Session>>>,
    paused: Cell<bool>,
    /// The next attempt to start a child; set while resources are short.
    retry: RefCell<Option<DelayedCall>>,
    stage: Cell<Stage>,
    forced: Cell<bool>,
}

impl Server {
    pub(super) fn new(reactor: &Reactor, plan: ServePlan) -> Rc<Server> {
        let clients_max = limits::clients_max(&plan);
        Rc::new(Server {
            reactor: reactor.clone(),
            plan,
            totals: Totals::default(),
            listeners: RefCell::default(),
            sessions: RefCell::default(),
            next_id: Cell::new(0),
            clients_max,
            served: Cell::new(0),
            waiting: RefCell::default(),
            paused: Cell::new(false),
            retry: RefCell::default(),
            stage: Cell::new(Stage::Serving),
            forced: Cell::new(false),
        })
    }

    pub(super) fn set_listeners(&self, listeners: Vec<Listener>) {
        self.listeners.replace(listeners);
    }

    /// Whether the shutdown had to end children that did not finish by themselves.
    pub(super) fn forced(&self) -> bool {
        self.forced.get()
    }

    pub(super) fn session_count(&self) -> usize {
        self.sessions.borrow().len()
    }

    /// Whether a new peer that cannot wait would get a COMMAND at once, as far as is known.
    pub(super) fn has_place(&self) -> bool {
        self.stage.get() == Stage::Serving
            && self.served.get() < self.clients_max
            && self.retry.borrow().is_none()
    }

    pub(super) fn is_paused(&self) -> bool {
        self.paused.get()
    }

    /// Takes a new connection, for a child to have.
    pub(super) fn take(self: &Rc<Self>, socket: Socket, peer: Address) {
        let owner = Rc::clone(self) as Rc<dyn Owner>;
        let connection = Connection::HandedOver(RefCell::new(Some(socket)));
        let session = Session::new(owner, &self.reactor, connection, peer);
        self.enter(&session);
    }

    /// Adds a new session, and starts its child if there is a place.
    pub(super) fn enter(self: &Rc<Self>, session: &Rc<Session>) {
        let id = self.next_id.replace(self.next_id.get() + 1);
        session.id.set(id);
        add(&self.totals.connections, 1);
        self.sessions.borrow_mut().insert(id, Rc::clone(session));
        if self.stage.get() != Stage::Serving {
            session.turn_away("shut down");
            return;
        }
        // The client's data must wait for the child, which usually starts at once.
        session.hold_back();
        self.waiting.borrow_mut().push_back(Rc::clone(session));
        if self.retry.borrow().is_none() {
            self.fill();
        }
    }

    /// Starts children for waiting sessions until there is no place, no session or no resource left.
    fn fill(self: &Rc<Self>) {
        while self.stage.get() == Stage::Serving && self.served.get() < self.clients_max {
            let Some(next) = self.waiting.borrow_mut().pop_front() else {
                break;
            };
            if let Err(error) = self.start_child(&next) {
                self.run_short(next, &error);
                return;
            }
            self.served.set(self.served.get() + 1);
            next.served.set(true);
        }
        if let Some(retry) = self.retry.take() {
            retry.cancel();
            log::info!("accepting again, commands can be started");
        }
        let full = self.served.get() >= self.clients_max;
        self.set_paused(full);
    }

    /// Starts a session's child. Returns an error if resources are short, so that the caller can try again; after any
    /// other failure, closes the connection.
    fn start_child(&self, session: &Rc<Session>) -> Result<(), SpawnError> {
        session.set_options();
        let child = Child::new(session);
        match self.reactor.spawn_process(&session.command(), child) {
            Ok(process) => session.join(process),
            Err(error) if is_shortage(&error.source) => return Err(error),
            Err(error) => {
                add(&self.totals.spawn_failures, 1);
                log::error!(peer:% = session.peer(); "{error}");
                session.turn_away("spawn failed");
            }
        }
        Ok(())
    }

    /// Handles a shortage of resources: puts the session back into the queue, stops accepting, and plans the next
    /// attempt.
    fn run_short(self: &Rc<Self>, session: Rc<Session>, error: &SpawnError) {
        let server = Rc::clone(self);
        self.waiting.borrow_mut().push_front(session);
        self.set_paused(true);
        let call = self.reactor.call_later(RETRY, move |_| server.fill());
        if let Some(earlier) = self.retry.replace(Some(call)) {
            earlier.cancel();
        } else {
            log::warn!("{error}: accepting pauses, connections wait");
        }
    }

    fn set_paused(&self, pause: bool) {
        if self.paused.replace(pause) == pause {
            return;
        }
        let listeners = self.listeners.borrow();
        if pause {
            log::debug!(clients = self.served.get(); "full: accepting pauses");
            listeners.iter().for_each(Listener::pause_accepting);
        } else {
            log::debug!("accepting again");
            listeners.iter().for_each(Listener::resume_accepting);
        }
    }

    // Ending.

    /// Handles a signal to shut down. The first one starts to drain, the second one ends all sessions at once. A
    /// hang-up does not count as the second one, because service managers send it along with SIGTERM.
    pub(super) fn shut_down(self: &Rc<Self>, signal: ShutdownSignal) {
        if self.stage.get() != Stage::Serving {
            if signal == ShutdownSignal::Hangup {
                return;
            }
            log::warn!(signal:% = signal, clients = self.session_count(); "second signal: ending all children now");
            self.end_now();
            return;
        }
        self.stage.set(Stage::Draining);
        log::info!(signal:% = signal, clients = self.session_count(); "no new connections; children may finish");
        for listener in self.listeners.take() {
            listener.stop_listening();
        }
        for session in self.waiting.take() {
            session.turn_away("shut down");
        }
        if !self.stop_if_empty() {
            let server = Rc::clone(self);
            self.reactor
                .call_later(self.plan.grace, move |_| server.end_sessions());
        }
    }

    /// Asks all children to end, when the grace period is over.
    fn end_sessions(&self) {
        if self.stage.replace(Stage::Ending) != Stage::Draining {
            return;
        }
        log::warn!(clients = self.session_count(); "the grace period is over: ending the children");
        self.forced.set(true);
        for session in self.sessions() {
            session.because("shut down");
            session.end_tree();
            session.cut_client_off_soon();
        }
    }

    /// Kills all children, and resets all connections.
    fn end_now(&self) {
        self.stage.set(Stage::Ending);
        self.forced.set(true);
        for session in self.sessions() {
            session.because("shut down");
            session.kill();
            session.reset();
        }
        // The reactor closes everything else as it stops.
        self.reactor.stop();
    }

    pub(super) fn sessions(&self) -> Vec<Rc<Session>> {
        self.sessions.borrow().values().cloned().collect()
    }

    fn stop_if_empty(&self) -> bool {
        let empty = self.stage.get() != Stage::Serving && self.sessions.borrow().is_empty();
        if empty {
            self.reactor.stop();
        }
        empty
    }
}

impl Owner for Server {
    fn plan(&self) -> &ServePlan {
        &self.plan
    }

    fn totals(&self) -> &Totals {
        &self.totals
    }

    fn session_ended(self: Rc<Self>, session: &Rc<Session>) {
        self.sessions.borrow_mut().remove(&session.id.get());
        self.waiting
            .borrow_mut()
            .retain(|waiting| waiting.id != session.id);
        if session.served.get() {
            self.served.set(self.served.get() - 1);
        }
        self.fill();
        self.stop_if_empty();
    }
}
