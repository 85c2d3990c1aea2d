//! Starting and stopping.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use super::triggers::{Phase, SystemEvent};
use super::{Life, Live, Reactor};
use crate::error::Error;
use crate::port::{ShutdownSignal, SignalWatch};

/// How [`Reactor::run`] came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RunEnd {
    /// The program stopped the reactor: by [`Reactor::stop`] or [`Remote::stop`](super::Remote::stop).
    Stopped,
    /// The reactor stopped because this signal asked the process to end. A program that has its own
    /// [`Reactor::on_signal`] stops the reactor itself and gets [`RunEnd::Stopped`].
    Signal(ShutdownSignal),
    /// [`Reactor::crash`] was called: everything is as it was, and the reactor may be run again.
    Crashed,
}

/// What asked the loop to end.
pub(super) struct Ending {
    /// [`Reactor::crash`] did.
    pub(super) crashed: Cell<bool>,
    /// A signal did that the program does not handle itself.
    signalled: Cell<bool>,
    /// Why the reactor stops, once it does.
    cause: Cell<RunEnd>,
}

impl Ending {
    pub(super) fn new() -> Ending {
        Ending {
            crashed: Cell::new(false),
            signalled: Cell::new(false),
            cause: Cell::new(RunEnd::Stopped),
        }
    }
}

impl Reactor {
    /// Runs the loop until [`stop`](Reactor::stop) or [`crash`](Reactor::crash) is called, or a signal
    /// asks the process to end, and tells which of these it was.
    ///
    /// Calls the startup triggers first. When stopped, calls the "before shutdown" triggers, goes on
    /// until nothing holds the shutdown back, ends every listener, connection and child, each with
    /// its last callbacks, and returns once all of that is done. What was written has 1 s to be sent, and as
    /// long have peers that are still sending to end; [`Transport::unsent`](crate::Transport::unsent) and the
    /// log tell what was not sent. A child that does not end 5 s after it was killed is left behind. Work that
    /// was given to threads and not yet begun is dropped; what runs is awaited for some seconds at most.
    ///
    /// The first signal that asks the process to end stops the reactor. While a [`Hold`](super::Hold)
    /// keeps the shutdown back, a second one [releases it](Reactor::release_holds); a hang-up (SIGHUP)
    /// does not, as service managers send it along with SIGTERM. [`on_signal`](Reactor::on_signal)
    /// replaces all of that.
    ///
    /// # Errors
    ///
    /// [`Error::Running`] when called from a callback of the same reactor; [`Error::Stopped`] when it
    /// was stopped before; [`Error::Port`] when the port fails.
    pub fn run(&self) -> Result<RunEnd, Error> {
        self.start()?;
        let result = self.run_until_stopped();
        self.core.signals.take();
        if self.core.life.get() == Life::Stopped || result.is_err() {
            self.core.life.set(Life::Stopped);
            self.core.others.close();
        } else {
            self.core.life.set(Life::Idle);
        }
        result
    }

    fn start(&self) -> Result<(), Error> {
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
            core.signals.replace(Some(watch));
        }
        core.ending.crashed.set(false);
        core.ending.signalled.set(false);
        core.life.set(Life::Running);
        core.counters.pace.rest();
        core.in_turn.set(true);
        for phase in [Phase::Before, Phase::During, Phase::After] {
            self.fire(SystemEvent::Startup, phase);
        }
        core.in_turn.set(false);
        Ok(())
    }

    fn run_until_stopped(&self) -> Result<RunEnd, Error> {
        while !self.core.ending.crashed.get() {
            self.one_turn(None)?;
            self.core.in_turn.set(true);
            let complete = self.advance_shutdown();
            self.core.in_turn.set(false);
            if complete {
                return Ok(self.core.ending.cause.get());
            }
        }
        Ok(RunEnd::Crashed)
    }

    /// Makes one turn of the loop, waiting up to `limit` (`None`: as long as it takes) for something to
    /// happen. For programs with a loop of their own; the reactor need not have been
    /// [`run`](Reactor::run).
    ///
    /// Returns after one wait, whatever ended it: a completion, a delayed call that is due with the next
    /// turn, a call from another thread, [`Remote::wake`](super::Remote::wake), a signal that the program
    /// handled. With a limit, a turn that sent something does not wait. Without a limit, a turn that need not wait
    /// may leave the OS alone if it was asked, in vain, some microseconds before. After [`crash`](Reactor::crash) in
    /// one of its callbacks the turn does not wait any more; the next one does.
    ///
    /// # Errors
    ///
    /// [`Error::Running`] when called from a callback of the same reactor; [`Error::Stopped`] when it
    /// was stopped; [`Error::Port`] when the port fails.
    pub fn iterate(&self, limit: impl Into<Option<Duration>>) -> Result<(), Error> {
        if self.core.life.get() == Life::Stopped {
            return Err(Error::Stopped);
        }
        self.check_process()?;
        if !self.core.in_turn.get() {
            self.core.ending.crashed.set(false);
        }
        // Who knows what the program did since the last turn.
        self.clock().spend();
        self.one_turn(limit.into())
    }

    fn one_turn(&self, limit: Option<Duration>) -> Result<(), Error> {
        if self.core.in_turn.replace(true) {
            return Err(Error::Running);
        }
        let result = self.turn(limit);
        self.core.in_turn.set(false);
        result
    }

    /// Asks the reactor to stop: see [`run`](Reactor::run) for what that does. Returns at once; does
    /// nothing unless the reactor runs, or when it is stopping already.
    pub fn stop(&self) {
        self.stop_because(RunEnd::Stopped);
    }

    fn stop_because(&self, cause: RunEnd) {
        if self.core.life.get() == Life::Running {
            self.core.life.set(Life::Leaving);
            self.core.ending.cause.set(cause);
            self.core.triggers.borrow_mut().heed_holds();
            self.soon(|reactor| reactor.fire(SystemEvent::Shutdown, Phase::Before));
        }
    }

    /// Lets a shutdown go on although something holds it back: from now on no [`Hold`](super::Hold) has
    /// any effect, neither those that live nor those that triggers still get. Does nothing unless the
    /// reactor [is stopping](Reactor::stop).
    ///
    /// For programs that handle [signals](Reactor::on_signal) themselves and are asked to end a second time.
    pub fn release_holds(&self) {
        if self.core.life.get() == Life::Leaving {
            self.core.triggers.borrow_mut().release_holds();
        }
    }

    /// A signal that the program does not handle itself asks the process to end.
    pub(super) fn asked_to_end(&self, signal: ShutdownSignal) {
        let again = self.core.ending.signalled.replace(true);
        if again && signal != ShutdownSignal::Hangup {
            self.release_holds();
        }
        self.stop_because(RunEnd::Signal(signal));
    }

    /// Makes [`run`](Reactor::run) return at the end of this turn, and leaves everything as it is: it
    /// may be run again.
    pub fn crash(&self) {
        self.core.ending.crashed.set(true);
    }

    /// Whether the reactor runs: from the first startup trigger until it is stopped or crashed.
    #[must_use]
    pub fn is_running(&self) -> bool {
        !matches!(self.core.life.get(), Life::Idle | Life::Stopped)
    }

    /// Calls `callback`, instead of stopping, each time that the process is asked to end. A second
    /// request need not wait for what [holds](super::Hold) the shutdown back: see
    /// [`release_holds`](Reactor::release_holds).
    pub fn on_signal(&self, callback: impl FnMut(&Reactor, ShutdownSignal) + 'static) {
        self.core
            .on_signal
            .replace(Some(Rc::new(std::cell::RefCell::new(callback))));
    }

    /// Whether the shutdown can go a step further, so that the loop must not wait.
    pub(super) fn ready_to_advance(&self) -> bool {
        let core = &*self.core;
        match core.life.get() {
            Life::Leaving => !core.triggers.borrow().held() && !self.owes_callbacks(),
            Life::Draining => core.live.borrow().is_empty(),
            Life::Idle | Life::Running | Life::Stopped => false,
        }
    }

    /// Takes the shutdown a step further if it can go. Returns whether it is complete.
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
        if !core.live.borrow().is_empty() || self.owes_callbacks() {
            return false;
        }
        self.lose_work();
        self.fire(SystemEvent::Shutdown, Phase::After);
        core.life.set(Life::Stopped);
        // Dropped outside of the borrow: what they own may call back.
        let timers = super::Timers::new(self.now());
        drop(core.timers.replace(timers));
        true
    }
}
