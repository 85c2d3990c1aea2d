//! Runs many commands, a few at a time.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;

use super::{CommandError, CommandFailure, CommandOptions, CommandOutput, CommandRun, Run};
use crate::reactor::Reactor;

type Callback = Box<dyn FnOnce(&Reactor)>;

/// Runs commands, a limited number at a time. The others wait, and are started in the order in which they came.
///
/// Each command is run as [`Reactor::run_command`] does, with its own options and callback. Clones refer to the same
/// pool; dropping this cancels nothing.
///
/// When the reactor stops, the commands that run are killed, and those that wait are not started any more: all
/// callbacks are called with [`CommandFailure::Stopped`]. To let the pool finish first, delay the stop with a
/// [`Hold`](crate::Hold):
///
/// ```
/// use tidewaiter::process::Command;
/// use tidewaiter::{CommandPool, Phase, Reactor, SystemEvent};
///
/// let reactor = Reactor::new()?;
/// let pool = CommandPool::new(&reactor, 2);
/// for _ in 0..5 {
///     pool.run(Command::new("cargo").arg("--version"), |_, result| {
///         println!("{:?}", result.map(|output| output.status));
///     });
/// }
/// assert_eq!((pool.running(), pool.waiting()), (2, 3));
///
/// let to_finish = pool.clone();
/// reactor.add_trigger(Phase::Before, SystemEvent::Shutdown, move |_, hold| {
///     to_finish.when_idle(move |_| drop(hold));
/// });
/// reactor.call_when_running(Reactor::stop);
/// reactor.run()?;
/// assert!(pool.is_idle());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct CommandPool {
    pool: Rc<Pool>,
}

pub(super) struct Pool {
    reactor: Reactor,
    at_a_time: usize,
    running: RefCell<Vec<Rc<Run>>>,
    waiting: RefCell<VecDeque<Rc<Run>>>,
    /// Called once nothing runs and nothing waits.
    when_idle: RefCell<Vec<Callback>>,
}

impl CommandPool {
    /// A pool that runs this many commands at a time: at least one.
    #[must_use]
    pub fn new(reactor: &Reactor, at_a_time: usize) -> CommandPool {
        let pool = Pool {
            reactor: reactor.clone(),
            at_a_time: at_a_time.max(1),
            running: RefCell::default(),
            waiting: RefCell::default(),
            when_idle: RefCell::default(),
        };
        CommandPool {
            pool: Rc::new(pool),
        }
    }

    /// Runs a command as soon as fewer than the limit run and none came before it. `done` is called exactly once, as
    /// [`Reactor::run_command`] says.
    ///
    /// To [cancel](CommandRun::cancel) a command that waits takes it out of the queue.
    pub fn run(
        &self,
        command: impl Into<CommandOptions>,
        done: impl FnOnce(&Reactor, Result<CommandOutput, CommandError>) + 'static,
    ) -> CommandRun {
        let pool = &self.pool;
        let run = Run::new(&pool.reactor, command.into(), Box::new(done), Some(pool));
        pool.waiting.borrow_mut().push_back(Rc::clone(&run));
        pool.start_more();
        CommandRun { run }
    }

    /// How many commands run.
    #[must_use]
    pub fn running(&self) -> usize {
        self.pool.running.borrow().len()
    }

    /// How many commands wait to be started.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.pool.waiting.borrow().len()
    }

    /// Whether no command runs and none waits. A command's place is free when its callback is called.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.pool.is_idle()
    }

    /// Cancels all commands that wait or run, as [`CommandRun::cancel`] does.
    pub fn cancel_all(&self) {
        self.pool.end_waiting(|| CommandFailure::Cancelled);
        let running = self.pool.running.borrow().clone();
        for run in running {
            run.cut(CommandFailure::Cancelled);
        }
    }

    /// Has `callback` called from the loop, once, when the pool is [idle](CommandPool::is_idle), after the callbacks of
    /// its commands. If it is idle now, that is soon.
    pub fn when_idle(&self, callback: impl FnOnce(&Reactor) + 'static) {
        self.pool.when_idle.borrow_mut().push(Box::new(callback));
        self.pool.check_idle();
    }
}

impl fmt::Debug for CommandPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommandPool")
            .field("running", &self.running())
            .field("waiting", &self.waiting())
            .finish()
    }
}

impl Pool {
    fn is_idle(&self) -> bool {
        self.running.borrow().is_empty() && self.waiting.borrow().is_empty()
    }

    fn start_more(&self) {
        while self.running.borrow().len() < self.at_a_time {
            let next = self.waiting.borrow_mut().pop_front();
            let Some(run) = next else { return };
            self.running.borrow_mut().push(Rc::clone(&run));
            run.start();
        }
    }

    /// Ends all commands that wait, for this reason.
    fn end_waiting(&self, failure: impl Fn() -> CommandFailure) {
        for run in self.waiting.take() {
            run.cut(failure());
        }
    }

    /// A command is over, or was cancelled before it was started.
    pub(super) fn over(self: &Rc<Self>, run: &Rc<Run>) {
        let same = |other: &Rc<Run>| Rc::ptr_eq(run, other);
        let running = self.running.borrow().iter().position(same);
        match running {
            Some(at) => drop(self.running.borrow_mut().swap_remove(at)),
            None => self.waiting.borrow_mut().retain(|other| !same(other)),
        }
        if self.reactor.check_open().is_err() {
            // All at once: a stopping reactor makes no more than one round of calls once nothing lives on it.
            self.end_waiting(|| CommandFailure::Stopped);
            if !self.reactor.is_running() {
                // It was dropped. The callbacks may refer to this pool.
                let what = "the drop of a callback of a command pool";
                self.reactor.drop_guarded(what, self.when_idle.take());
            }
        }
        self.start_more();
        self.check_idle();
    }

    /// If the pool is idle, has the callbacks for that called, unless it is busy again by then.
    fn check_idle(self: &Rc<Self>) {
        if !self.is_idle() || self.when_idle.borrow().is_empty() {
            return;
        }
        let pool = Rc::clone(self);
        self.reactor.soon(move |reactor| {
            if pool.is_idle() {
                for callback in pool.when_idle.take() {
                    reactor.guard("a callback of a command pool", || callback(reactor));
                }
            }
        });
    }
}
