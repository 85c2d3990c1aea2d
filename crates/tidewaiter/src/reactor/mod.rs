//! The loop: timers, threads, signals, and the table of live things.
//!
//! It knows the port, but neither connections nor protocols: what lives on it implements [`Live`].
//! No borrow of its state is held across a callback, so that from any callback anything may be called.

mod builder;
mod clock;
mod delayed;
mod forking;
mod inbox;
mod metrics;
mod pace;
mod remote;
mod run;
mod teardown;
mod timers;
mod triggers;
mod turn;
mod watch;
mod workers;

use std::any::Any;
use std::cell::{Cell, Ref, RefCell, RefMut};
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

pub use builder::ReactorBuilder;
pub use delayed::DelayedCall;
pub(crate) use metrics::LiveKind;
pub use metrics::{Living, Metrics};
pub use pace::{SlowCallback, TurnTimes};
pub(crate) use remote::Lookup;
pub use remote::{Remote, WorkLost};
pub use run::RunEnd;
pub use triggers::{Hold, Phase, SystemEvent, TriggerId};
pub use watch::Watch;

use crate::error::Error;
use crate::panics;
use crate::port::{
    Buffer, Chunks, Completion, Key, Port, PortInfo, ShutdownSignal, SignalWatch, Table, Token,
};
use metrics::Counters;
use timers::Timers;
use triggers::Triggers;

/// Something that lives on a reactor and is answered by its port.
pub(crate) trait Live: Any {
    /// What it is counted as.
    fn kind(&self) -> LiveKind {
        LiveKind::Other
    }

    /// One of its operations completed.
    fn completed(self: Rc<Self>, completion: Completion);

    /// It said it had something to send, and the turn has come to the end of its callbacks.
    fn flush(self: Rc<Self>) {}

    /// The reactor stops: end now, and leave the table when all operations have completed.
    fn stop(self: Rc<Self>);

    /// The reactor is gone without having stopped: do nothing ever again. If this is a child that was killed,
    /// and whose end is to be awaited, returns what it is called.
    fn abandon(&self) -> Option<String>;
}

/// A callback that the loop owes.
pub(crate) type Callback = Box<dyn FnOnce(&Reactor)>;

/// What the reactor does when asked to end the process.
type SignalCallback = Rc<RefCell<dyn FnMut(&Reactor, ShutdownSignal)>>;

/// What is to happen around each wait: calls its argument, which waits.
type AroundWait = dyn Fn(&mut dyn FnMut()) + Send + Sync;

/// The addresses of a host, with the port that was asked for.
pub(crate) type Resolver = dyn Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync;

/// Where a reactor is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    /// Not running: not yet, or no longer after [`Reactor::crash`].
    Idle,
    Running,
    /// Asked to stop: "before shutdown" triggers are due, or hold it back.
    Leaving,
    /// Everything that lives has been told to end.
    Draining,
    Stopped,
}

/// A single-threaded reactor: it waits at a completion port, and calls back.
///
/// A reactor belongs to the thread that made it. Other threads reach it through a
/// [`Remote`](Reactor::remote). Callbacks come from the loop alone, never from inside a call to the reactor or
/// to a transport, and may call anything. If a callback panics, the connection it belongs to is lost and the
/// loop goes on.
///
/// A clone is another name for the same reactor. The reactor ends with the value that [`new`](Reactor::new) or
/// [`ReactorBuilder::build`] returned, not with its clones. Dropping that value without having stopped closes
/// everything that lives on the reactor without further callbacks, drops what is still to be sent, and kills
/// the children that are not [detached](crate::Process::detach), for whose end it waits up to 5 s.
///
/// ```
/// use std::time::Duration;
/// use tidewaiter::Reactor;
///
/// let reactor = Reactor::new()?;
/// reactor.call_later(Duration::from_millis(5), |reactor| reactor.stop());
/// reactor.run()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Reactor {
    core: Rc<Core>,
    owner: bool,
}

/// What the builder was told, for the whole of a reactor's life.
struct Settings {
    port: PortInfo,
    handle_signals: bool,
    timer_slack: Duration,
    around_wait: Option<Arc<AroundWait>>,
    resolver: Option<Arc<Resolver>>,
    slow: Option<Arc<pace::SlowLimit>>,
    /// The port's.
    sends_gathered_now: bool,
}

struct Core {
    /// `None` once the owner is gone.
    port: RefCell<Option<Port>>,
    live: RefCell<Table<Rc<dyn Live>>>,
    timers: RefCell<Timers<Callback>>,
    /// Callbacks owed by things that happened inside calls.
    soon: RefCell<VecDeque<Callback>>,
    /// Who has something to send.
    unflushed: RefCell<Vec<Rc<dyn Live>>>,
    memory: Memory,
    completions: RefCell<Vec<Completion>>,
    triggers: RefCell<Triggers>,
    others: remote::Others,
    signals: RefCell<Option<SignalWatch>>,
    on_signal: RefCell<Option<SignalCallback>>,
    settings: Settings,
    life: Cell<Life>,
    in_turn: Cell<bool>,
    ending: run::Ending,
    counters: Counters,
}

/// Memory that passes between connections.
#[derive(Default)]
struct Memory {
    /// Storage of drained send queues, for those that fill next.
    storage: RefCell<Vec<Chunks>>,
    /// Drained send queues with the memory of what was sent, which the loop is to drop.
    sent: RefCell<Vec<Chunks>>,
    /// What a protocol is being given.
    delivering: RefCell<Option<Buffer>>,
}

/// How many drained send queues are kept for reuse.
const STORAGE_MAX: usize = 256;

/// How long a child that was killed may take to end, after which it is left behind: it is another user's by
/// now, or it hangs in a call to the OS. To end takes a moment as a rule, but longer with much memory, or on a
/// machine with much to do.
pub(crate) const KILLED_DEADLINE: Duration = Duration::from_secs(5);

impl Reactor {
    /// Makes a reactor on the port that the environment variable `TIDEWAITER_PORT` names, otherwise on the best
    /// port of this machine.
    ///
    /// # Errors
    ///
    /// As [`Port::open`].
    pub fn new() -> std::io::Result<Reactor> {
        Reactor::builder().build()
    }

    /// Sets up a reactor: its port, its worker threads, its signals, and more.
    #[must_use]
    pub fn builder() -> ReactorBuilder {
        ReactorBuilder::default()
    }

    /// Which port the reactor waits at, and why it was chosen.
    #[must_use]
    pub fn port_info(&self) -> PortInfo {
        self.core.settings.port.clone()
    }

    /// Counts of what the reactor did so far and of what lives on it now.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        let core = &*self.core;
        let (delayed_calls, live) = (core.timers.borrow().len(), core.live.borrow().len());
        let (in_flight, stale) = match core.port.borrow().as_ref() {
            Some(port) => (port.in_flight(), port.stale()),
            None => (0, 0),
        };
        core.counters
            .snapshot(delayed_calls, live, in_flight, stale)
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.core.counters
    }

    /// The port. The borrow must not outlive the statement: callbacks need the port too.
    pub(crate) fn port(&self) -> Ref<'_, Port> {
        Ref::map(self.core.port.borrow(), |port| {
            port.as_ref().expect("the reactor is alive")
        })
    }

    /// The port, to submit to. The borrow must not outlive the statement.
    pub(crate) fn port_mut(&self) -> RefMut<'_, Port> {
        RefMut::map(self.core.port.borrow_mut(), |port| {
            port.as_mut().expect("the reactor is alive")
        })
    }

    /// Puts a new thing on the reactor: its completions are to carry the token.
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`] once the reactor drains.
    pub(crate) fn register(&self, live: Rc<dyn Live>) -> Result<Token, Error> {
        self.check_open()?;
        self.core.counters.count_in(live.kind());
        Ok(Token(self.core.live.borrow_mut().insert(live).to_u64()))
    }

    /// Whether new things may be put on the reactor.
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`] once the reactor drains.
    pub(crate) fn check_open(&self) -> Result<(), Error> {
        match self.core.life.get() {
            Life::Draining | Life::Stopped => Err(Error::Stopped),
            Life::Idle | Life::Running | Life::Leaving => Ok(()),
        }
    }

    /// The thing with that token, if it is still on the reactor: for calls from other threads, which
    /// can carry a token but no thing.
    pub(crate) fn find<T: Live>(&self, token: Token) -> Option<Rc<T>> {
        let live: Rc<dyn Any> = self
            .core
            .live
            .borrow()
            .get(Key::from_u64(token.0))
            .cloned()?;
        live.downcast().ok()
    }

    /// Takes a thing off the reactor: all its operations have completed.
    pub(crate) fn unregister(&self, token: Token) {
        let live = self.core.live.borrow_mut().remove(Key::from_u64(token.0));
        debug_assert!(live.is_some(), "whoever unregisters was registered");
        if let Some(live) = live {
            self.core.counters.count_out(live.kind());
        }
    }

    /// Has `callback` called by the loop, in this turn or the next.
    pub(crate) fn soon(&self, callback: impl FnOnce(&Reactor) + 'static) {
        if self.core.life.get() != Life::Stopped {
            self.core.soon.borrow_mut().push_back(Box::new(callback));
        }
    }

    /// Has [`Live::flush`] called before the loop waits.
    pub(crate) fn flush_soon(&self, live: Rc<dyn Live>) {
        self.core.unflushed.borrow_mut().push(live);
    }

    /// Whether what a turn gathered is better sent without an operation.
    pub(crate) fn sends_gathered_now(&self) -> bool {
        self.core.settings.sends_gathered_now
    }

    /// Who looks names up, if it is not the OS.
    pub(crate) fn resolver(&self) -> Option<Arc<Resolver>> {
        self.core.settings.resolver.clone()
    }

    /// Storage for a send queue, warm if there is some.
    pub(crate) fn take_storage(&self) -> Chunks {
        self.core
            .memory
            .storage
            .borrow_mut()
            .pop()
            .unwrap_or_default()
    }

    /// Has the loop drop what will not be sent.
    pub(crate) fn discard(&self, mut queue: Chunks) {
        queue.note_sent(queue.len());
        self.keep_storage(queue);
    }

    /// Gives the storage of a drained send queue back. The loop drops the memory of what was sent: that may
    /// run the program's code.
    pub(crate) fn keep_storage(&self, storage: Chunks) {
        debug_assert!(storage.is_empty(), "only drained queues are reused");
        if storage.holds_sent() {
            self.core.memory.sent.borrow_mut().push(storage);
            return;
        }
        let mut kept = self.core.memory.storage.borrow_mut();
        if storage.has_storage() && kept.len() < STORAGE_MAX {
            kept.push(storage);
        }
    }

    /// Calls `receive` with the bytes. What is written of them meanwhile can be [shared](Self::share_received).
    pub(crate) fn deliver(&self, buffer: Buffer, receive: impl FnOnce(&[u8])) {
        let delivering = &self.core.memory.delivering;
        let before = delivering.replace(Some(buffer));
        debug_assert!(before.is_none(), "protocols are called one at a time");
        if let Some(buffer) = &*delivering.borrow() {
            receive(buffer);
        }
        delivering.take();
    }

    /// `part` as a buffer of its own, if it lies in what is being delivered and the port can spare the memory.
    pub(crate) fn share_received(&self, part: &[u8]) -> Option<Buffer> {
        self.core.memory.delivering.borrow().as_ref()?.share(part)
    }
}

/// Says that a child is awaited no longer.
pub(crate) fn report_left_behind(child: &dyn fmt::Display) {
    log::error!(
        "{child} still runs {KILLED_DEADLINE:?} after it was to be killed, and is left behind"
    );
}

impl Clone for Reactor {
    fn clone(&self) -> Reactor {
        Reactor {
            core: Rc::clone(&self.core),
            owner: false,
        }
    }
}

impl Drop for Reactor {
    fn drop(&mut self) {
        if !self.owner {
            return;
        }
        if self.core.in_turn.get() && !self.is_copied() {
            self.end_after_turn();
        } else {
            self.tear_down();
        }
    }
}

impl Drop for Core {
    /// Drops the program's hooks, which may panic.
    fn drop(&mut self) {
        panics::drop_caught("the drop of a hook", self.settings.around_wait.take());
        panics::drop_caught("the drop of a hook", self.settings.slow.take());
        panics::drop_caught("the drop of a resolver", self.settings.resolver.take());
    }
}

impl fmt::Debug for Reactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let core = &*self.core;
        let mut out = f.debug_struct("Reactor");
        if let Ok(port) = core.port.try_borrow() {
            out.field("port", &port.as_ref().map(|port| port.info().to_string()));
        }
        out.field("life", &core.life.get()).finish_non_exhaustive()
    }
}
