//! Runs a command to its end: gives it its input, gathers its output, and keeps its limits.

mod options;
mod output;
mod pool;

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use super::{ChildFd, Process, ProcessProtocol};
use crate::error::Reason;
use crate::process::{ExitStatus, SpawnError};
use crate::reactor::{DelayedCall, KILLED_DEADLINE, Reactor, report_left_behind};
pub use options::CommandOptions;
pub use output::{CommandError, CommandFailure, CommandOutput};
pub use pool::CommandPool;
use pool::Pool;

/// How long the output of a command that was killed may take to arrive. After this, its pipes are closed, because
/// another process holds them open.
const DRAIN: Duration = Duration::from_secs(1);

/// The program's callback.
type Done = Box<dyn FnOnce(&Reactor, Result<CommandOutput, CommandError>)>;

impl Reactor {
    /// Runs a command, gathers its output, and calls `done` from the loop once it has ended and its output is
    /// complete.
    ///
    /// Its standard input is what [`CommandOptions::input`] says: empty by default. A command that exits with an error
    /// is no error here: see [`CommandOutput::status`]. It is a [`CommandError`] if the command cannot be started,
    /// exceeds a limit, is [cancelled](CommandRun::cancel), or is ended by a stop of the reactor; what it wrote until
    /// then comes with the error.
    ///
    /// `done` is called exactly once, at a stop as well, but is dropped uncalled if the reactor is dropped first or
    /// had stopped already.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tidewaiter::process::Command;
    /// use tidewaiter::{CommandOptions, Reactor};
    ///
    /// let reactor = Reactor::new()?;
    /// let version = Command::new("cargo").arg("--version");
    /// let options = CommandOptions::new(version).time_limit(Duration::from_secs(30));
    /// reactor.run_command(options, |reactor, result| {
    ///     match result {
    ///         Ok(output) if output.status.success() => {
    ///             print!("{}", String::from_utf8_lossy(&output.stdout));
    ///         }
    ///         Ok(output) => println!("{}: {:?}", output.status, output.stderr),
    ///         Err(error) => println!("{error}"),
    ///     }
    ///     reactor.stop();
    /// });
    /// reactor.run()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn run_command(
        &self,
        command: impl Into<CommandOptions>,
        done: impl FnOnce(&Reactor, Result<CommandOutput, CommandError>) + 'static,
    ) -> CommandRun {
        let run = Run::new(self, command.into(), Box::new(done), None);
        run.start();
        CommandRun { run }
    }
}

/// A command that is run, or waits in a [`CommandPool`]. Clones refer to the same run; dropping this does not end it.
///
/// ```
/// use tidewaiter::process::Command;
/// use tidewaiter::{CommandRun, Reactor};
///
/// let reactor = Reactor::new()?;
/// let sleep = Command::new("sleep").arg("3600");
/// let run: CommandRun = reactor.run_command(sleep, |reactor, result| {
///     assert!(result.is_err(), "it was cancelled, or there is no such program");
///     reactor.stop();
/// });
/// run.cancel();
/// reactor.run()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct CommandRun {
    run: Rc<Run>,
}

impl CommandRun {
    /// Ends the command and its tree, as the time limit does. Its callback gets [`CommandFailure::Cancelled`]. Does
    /// nothing once the run is over.
    pub fn cancel(&self) {
        self.run.cut(CommandFailure::Cancelled);
    }

    /// The command's process; `None` while it waits in a pool, and if it could not be started.
    #[must_use]
    pub fn process(&self) -> Option<Process> {
        self.run.process.borrow().clone()
    }

    /// Whether the run is over: its callback was called, or is being called.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.run.done.borrow().is_none()
    }
}

impl fmt::Debug for CommandRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CommandRun({:?})", self.run.options.command.program())
    }
}

/// One run of a command.
struct Run {
    reactor: Reactor,
    options: CommandOptions,
    process: RefCell<Option<Process>>,
    /// Standard output, and standard error.
    output: RefCell<[Vec<u8>; 2]>,
    /// The pool that it belongs to, until the run is over.
    pool: RefCell<Option<Rc<Pool>>>,
    /// Why the command is ended before its own end.
    cut: RefCell<Option<CommandFailure>>,
    /// The time limit; once the command was cut short, closes its pipes.
    timer: RefCell<Option<DelayedCall>>,
    /// `None` once the run is over.
    done: RefCell<Option<Done>>,
}

impl Run {
    fn new(
        reactor: &Reactor,
        options: CommandOptions,
        done: Done,
        pool: Option<&Rc<Pool>>,
    ) -> Rc<Run> {
        Rc::new(Run {
            reactor: reactor.clone(),
            options,
            process: RefCell::new(None),
            output: RefCell::default(),
            pool: RefCell::new(pool.cloned()),
            cut: RefCell::new(None),
            timer: RefCell::new(None),
            done: RefCell::new(Some(done)),
        })
    }

    /// Starts the command, unless it was cancelled before.
    fn start(self: &Rc<Self>) {
        if self.cut.borrow().is_some() {
            return;
        }
        let gather = Gather {
            run: Rc::clone(self),
        };
        match self.reactor.spawn_process(&self.options.command, gather) {
            Ok(process) => {
                self.process.replace(Some(process));
                if let Some(after) = self.options.time_limit {
                    let run = Rc::clone(self);
                    self.set_timer(after, move || run.cut(CommandFailure::TimedOut(after)));
                }
            }
            Err(error) => {
                let last = LastCall(Rc::clone(self));
                self.reactor.soon(move |_| last.0.not_started(error));
            }
        }
    }

    fn not_started(self: &Rc<Self>, error: SpawnError) {
        let failure = match self.reactor.check_open() {
            Err(_) => CommandFailure::Stopped,
            Ok(()) => CommandFailure::Start(error),
        };
        self.cut.borrow_mut().get_or_insert(failure);
        self.finish(None);
    }

    /// Ends the command before its own end, for this reason. The first reason counts.
    fn cut(self: &Rc<Self>, failure: CommandFailure) {
        if self.done.borrow().is_none() || self.cut.borrow().is_some() {
            return;
        }
        let full = matches!(failure, CommandFailure::TooMuchOutput(_));
        self.cut.replace(Some(failure));
        let Some(process) = self.process.borrow().clone() else {
            let last = LastCall(Rc::clone(self));
            self.reactor.soon(move |_| last.0.finish(None));
            return;
        };
        match self.options.grace {
            Duration::ZERO => process.inner.end_tree(),
            grace => process.terminate_then_kill(grace),
        }
        if full {
            abort_pipes(&process);
        }
        let closing = self.options.grace.saturating_add(DRAIN);
        let run = Rc::clone(self);
        self.set_timer(closing, move || {
            abort_pipes(&process);
            let alive = Rc::clone(&run);
            run.set_timer(KILLED_DEADLINE, move || alive.let_go(&process));
        });
    }

    /// Ends the run although the command has not ended: it cannot be killed. The reactor still reaps it if it ends.
    fn let_go(self: &Rc<Self>, process: &Process) {
        report_left_behind(&process.inner);
        self.finish(Some(ExitStatus::Unknown));
    }

    fn set_timer(&self, after: Duration, call: impl FnOnce() + 'static) {
        let timer = self.reactor.call_later(after, move |_| call());
        if let Some(earlier) = self.timer.replace(Some(timer)) {
            earlier.cancel();
        }
    }

    fn received(self: &Rc<Self>, child_fd: ChildFd, data: &[u8]) {
        let limit = self.options.output_limit;
        let mut output = self.output.borrow_mut();
        let room = limit.saturating_sub(output[0].len() + output[1].len());
        let which = match child_fd {
            1 => &mut output[0],
            2 => &mut output[1],
            _ => return,
        };
        which.extend_from_slice(&data[..data.len().min(room)]);
        drop(output);
        if data.len() > room {
            self.cut(CommandFailure::TooMuchOutput(limit));
        }
    }

    /// A pipe has ended, or the child has. During a stop, neither is sure to be the command's own doing.
    fn check_stop(&self) {
        if self.reactor.check_open().is_err() {
            let mut cut = self.cut.borrow_mut();
            cut.get_or_insert(CommandFailure::Stopped);
        }
    }

    /// Ends the run. To be called from the loop.
    fn finish(self: &Rc<Self>, status: Option<ExitStatus>) {
        let Some(done) = self.done.take() else {
            return;
        };
        if let Some(timer) = self.timer.take() {
            timer.cancel();
        }
        let [stdout, stderr] = self.output.take();
        let process = self.process.borrow().clone();
        let output = status.map(|status| CommandOutput {
            status,
            stdout,
            stderr,
            usage: process.and_then(|process| process.usage()),
        });
        self.leave_pool();
        let result = match (self.cut.take(), output) {
            (None, Some(output)) => Ok(output),
            (failure, output) => Err(CommandError {
                failure: failure.unwrap_or(CommandFailure::Stopped),
                output: output.map(Box::new),
            }),
        };
        let reactor = &self.reactor;
        reactor.guard("the callback of a command", || done(reactor, result));
    }

    /// Ends the run without a callback, unless it is over.
    fn abandon(self: &Rc<Self>) {
        if let Some(done) = self.done.take() {
            let what = "the drop of the callback of a command";
            self.reactor.drop_guarded(what, done);
            self.leave_pool();
        }
    }

    fn leave_pool(self: &Rc<Self>) {
        if let Some(pool) = self.pool.take() {
            pool.over(self);
        }
    }
}

/// The call that ends a run from the loop. A reactor that is dropped first drops it uncalled.
struct LastCall(Rc<Run>);

impl Drop for LastCall {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

/// Closes all pipes, even those that other processes share.
fn abort_pipes(process: &Process) {
    for child_fd in process.pipes() {
        if let Some(pipe) = process.pipe(child_fd) {
            pipe.abort_connection();
        }
    }
}

/// The protocol of a command that is run.
struct Gather {
    run: Rc<Run>,
}

impl ProcessProtocol for Gather {
    fn connection_made(&mut self, process: &Process) {
        if let Some(stdin) = process.pipe(0) {
            stdin.write_bytes(self.run.options.input.clone());
            stdin.lose_connection();
        }
    }

    fn child_data_received(&mut self, _: &Process, child_fd: ChildFd, data: &[u8]) {
        self.run.received(child_fd, data);
    }

    fn child_connection_lost(&mut self, _: &Process, child_fd: ChildFd, _: Reason) {
        if child_fd != 0 {
            self.run.check_stop();
        }
    }

    fn process_exited(&mut self, _: &Process, _: ExitStatus) {
        self.run.check_stop();
    }

    fn process_ended(&mut self, _: &Process, status: ExitStatus) {
        self.run.finish(Some(status));
    }
}

impl Drop for Gather {
    /// Ends the run of a command whose end nothing awaits any more: a stopping reactor left it running, or was dropped.
    fn drop(&mut self) {
        let run = &self.run;
        if run.process.borrow().is_none() {
            // It was not started.
            return;
        }
        if run.reactor.is_running() && !run.reactor.is_copied() {
            run.check_stop();
            run.finish(None);
        }
        run.abandon();
    }
}
