//! Starts and stops the loop.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use super::triggers::{Phase, SystemEvent};
use super::{Life, Live, Reactor};
use crate::error::Error;
use crate::port::{ShutdownSignal, SignalWatch};

/// How [`Reactor::run`] ended.
///
/// ```
/// use tidewaiter::{Reactor, RunEnd};
///
/// let reactor = Reactor::new()?;
/// reactor.call_later(std::time::Duration::ZERO, Reactor::stop);
/// match reactor.run()? {
///     RunEnd::Signal(signal) => println!("ended by {signal:?}"),
///     end => assert_eq!(end, RunEnd::Stopped),
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RunEnd {
    /// The program stopped the reactor, by [`Reactor::stop`] or [`Remote::stop`](super::Remote::stop).
    Stopped,
    /// This signal asked the process to end, and the reactor stopped because of it. A program with its own
    /// [`Reactor::on_signal`] stops the reactor by itself and gets [`RunEnd::Stopped`].
    Signal(ShutdownSignal),
    /// [`Reactor::crash`] was called. Everything is as it was, and the reactor may be run again.
    Crashed,
    /// The value that [`Reactor::new`] or [`ReactorBuilder::build`](super::ReactorBuilder::build) returned
    /// was dropped in a callback, which ended the reactor. What ran is a clone of it.
    Dropped,
}

/// The requests for the loop to end.
pub(super) struct Ending {
    /// [`Reactor::crash`] was called.
    pub(super) crashed: Cell<bool>,
    /// A signal arrived that the program does not handle itself.
    signalled: Cell<bool>,
    /// The owner was dropped in a callback: the reactor ends after this turn.
    pub(super) dropped: Cell<bool>,
    /// The result of [`Reactor::run`] when the reactor stops.
    cause: Cell<RunEnd>,
}

impl Ending {
    pub(super) fn new() -> Ending {
        Ending {
            crashed: Cell::new(false),
            signalled: Cell::new(false),
            dropped: Cell::new(false),
            cause: Cell::new(RunEnd::Stopped),
        }
    }
}

impl Reactor {
    /// Runs the loop until [`stop`](Reactor::stop) or [`crash`](Reactor::crash) is called, or a signal
    /// asks the process to end. Returns which of these it was. The startup triggers are called first.
    ///
    /// When the reactor stops, it takes these steps:
    ///
    /// 1. It calls the triggers [before](Phase::Before) the shutdown, and works as before until no
    ///    [`Hold`](super::Hold) is left. There is no time limit.
    /// 2. It calls the triggers [during](Phase::During) the shutdown. Then it takes nothing new, and ends everything
    ///    that lives on it, each with its last callbacks. Listeners are closed. Connections and pipes have 1 s to send
    ///    the bytes that were written, and peers that are still sending the same 1 s to end; producers are told to
    ///    stop. [`Transport::unsent`](crate::Transport::unsent) and a warning in the log tell how many bytes were not
    ///    sent. Children are killed, unless they are [detached](crate::Process::detach); a child that has not ended
    ///    after 5 s is left behind.
    /// 3. It drops work [given to threads](Reactor::defer_to_thread) that has not begun, and waits up to 5 s for work
    ///    under way. It drops the [tasks](Reactor::spawn) that are not done.
    /// 4. It calls the triggers [after](Phase::After) the shutdown, drops the delayed calls that are pending, and
    ///    returns.
    ///
    /// The first signal that asks the process to end stops the reactor. While a [`Hold`](super::Hold) delays the
    /// shutdown, a second signal [releases it](Reactor::release_holds); SIGHUP does not, because service managers
    /// send it along with SIGTERM. [`on_signal`](Reactor::on_signal) replaces both.
    ///
    /// # Errors
    ///
    /// [`Error::Running`] when called from a callback of the same reactor; [`Error::Stopped`] when the reactor has
    /// stopped before; [`Error::Port`] when the port fails, after which the reactor cannot be used any more.
    pub fn run(&self) -> Result<RunEnd, Error> {
        self.start()?;
        let result = self.run_until_stopped();
        self.end_run();
        result
    }

    /// Ends a run of the loop, whatever ended it.
    pub(super) fn end_run(&self) {
        self.core.in_turn.set(false);
        self.core.signals.watch.take();
        if self.core.life.get() == Life::Stopped {
            self.refuse_calls();
            self.drop_callbacks();
        } else {
            self.core.life.set(Life::Idle);
        }
        self.end_if_dropped();
    }

    pub(super) fn start(&self) -> Result<(), Error> {
        let core = &*self.core;
        match core.life.get() {
            Life::Idle if core.in_turn.get() => return Err(Error::Running),
            Life::Idle => {}
            Life::Stopped => return Err(Error::Stopped),
            Life::Running | Life::Leaving | Life::Draining => return Err(Error::Running),
        }
        self.check_process()?;
        if core.settings.handle_signals {
            let watch = SignalWatch::install(self.port().waker()).map_err(Error::Port)?;
            core.signals.watch.replace(Some(watch));
        }
        core.ending.crashed.set(false);
        core.ending.signalled.set(false);
        core.life.set(Life::Running);
        core.counters.pace.discard_turn();
        core.in_turn.set(true);
        for phase in [Phase::Before, Phase::During, Phase::After] {
            self.fire(SystemEvent::Startup, phase);
        }
        core.in_turn.set(false);
        Ok(())
    }

    fn run_until_stopped(&self) -> Result<RunEnd, Error> {
        loop {
            if let Some(end) = self.turn_of_run()? {
                return Ok(end);
            }
        }
    }

    /// Makes one turn of a run, and the next step of the shutdown. Returns how the run ended, if it did.
    pub(super) fn turn_of_run(&self) -> Result<Option<RunEnd>, Error> {
        if self.core.ending.crashed.get() {
            return Ok(Some(match self.core.ending.dropped.get() {
                true => RunEnd::Dropped,
                false => RunEnd::Crashed,
            }));
        }
        let turned = self.one_turn(None);
        if turned.is_err() {
            self.core.life.set(Life::Stopped);
        }
        turned?;
        self.core.in_turn.set(true);
        let complete = self.advance_shutdown();
        self.core.in_turn.set(false);
        Ok(complete.then(|| self.core.ending.cause.get()))
    }

    /// Makes one turn of the loop: makes the calls that are due, waits up to `limit` (`None`: without limit)
    /// for something to happen, and makes the callbacks of that. This is for programs with a loop of their own;
    /// the reactor need not be [running](Reactor::run).
    ///
    /// A turn waits once, whatever ends the wait: a completion, a delayed call that is due in the next turn, a
    /// call from another thread, [`Remote::wake`](super::Remote::wake), or a signal that the program handled. A
    /// turn with a limit does not wait if it has sent something. A turn without a limit waits on when it has, unless a
    /// callback follows from that; if it need not wait, it may skip the system call if the last one, some microseconds
    /// before, found nothing. After [`crash`](Reactor::crash) in one of its callbacks, a turn does not wait any more; the
    /// next turn does.
    ///
    /// Turns alone call no triggers and handle no signals, and [`stop`](Reactor::stop) has no effect on them.
    ///
    /// # Errors
    ///
    /// [`Error::Running`] when called from a callback of the same reactor; [`Error::Stopped`] when the reactor
    /// has stopped; [`Error::Port`] when the port fails.
    pub fn iterate(&self, limit: impl Into<Option<Duration>>) -> Result<(), Error> {
        if self.core.life.get() == Life::Stopped {
            return Err(Error::Stopped);
        }
        self.check_process()?;
        if !self.core.in_turn.get() {
            self.core.ending.crashed.set(false);
        }
        // The program may have done anything since the last turn.
        self.clock().mark_stale();
        let result = self.one_turn(limit.into());
        if !self.core.in_turn.get() {
            self.end_if_dropped();
        }
        result
    }

    /// Makes the next wait end at once: for a program that [iterates](Reactor::iterate) and has work of its own to
    /// do after the turn. As the turn has no limit, it may skip the system call.
    pub fn skip_wait(&self) {
        self.core.queued.outside.set(true);
    }

    /// As [`skip_wait`](Reactor::skip_wait), but after the wait of a turn, as in callbacks for what the wait brought, it
    /// does nothing. This is for a program that does its work before a turn, and has callbacks that add to the work.
    pub fn skip_wait_of_turn(&self) {
        if !self.core.queued.has_waited.get() {
            self.skip_wait();
        }
    }

    /// Sends what was written since the last turn, without waiting and without a callback: for a program that
    /// [iterates](Reactor::iterate), has written outside of a turn, and does not make another one soon. Does nothing
    /// in a turn, which sends what was written in it before it waits.
    ///
    /// # Errors
    ///
    /// As [`run`](Reactor::run).
    pub fn send_written(&self) -> Result<(), Error> {
        self.check_process()?;
        let core = &*self.core;
        if core.in_turn.get() || core.unflushed.borrow().is_empty() {
            return Ok(());
        }
        self.flush(false);
        let mut completions = core.completions.take();
        let polled = self.port_mut().wait(Some(Duration::ZERO), &mut completions);
        if !completions.is_empty() {
            self.skip_wait();
        }
        // The next turn dispatches them.
        core.completions.replace(completions);
        polled.map_err(Error::Port)
    }

    /// Calls `call`. Meanwhile, the loop refuses to make turns, as it does in callbacks.
    pub(crate) fn without_turns<R>(&self, call: impl FnOnce() -> R) -> R {
        struct Restored<'a>(&'a Cell<bool>, bool);
        impl Drop for Restored<'_> {
            fn drop(&mut self) {
                self.0.set(self.1);
            }
        }
        let in_turn = &self.core.in_turn;
        let _restored = Restored(in_turn, in_turn.replace(true));
        call()
    }

    fn one_turn(&self, limit: Option<Duration>) -> Result<(), Error> {
        if self.core.in_turn.replace(true) {
            return Err(Error::Running);
        }
        let result = self.turn(limit);
        self.core.queued.has_waited.set(false);
        self.core.in_turn.set(false);
        result
    }

    /// Asks the reactor to stop, and returns at once. See [`run`](Reactor::run) for the steps and their time limits:
    /// bytes that were written have 1 s to be sent. Does nothing unless the reactor [runs](Reactor::run), or if it is
    /// stopping already.
    pub fn stop(&self) {
        self.stop_because(RunEnd::Stopped);
    }

    fn stop_because(&self, cause: RunEnd) {
        if self.core.life.get() == Life::Running {
            self.core.life.set(Life::Leaving);
            self.core.ending.cause.set(cause);
            self.core.triggers.borrow_mut().begin_shutdown();
            self.soon(|reactor| reactor.fire(SystemEvent::Shutdown, Phase::Before));
        }
    }

    /// Lets a delayed shutdown go on: from now on no [`Hold`](super::Hold) has any effect, neither those that live
    /// nor those that triggers still get. Does nothing unless the reactor [is stopping](Reactor::stop).
    ///
    /// This is for programs that handle [signals](Reactor::on_signal) by themselves, and receive a second one.
    pub fn release_holds(&self) {
        if self.core.life.get() == Life::Leaving {
            self.core.triggers.borrow_mut().release_holds();
        }
    }

    /// Stops the reactor, or releases the holds, for a signal that the program does not handle itself.
    pub(super) fn asked_to_end(&self, signal: ShutdownSignal) {
        let again = self.core.ending.signalled.replace(true);
        if again && signal != ShutdownSignal::Hangup {
            self.release_holds();
        }
        self.stop_because(RunEnd::Signal(signal));
    }

    /// Makes [`run`](Reactor::run) return at the end of this turn, and leaves everything as it is. The reactor may be
    /// run again.
    pub fn crash(&self) {
        self.core.ending.crashed.set(true);
    }

    /// Whether the reactor runs: from the first startup trigger until it has stopped or crashed. False for a
    /// reactor that only [iterates](Reactor::iterate).
    #[must_use]
    pub fn is_running(&self) -> bool {
        !matches!(self.core.life.get(), Life::Idle | Life::Stopped)
    }

    /// Whether the next step of the shutdown can be taken, so that the loop must not wait.
    pub(super) fn ready_to_advance(&self) -> bool {
        let core = &*self.core;
        match core.life.get() {
            Life::Leaving => !core.triggers.borrow().held(),
            Life::Draining => self.is_drained(),
            Life::Idle | Life::Running | Life::Stopped => false,
        }
    }

    /// Whether nothing lives on the reactor any more, and the port has finished closing handles whose end nothing
    /// awaits.
    fn is_drained(&self) -> bool {
        self.core.live.borrow().is_empty() && self.port().in_flight() == 0
    }

    /// Takes the next step of the shutdown if it can. Returns whether the shutdown is complete.
    fn advance_shutdown(&self) -> bool {
        if !self.ready_to_advance() {
            return false;
        }
        let core = &*self.core;
        if core.life.get() == Life::Leaving {
            self.fire(SystemEvent::Shutdown, Phase::During);
            core.life.set(Life::Draining);
            let all: Vec<Rc<dyn Live>> = core
                .live
                .borrow()
                .iter()
                .map(|(_, live)| Rc::clone(live))
                .collect();
            for live in all {
                live.stop();
            }
        }
        if !self.is_drained() {
            return false;
        }
        // Runs one round only: callbacks that queue themselves again must not delay the end.
        self.run_soon();
        self.lose_work();
        self.drop_tasks();
        self.fire(SystemEvent::Shutdown, Phase::After);
        core.life.set(Life::Stopped);
        true
    }
}
