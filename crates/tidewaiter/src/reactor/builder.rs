//! How a reactor is set up.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::metrics::Counters;
use super::pace::{SlowCallback, SlowLimit};
use super::remote::Others;
use super::run::Ending;
use super::timers::Timers;
use super::triggers::Triggers;
use super::{AroundWait, Core, Life, Memory, Reactor, Settings};
use crate::port::sim::Sim;
use crate::port::{Port, PortKind, PortOptions, Table};

/// How many threads run blocking work unless set.
const WORKERS_MAX: usize = 16;

/// How much later than asked a delayed call is made at most to be made together with others, unless set.
const TIMER_SLACK: Duration = Duration::from_micros(100);

/// How much of that Linux takes by itself when it waits for readiness.
const READINESS_SLACK: Duration = Duration::from_micros(50);

/// Sets a [`Reactor`] up.
#[derive(Clone)]
pub struct ReactorBuilder {
    port: PortOptions,
    simulation: Option<Sim>,
    workers_max: usize,
    signals: bool,
    timer_slack: Option<Duration>,
    around_wait: Option<Arc<AroundWait>>,
    slow: Option<Arc<SlowLimit>>,
}

impl Default for ReactorBuilder {
    fn default() -> Self {
        ReactorBuilder {
            port: PortOptions::default(),
            simulation: None,
            workers_max: WORKERS_MAX,
            signals: true,
            timer_slack: None,
            around_wait: None,
            slow: None,
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

    /// How much later than asked [delayed calls](Reactor::call_later) may be made, so that one wake-up does for
    /// those that are due shortly after one another. Unless set: 100 µs; 50 µs on the port `poll`, where Linux
    /// adds as much of its own; none in a simulation.
    ///
    /// A call that is due alone is not made later for this. More saves CPU time where very many are pending, zero
    /// wakes up for each. No call is made early.
    #[must_use]
    pub fn timer_slack(mut self, slack: Duration) -> ReactorBuilder {
        self.timer_slack = Some(slack);
        self
    }

    /// Calls `hook` around each wait of the port that may block, for programs that hold something, such
    /// as the lock of an interpreter, which other threads need meanwhile: let go of it, call the
    /// argument, which waits, and take it back.
    ///
    /// The hook is called on the reactor's thread, no borrow is held while it runs, and a panic in it is
    /// treated as one in a callback. If it does not call its argument, the loop does not wait in this
    /// turn: it takes what is there. Calling it again does nothing. Turns that need not wait do without
    /// the hook.
    #[must_use]
    pub fn around_wait(
        mut self,
        hook: impl Fn(&mut dyn FnMut()) + Send + Sync + 'static,
    ) -> ReactorBuilder {
        self.around_wait = Some(Arc::new(hook));
        self
    }

    /// Calls `report` whenever a callback has kept the loop from everything else for longer than `limit`,
    /// with what it was. Costs a look at the clock for each callback; nothing unless set.
    ///
    /// It is called on the reactor's thread, once the callback has ended, so that what a program notes down
    /// in its callbacks can name the one that was slow.
    #[must_use]
    pub fn slow_callback(
        mut self,
        limit: Duration,
        report: impl Fn(&SlowCallback) + Send + Sync + 'static,
    ) -> ReactorBuilder {
        self.slow = Some(Arc::new(SlowLimit {
            limit,
            report: Box::new(report),
        }));
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
        let usual_slack = match port.info().kind {
            // Its clock stands still while it does not wait: there is nothing to save.
            PortKind::Sim => Duration::ZERO,
            PortKind::Poll => TIMER_SLACK - READINESS_SLACK,
            PortKind::Uring | PortKind::Iocp => TIMER_SLACK,
        };
        let core = Core {
            live: RefCell::new(Table::default()),
            timers: RefCell::new(Timers::new(port.now())),
            soon: RefCell::new(VecDeque::new()),
            unflushed: RefCell::new(Vec::new()),
            memory: Memory::default(),
            completions: RefCell::new(Vec::new()),
            triggers: RefCell::new(Triggers::default()),
            others: Others::new(port.waker(), self.workers_max),
            signals: RefCell::new(None),
            on_signal: RefCell::new(None),
            settings: Settings {
                handle_signals: self.signals && self.simulation.is_none(),
                timer_slack: self.timer_slack.unwrap_or(usual_slack),
                around_wait: self.around_wait,
                slow: self.slow,
                sends_gathered_now: port.sends_gathered_now(),
            },
            life: Cell::new(Life::Idle),
            in_turn: Cell::new(false),
            ending: Ending::new(),
            counters: Counters::default(),
            port: RefCell::new(Some(port)),
        };
        Ok(Reactor {
            core: Rc::new(core),
            owner: true,
        })
    }
}

impl fmt::Debug for ReactorBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReactorBuilder")
            .field("port", &self.port)
            .field("simulated", &self.simulation.is_some())
            .field("workers", &self.workers_max)
            .field("signals", &self.signals)
            .field("timer_slack", &self.timer_slack)
            .finish_non_exhaustive()
    }
}
