//! How a reactor is set up.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;

use super::metrics::Counters;
use super::remote::Others;
use super::timers::Timers;
use super::triggers::Triggers;
use super::{Core, Life, Reactor};
use crate::port::sim::Sim;
use crate::port::{Port, PortKind, PortOptions, Table};

/// How many threads run blocking work unless set.
const WORKERS_MAX: usize = 16;

/// Sets a [`Reactor`] up.
#[derive(Clone, Debug)]
pub struct ReactorBuilder {
    port: PortOptions,
    simulation: Option<Sim>,
    workers_max: usize,
    signals: bool,
}

impl Default for ReactorBuilder {
    fn default() -> Self {
        ReactorBuilder {
            port: PortOptions::default(),
            simulation: None,
            workers_max: WORKERS_MAX,
            signals: true,
        }
    }
}

impl ReactorBuilder {
    /// Waits at this kind of port, or fails where there is none; unless set, the best one is taken.
    #[must_use]
    pub fn port(mut self, kind: PortKind) -> ReactorBuilder {
        self.port.kind = Some(kind);
        self
    }

    /// How the port is opened.
    #[must_use]
    pub fn port_options(mut self, options: PortOptions) -> ReactorBuilder {
        self.port = options;
        self
    }

    /// Waits at a port of this simulation instead of the OS's.
    #[must_use]
    pub fn simulation(mut self, simulation: &Sim) -> ReactorBuilder {
        self.simulation = Some(simulation.clone());
        self
    }

    /// How many threads may run blocking work at once: 16 unless set. They start when there is work,
    /// and end when there was none for a while.
    #[must_use]
    pub fn workers(mut self, workers_max: usize) -> ReactorBuilder {
        self.workers_max = workers_max.max(1);
        self
    }

    /// Whether Ctrl-C, Ctrl-Break, SIGINT, SIGTERM and SIGHUP end a running reactor: true unless set.
    /// Their previous meaning returns when the last reactor that handles them stops.
    #[must_use]
    pub fn signals(mut self, handle: bool) -> ReactorBuilder {
        self.signals = handle;
        self
    }

    /// Makes the reactor, on this thread, for this thread.
    ///
    /// # Errors
    ///
    /// As [`Port::open`].
    pub fn build(self) -> io::Result<Reactor> {
        let port = match &self.simulation {
            Some(simulation) => simulation.port(),
            None => Port::open(&self.port)?,
        };
        let core = Core {
            live: RefCell::new(Table::default()),
            timers: RefCell::new(Timers::new(port.now())),
            soon: RefCell::new(VecDeque::new()),
            unflushed: RefCell::new(Vec::new()),
            storage: RefCell::new(Vec::new()),
            completions: RefCell::new(Vec::new()),
            triggers: RefCell::new(Triggers::default()),
            others: Others::new(port.waker(), self.workers_max),
            signals: RefCell::new(None),
            on_signal: RefCell::new(None),
            handle_signals: self.signals && self.simulation.is_none(),
            life: Cell::new(Life::Idle),
            in_turn: Cell::new(false),
            crashed: Cell::new(false),
            counters: Counters::default(),
            port: RefCell::new(Some(port)),
        };
        Ok(Reactor {
            core: Rc::new(core),
            owner: true,
        })
    }
}
