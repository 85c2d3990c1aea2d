//! The loop: timers, threads, signals, and the table of live objects.
//!
//! The loop knows the port, but neither connections nor protocols: every object on it implements [`Live`]. The
//! loop borrows none of its state while a callback runs, so a callback may call anything.

mod builder;
mod clock;
mod delayed;
mod forking;
mod inbox;
mod metrics;
mod pace;
mod remote;
mod repeating;
mod run;
mod signals;
mod tasks;
mod teardown;
mod timers;
mod triggers;
mod turn;
mod watch;
mod watch_directory;
mod watched;
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
pub use repeating::RepeatedCall;
pub use run::RunEnd;
pub(crate) use signals::AwaitsSignals;
pub use tasks::{
    AbortHandle, Elapsed, Interval, JoinError, JoinHandle, JoinSet, MissedTicks, RemoteTask, Sleep,
    Timeout, YieldNow, yield_now,
};
pub use triggers::{Hold, Phase, SystemEvent, TriggerId};
pub use watch::Watch;
pub use watch_directory::DirectoryWatch;

use crate::error::Error;
use crate::panics;
use crate::port::{Buffer, Chunks, Completion, DatagramBatch, Key, Port, PortInfo, Table, Token};
use metrics::Counters;
use timers::Timers;
use triggers::Triggers;

/// An object that lives on a reactor and receives completions from its port.
pub(crate) trait Live: Any {
    /// Its kind, for counting.
    fn kind(&self) -> LiveKind {
        LiveKind::Other
    }

    /// Handles the completion of one of its operations.
    fn completed(self: Rc<Self>, completion: Completion);

    /// Sends what it gathered. The loop calls this after the turn's callbacks, if the object asked for it.
    fn flush(self: Rc<Self>) {}

    /// Tells the program what it asked the loop to tell it soon.
    fn notify(self: Rc<Self>) {}

    /// The reactor stops: end now, and leave the table when all operations have completed.
    fn stop(self: Rc<Self>);

    /// The reactor is gone without having stopped: do nothing from now on. A child that was killed, and whose
    /// end must be awaited, returns its name for the log.
    fn abandon(&self) -> Option<String>;
}

/// A callback that the loop has to make.
pub(crate) type Callback = Box<dyn FnOnce(&Reactor)>;

/// The program's hook around each wait. It calls its argument, which waits.
type AroundWait = dyn Fn(&mut dyn FnMut()) + Send + Sync;

/// Looks up the addresses of a host. The port is passed through.
pub(crate) type Resolver = dyn Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync;

/// The stage of a reactor's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    /// Not running: not started yet, or interrupted by [`Reactor::crash`].
    Idle,
    Running,
    /// Asked to stop: "before shutdown" triggers are about to run, or a hold delays the shutdown.
    Leaving,
    /// Everything on the reactor has been told to end.
    Draining,
    Stopped,
}

/// A single-threaded reactor: it waits at a completion port and makes callbacks.
///
/// A reactor belongs to the thread that made it. Other threads reach it through a [`Remote`](Reactor::remote).
/// Callbacks come from the loop alone, never from inside a call to the reactor or to a transport, and may call
/// anything. If a callback panics, the connection it belongs to is lost and the loop goes on.
///
/// A clone refers to the same reactor. The reactor ends with the value that [`new`](Reactor::new) or
/// [`ReactorBuilder::build`] returned, not with its clones. Dropping that value without having stopped closes
/// everything that lives on the reactor without further callbacks, drops the bytes still to be sent, and kills
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

/// The builder's choices that last for the whole life of a reactor.
struct Settings {
    port: PortInfo,
    handle_signals: bool,
    timer_slack: Duration,
    around_wait: Option<Arc<AroundWait>>,
    resolver: Option<Arc<Resolver>>,
    slow: Option<Arc<pace::SlowLimit>>,
    /// The port's preference: see [`Reactor::sends_gathered_now`].
    sends_gathered_now: bool,
    /// The answer of [`Reactor::sends_pressing`].
    sends_pressing: bool,
    /// Whether sends are marked for which nobody waits. Only io_uring heeds that.
    marks_unawaited: bool,
}

struct Core {
    /// `None` once the owner is gone.
    port: RefCell<Option<Port>>,
    live: RefCell<Table<Rc<dyn Live>>>,
    timers: RefCell<Timers<Callback>>,
    queued: Queued,
    /// The objects that have something to send.
    unflushed: RefCell<Vec<Rc<dyn Live>>>,
    memory: Memory,
    completions: RefCell<Vec<Completion>>,
    triggers: RefCell<Triggers>,
    other_threads: remote::OtherThreads,
    signals: signals::Signals,
    settings: Settings,
    life: Cell<Life>,
    in_turn: Cell<bool>,
    sends: Sends,
    ending: run::Ending,
    counters: Counters,
}

/// How a turn sends.
#[derive(Default)]
struct Sends {
    /// The answer of [`Reactor::marks_unawaited`].
    marks_unawaited: Cell<bool>,
    /// A turn, and how many bytes of pull producers were sent in it before its end.
    pressed: Cell<(u64, usize)>,
}

/// Code of the program that the loop has to run soon.
#[derive(Default)]
struct Queued {
    /// Whether there is any: the loop asks after each completion.
    any: Cell<bool>,
    /// The futures that the loop polls.
    tasks: tasks::Tasks,
    /// Calls to the reactor queue these.
    callbacks: RefCell<VecDeque<Callback>>,
    /// Objects that have something to tell the program, which takes no allocation.
    notices: RefCell<Vec<Rc<dyn Live>>>,
    /// Drained send queues that still hold the bytes that were sent, to be dropped.
    sent: RefCell<Vec<Chunks>>,
    /// The program runs code of its own after this turn, so the turn must not wait.
    outside: Cell<bool>,
    /// The turn that is under way has waited.
    has_waited: Cell<bool>,
}

/// Buffers that connections share.
#[derive(Default)]
struct Memory {
    /// Empty send queues, kept for their allocations.
    storage: RefCell<Vec<Chunks>>,
    /// Empty batches of datagrams, kept for their allocations.
    batches: RefCell<Vec<DatagramBatch>>,
    /// Memory for small pieces that were received for tasks and not read yet.
    pieces: RefCell<Vec<Vec<u8>>>,
    /// The bytes that a protocol is receiving right now.
    delivering: RefCell<Option<Buffer>>,
}

/// The most bytes of all pull producers that are sent within a turn, before its end: about as long as a turn takes that serves
/// many connections.
const PRESSED_IN_A_TURN_MAX: usize = 1 << 20;

/// The maximum number of empty send queues kept for reuse.
const STORAGE_MAX: usize = 256;

/// The maximum number of pieces of memory for received bytes that are kept for reuse: a task reads such a piece right after it
/// has arrived, as a rule...
const PIECES_MAX: usize = 16;
/// ...and the maximum size of each.
const PIECE_BYTES_MAX: usize = 4096;

/// How long to wait for the end of a child that was killed. After this, the child is left behind: it may have
/// become another user's process, or hang in a system call. A child usually ends within a moment, but takes
/// longer with much memory or on a busy machine.
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

    /// Which port the reactor waits at, and why it was chosen. Once the reactor's owner is gone, the port that it
    /// began with.
    #[must_use]
    pub fn port_info(&self) -> PortInfo {
        let port = self.core.port.borrow();
        let info = port.as_ref().map(Port::info);
        info.unwrap_or(&self.core.settings.port).clone()
    }

    /// Returns counts of the reactor's activity so far, and of what lives on it now.
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

    /// Whether both are the same reactor.
    pub(crate) fn is_same(&self, other: &Reactor) -> bool {
        Rc::ptr_eq(&self.core, &other.core)
    }

    /// Borrows the port. The borrow must not outlive the statement: callbacks need the port too.
    pub(crate) fn port(&self) -> Ref<'_, Port> {
        Ref::map(self.core.port.borrow(), |port| {
            port.as_ref().expect("the reactor is alive")
        })
    }

    /// Borrows the port mutably, to submit requests. The borrow must not outlive the statement.
    pub(crate) fn port_mut(&self) -> RefMut<'_, Port> {
        RefMut::map(self.core.port.borrow_mut(), |port| {
            port.as_mut().expect("the reactor is alive")
        })
    }

    /// Puts a new object on the reactor. Its completions must carry the token.
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`] once the reactor drains.
    pub(crate) fn register(&self, live: Rc<dyn Live>) -> Result<Token, Error> {
        self.check_open()?;
        self.core.counters.count_in(live.kind());
        Ok(Token(self.core.live.borrow_mut().insert(live).to_u64()))
    }

    /// Checks that the reactor accepts new objects.
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

    /// Returns the object with that token, if it is still on the reactor. For calls from other threads, which
    /// can carry a token but no object.
    pub(crate) fn find<T: Live>(&self, token: Token) -> Option<Rc<T>> {
        let live: Rc<dyn Any> = self
            .core
            .live
            .borrow()
            .get(Key::from_u64(token.0))
            .cloned()?;
        live.downcast().ok()
    }

    /// Takes an object off the reactor, once all its operations have completed.
    pub(crate) fn unregister(&self, token: Token) {
        let live = self.core.live.borrow_mut().remove(Key::from_u64(token.0));
        debug_assert!(live.is_some(), "only a registered object is unregistered");
        if let Some(live) = live {
            self.core.counters.count_out(live.kind());
        }
    }

    /// Queues `callback` for the loop, in this turn or the next.
    pub(crate) fn soon(&self, callback: impl FnOnce(&Reactor) + 'static) {
        if self.core.life.get() != Life::Stopped {
            let queued = &self.core.queued;
            queued.callbacks.borrow_mut().push_back(Box::new(callback));
            queued.any.set(true);
        }
    }

    /// As [`soon`](Reactor::soon), for a call of [`Live::notify`], without an allocation.
    pub(crate) fn notify_soon(&self, live: Rc<dyn Live>) {
        if self.core.life.get() != Life::Stopped {
            let queued = &self.core.queued;
            queued.notices.borrow_mut().push(live);
            queued.any.set(true);
        }
    }

    /// Queues a call of [`Live::flush`] before the loop waits.
    #[inline(always)]
    pub(crate) fn flush_soon(&self, live: Rc<dyn Live>) {
        self.core.unflushed.borrow_mut().push(live);
    }

    /// Whether to mark a send that is submitted now if nobody waits for it: no code of the program runs before the next wait,
    /// which has no limit.
    pub(crate) fn marks_unawaited(&self) -> bool {
        self.core.sends.marks_unawaited.get()
    }

    /// Whether the writes of a turn are better sent at once than by an operation.
    pub(crate) fn sends_gathered_now(&self) -> bool {
        self.core.settings.sends_gathered_now
    }

    /// Whether so many bytes of a pull producer may be sent in this turn, before its end. Counts them if so.
    pub(crate) fn may_press(&self, bytes: usize) -> bool {
        let turn = self.counters().turns.get();
        let (of, before) = self.core.sends.pressed.get();
        let pressed = if of == turn { before + bytes } else { bytes };
        let may = pressed <= PRESSED_IN_A_TURN_MAX;
        if may {
            self.core.sends.pressed.set((turn, pressed));
        }
        may
    }

    /// Whether bytes that would have to be copied can be offered to the OS at once.
    pub(crate) fn sends_pressing(&self) -> bool {
        self.core.settings.sends_pressing
    }

    /// Returns the program's resolver, if it set one.
    pub(crate) fn resolver(&self) -> Option<Arc<Resolver>> {
        self.core.settings.resolver.clone()
    }

    /// Returns a send queue, with an allocation that is already in the cache if there is one.
    pub(crate) fn take_storage(&self) -> Chunks {
        self.core
            .memory
            .storage
            .borrow_mut()
            .pop()
            .unwrap_or_default()
    }

    /// Has the loop drop bytes that will not be sent.
    pub(crate) fn discard(&self, mut queue: Chunks) {
        queue.note_sent(queue.len());
        self.keep_storage(queue);
    }

    /// Takes back a drained send queue for reuse. The loop drops the bytes that were sent, because that may run
    /// the program's code.
    pub(crate) fn keep_storage(&self, storage: Chunks) {
        debug_assert!(storage.is_empty(), "only drained queues are reused");
        if storage.holds_sent() {
            self.core.queued.sent.borrow_mut().push(storage);
            self.core.queued.any.set(true);
            return;
        }
        let mut kept = self.core.memory.storage.borrow_mut();
        if storage.has_storage() && kept.len() < STORAGE_MAX {
            kept.push(storage);
        }
    }

    /// Copies received bytes, to memory that was kept if there is any.
    pub(crate) fn copy_piece(&self, bytes: &[u8]) -> Vec<u8> {
        let mut memory = self
            .core
            .memory
            .pieces
            .borrow_mut()
            .pop()
            .unwrap_or_default();
        memory.extend_from_slice(bytes);
        memory
    }

    /// Takes back the memory of bytes that were read.
    pub(crate) fn keep_piece(&self, mut memory: Vec<u8>) {
        let mut kept = self.core.memory.pieces.borrow_mut();
        if kept.len() < PIECES_MAX && (1..=PIECE_BYTES_MAX).contains(&memory.capacity()) {
            memory.clear();
            kept.push(memory);
        }
    }

    /// Returns an empty batch of datagrams, with an allocation if there is one.
    pub(crate) fn take_batch(&self) -> DatagramBatch {
        let batch = self.core.memory.batches.borrow_mut().pop();
        batch.unwrap_or_default()
    }

    /// Takes back a batch without datagrams for reuse. The loop drops the bytes that were sent.
    pub(crate) fn keep_batch(&self, mut batch: DatagramBatch) {
        debug_assert!(batch.is_empty(), "only empty batches are reused");
        if batch.holds_sent() {
            let mut storage = self.take_storage();
            batch.move_sent_to(&mut storage);
            self.keep_storage(storage);
        }
        let mut kept = self.core.memory.batches.borrow_mut();
        if kept.len() < STORAGE_MAX {
            kept.push(batch);
        }
    }

    /// Calls `receive` with the bytes. During the call, [`share_received`](Self::share_received) can return
    /// parts of them without a copy.
    pub(crate) fn deliver(&self, buffer: Buffer, receive: impl FnOnce(&[u8])) {
        let delivering = &self.core.memory.delivering;
        let before = delivering.replace(Some(buffer));
        debug_assert!(before.is_none(), "protocols are called one at a time");
        if let Some(buffer) = &*delivering.borrow() {
            receive(buffer);
        }
        delivering.take();
    }

    /// Returns `part` as a buffer of its own, if it lies in the bytes being delivered and the port can spare
    /// the memory.
    pub(crate) fn share_received(&self, part: &[u8]) -> Option<Buffer> {
        self.core.memory.delivering.borrow().as_ref()?.share(part)
    }
}

/// Logs that we no longer wait for the end of a child.
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
    /// Drops the program's hooks, guarded because their drops may panic.
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
