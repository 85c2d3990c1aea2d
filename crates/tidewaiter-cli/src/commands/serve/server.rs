//! The server: who is served, who waits, and how it ends.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use tidewaiter::port::ShutdownSignal;
use tidewaiter::process::SpawnError;
use tidewaiter::{DelayedCall, Listener, Reactor};

use super::child::Child;
use super::limits::is_shortage;
use super::session::{Owner, Session};
use super::totals::{Totals, add};
use crate::plan::ServePlan;

/// When something runs out that a child takes, the next attempt comes after so long, unless a session ends before.
const RETRY: Duration = Duration::from_secs(1);

/// How far the end has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Serving,
    /// No new connections; children may finish.
    Draining,
    /// Children are being ended.
    Ending,
}

pub(super) struct Server {
    pub(super) reactor: Reactor,
    pub(super) plan: ServePlan,
    pub(super) totals: Totals,
    listeners: RefCell<Vec<Listener>>,
    sessions: RefCell<BTreeMap<u64, Rc<Session>>>,
    next_id: Cell<u64>,
    /// How many sessions have a child, or are about to.
    served: Cell<usize>,
    /// Connections that were accepted and have no place, in the order in which they came: few, as accepting
    /// pauses then.
    waiting: RefCell<VecDeque<Rc<Session>>>,
    paused: Cell<bool>,
    /// Something has run out that a child takes, and this is when the next attempt to start one is made.
    retry: RefCell<Option<DelayedCall>>,
    stage: Cell<Stage>,
    forced: Cell<bool>,
}

impl Server {
    pub(super) fn new(reactor: &Reactor, plan: ServePlan) -> Rc<Server> {
        Rc::new(Server {
            reactor: reactor.clone(),
            plan,
            totals: Totals::default(),
            listeners: RefCell::default(),
            sessions: RefCell::default(),
            next_id: Cell::new(0),
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

    /// Whether a child had to be ended by force.
    pub(super) fn forced(&self) -> bool {
        self.forced.get()
    }

    pub(super) fn current(&self) -> usize {
        self.sessions.borrow().len()
    }

    pub(super) fn is_paused(&self) -> bool {
        self.paused.get()
    }

    /// Takes a new session in: serves it, or has it wait.
    pub(super) fn enter(self: &Rc<Self>, session: &Rc<Session>) {
        let id = self.next_id.replace(self.next_id.get() + 1);
        session.id.set(id);
        add(&self.totals.connections, 1);
        self.sessions.borrow_mut().insert(id, Rc::clone(session));
        if self.stage.get() != Stage::Serving {
            session.turn_away();
            return;
        }
        // Until it is served, which it is at once as a rule.
        session.client.pause_producing();
        self.waiting.borrow_mut().push_back(Rc::clone(session));
        if self.retry.borrow().is_none() {
            self.fill();
        }
    }

    /// Serves those who wait, as far as there are places and children can be started.
    fn fill(self: &Rc<Self>) {
        while self.stage.get() == Stage::Serving && self.served.get() < self.plan.clients_max {
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
        let full = self.served.get() >= self.plan.clients_max;
        self.set_paused(full);
    }

    /// Starts a session's child. A shortage is an error: the caller may try again. For any other failure, this
    /// closes the connection.
    fn start_child(&self, session: &Rc<Session>) -> Result<(), SpawnError> {
        session.set_options();
        let child = Child::new(session);
        match self.reactor.spawn_process(&session.command(), child) {
            Ok(process) => session.join(process),
            Err(error) if is_shortage(&error.source) => return Err(error),
            Err(error) => {
                add(&self.totals.spawn_failures, 1);
                log::error!(peer:% = session.peer(); "{error}");
                session.because("spawn failed");
                session.client.lose_connection();
            }
        }
        Ok(())
    }

    /// Something has run out that a child takes: whoever comes waits until there is some again.
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

    /// The process was asked to end: drains the first time, ends all at once the second time. A hang-up is no
    /// second time: service managers send one along with SIGTERM.
    pub(super) fn leave(self: &Rc<Self>, signal: ShutdownSignal) {
        if self.stage.get() != Stage::Serving {
            if signal == ShutdownSignal::Hangup {
                return;
            }
            log::warn!(signal:% = signal, clients = self.current(); "asked again: ending all children now");
            self.end_now();
            return;
        }
        self.stage.set(Stage::Draining);
        log::info!(signal:% = signal, clients = self.current(); "no new connections; children may finish");
        for listener in self.listeners.take() {
            listener.stop_listening();
        }
        for session in self.waiting.take() {
            session.turn_away();
        }
        if !self.stop_if_empty() {
            let server = Rc::clone(self);
            self.reactor
                .call_later(self.plan.grace, move |_| server.end_sessions());
        }
    }

    /// The grace is over.
    fn end_sessions(&self) {
        if self.stage.replace(Stage::Ending) != Stage::Draining {
            return;
        }
        log::warn!(clients = self.current(); "the grace is over: ending the children");
        self.forced.set(true);
        for session in self.all() {
            session.because("shut down");
            session.end_tree();
            session.cut_client_off_soon();
        }
    }

    fn end_now(&self) {
        self.stage.set(Stage::Ending);
        self.forced.set(true);
        for session in self.all() {
            session.because("shut down");
            session.kill();
            session.client.abort_connection();
        }
        // Whatever is left is ended by the reactor itself.
        self.reactor.stop();
    }

    pub(super) fn all(&self) -> Vec<Rc<Session>> {
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
