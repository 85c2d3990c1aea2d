//! Sets up a reactor.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::metrics::Counters;
use super::pace::{SlowCallback, SlowLimit};
use super::remote::OtherThreads;
use super::run::Ending;
use super::signals::Signals;
use super::timers::Timers;
use super::triggers::Triggers;
use super::{AroundWait, Core, Life, Memory, Queued, Reactor, Resolver, Sends, Settings};
use crate::port::sim::Sim;
use crate::port::{Port, PortKind, PortOptions, Table};

/// The default number of threads for blocking work.
const WORKERS_MAX: usize = 16;

/// By default, a delayed call may be made this much later than asked, so that one wake-up serves several.
const TIMER_SLACK: Duration = Duration::from_micros(100);

/// With more, calls would not be made as long as there is always another one to come.
const TIMER_SLACK_MAX: Duration = Duration::from_secs(1);

/// Linux itself adds this much when it waits for readiness.
const READINESS_SLACK: Duration = Duration::from_micros(50);

/// Sets up a [`Reactor`].
#[derive(Clone)]
pub struct ReactorBuilder {
    port: PortOptions,
    simulation: Option<Sim>,
    workers_max: usize,
    signals: bool,
    timer_slack: Option<Duration>,
    around_wait: Option<Arc<AroundWait>>,
    resolver: Option<Arc<Resolver>>,
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
            resolver: None,
            slow: None,
        }
    }
}

impl ReactorBuilder {
    /// Sets the kind of port to wait at, as [`PortOptions::kind`]. [`build`](ReactorBuilder::build) fails if it
    /// cannot be opened.
    #[must_use]
    pub fn port(mut self, kind: PortKind) -> ReactorBuilder {
        self.port.kind = Some(kind);
        self
    }

    /// Sets all options of the port. Replaces the kind set by [`port`](ReactorBuilder::port), too.
    #[must_use]
    pub fn port_options(mut self, options: PortOptions) -> ReactorBuilder {
        self.port = options;
        self
    }

    /// Waits at a port of this simulation instead of the OS's. The options of the port then have no effect, and
    /// signals are left alone.
    #[must_use]
    pub fn simulation(mut self, simulation: &Sim) -> ReactorBuilder {
        self.simulation = Some(simulation.clone());
        self
    }

    /// Sets how many threads may run [blocking work](Reactor::defer_to_thread) at once: 16 by default; zero counts
    /// as 1. Threads start when there is work, and end after 10 s without any. Lookups of names have threads of
    /// their own.
    #[must_use]
    pub fn workers(mut self, workers_max: usize) -> ReactorBuilder {
        self.workers_max = workers_max.max(1);
        self
    }

    /// Sets whether a reactor that [runs](Reactor::run) handles the requests to end the process: true by default.
    /// They are listed at [`ShutdownSignal`](crate::port::ShutdownSignal): SIGINT (Ctrl-C), SIGTERM and SIGHUP on
    /// Unix; Ctrl-C, Ctrl-Break, the end of the console and of the system on Windows. They stop the reactor, or
    /// call the callback of [`Reactor::on_signal`].
    ///
    /// The previous handling returns when the last reactor that handles them has stopped.
    #[must_use]
    pub fn signals(mut self, handle: bool) -> ReactorBuilder {
        self.signals = handle;
        self
    }

    /// Sets how much later than due [delayed calls](Reactor::call_later) may be made, so that one wake-up
    /// serves several that are due shortly after one another. The default is 100 µs; 50 µs on the port `poll`,
    /// where Linux itself adds as much; zero in a simulation.
    ///
    /// A call that is due alone is not made later because of this, and no call is made early. A larger value
    /// saves CPU time when very many calls are pending; zero wakes up for each. More than 1 s counts as 1 s.
    #[must_use]
    pub fn timer_slack(mut self, slack: Duration) -> ReactorBuilder {
        self.timer_slack = Some(slack.min(TIMER_SLACK_MAX));
        self
    }

    /// Calls `hook` around each wait of the port that may block. This is for programs that hold something that
    /// other threads need meanwhile, such as the lock of an interpreter: the hook releases it, calls its
    /// argument, which waits, and takes it back.
    ///
    /// The hook is called on the reactor's thread. Its argument waits on the first call and does nothing on
    /// further ones. If the hook does not call it, the loop does not block in this turn, and only takes the
    /// completions that are ready. A panic in the hook is logged and counted. A turn that need not wait does
    /// not call the hook.
    ///
    /// The loop has sent what was written before it calls the hook, and knows then how long to wait. So what the hook
    /// itself asks of the reactor or of something on it, such as a write, a close or a delayed call, may begin only
    /// after the wait, which does not end for it. A [`Remote`](crate::Remote) ends the wait.
    #[must_use]
    pub fn around_wait(
        mut self,
        hook: impl Fn(&mut dyn FnMut()) + Send + Sync + 'static,
    ) -> ReactorBuilder {
        self.around_wait = Some(Arc::new(hook));
        self
    }

    /// Has `resolver`, instead of the OS, look up names for [`connect_tcp`](Reactor::connect_tcp). It gets the
    /// host and the port, and returns the host's addresses, the best one first.
    ///
    /// `resolver` may block. It is called on threads of the reactor's own, on several at once. It is not called for
    /// a host that is an IP address. Its result is dropped if the connection was given up meanwhile; a panic in
    /// it fails the connection.
    ///
    /// ```
    /// use std::io;
    /// use tidewaiter::Reactor;
    ///
    /// let reactor = Reactor::builder()
    ///     .resolver(|host, port| match host {
    ///         "database" => Ok(vec![([127, 0, 0, 1], port).into()]),
    ///         _ => Err(io::Error::new(io::ErrorKind::NotFound, "no such host")),
    ///     })
    ///     .build()?;
    /// # let _ = reactor;
    /// # Ok::<(), io::Error>(())
    /// ```
    #[must_use]
    pub fn resolver(
        mut self,
        resolver: impl Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
    ) -> ReactorBuilder {
        self.resolver = Some(Arc::new(resolver));
        self
    }

    /// Calls `report` after each callback that took longer than `limit`. This costs one clock read for each
    /// callback; by default nothing is measured.
    ///
    /// `report` is called on the reactor's thread right after the callback, so that records which the program
    /// made in its callbacks can tell which one was slow. When one callback runs within another, the outer
    /// one's time counts from the end of the inner one.
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

    /// Makes the reactor. It belongs to this thread.
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
            // Its clock stands still except in waits: a delay would save no wake-up.
            PortKind::Sim => Duration::ZERO,
            PortKind::Poll => TIMER_SLACK - READINESS_SLACK,
            PortKind::Uring | PortKind::Iocp => TIMER_SLACK,
        };
        let core = Core {
            live: RefCell::new(Table::default()),
            timers: RefCell::new(Timers::new(port.now())),
            queued: Queued::default(),
            unflushed: RefCell::new(Vec::new()),
            memory: Memory::default(),
            completions: RefCell::new(Vec::new()),
            triggers: RefCell::new(Triggers::default()),
            other_threads: OtherThreads::new(port.waker(), self.workers_max),
            signals: Signals::default(),
            settings: Settings {
                port: port.info().clone(),
                handle_signals: self.signals && self.simulation.is_none(),
                timer_slack: self.timer_slack.unwrap_or(usual_slack),
                marks_unawaited: port.info().kind == PortKind::Uring,
                around_wait: self.around_wait,
                resolver: self.resolver,
                slow: self.slow,
                sends_gathered_now: port.sends_gathered_now(),
                sends_pressing: port.sends_pressing(),
            },
            life: Cell::new(Life::Idle),
            in_turn: Cell::new(false),
            sends: Sends::default(),
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
