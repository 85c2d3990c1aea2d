//! Child processes. Each pipe of a child is a stream, and the port reports the child's exit as a completion.

mod ending;
mod pipeline;
mod process;
mod remote;
mod run;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::rc::Rc;

use super::close_unawaited;
use super::stream::{Direction, Link, Protocol, Stream, Transport};
use crate::error::Reason;
use crate::port::{
    CloseMode, Completion, Failure, Handle, Outcome, Request, Spawned, SpawnedPipe, Token,
};
use crate::process::{
    Command, ExitStatus, PipeDirection, Signal, SignalTarget, SpawnError, SpawnStep, StartedChild,
    Unreached, Usage,
};
use crate::reactor::{DelayedCall, KILLED_DEADLINE, Live, LiveKind, Reactor, report_left_behind};
use crate::spans::Span;
pub use process::Process;
pub use remote::RemoteProcess;
pub use run::{
    CommandError, CommandFailure, CommandOptions, CommandOutput, CommandPool, CommandRun,
};

/// The number of one of the child's descriptors: 0 is its standard input, 1 its output, 2 its error output. For
/// others, see [`Command::fd`].
pub type ChildFd = u32;

/// The program's side of a child process. The loop calls these methods; no call to a [`Process`] does.
///
/// `connection_made` comes first and once, `process_ended` last and once. In between, each pipe brings
/// `child_data_received` any number of times and then `child_connection_lost` once, and `process_exited` comes
/// once, at any time: often before the last output.
///
/// If one of them panics, the panic is logged and the child is killed; the later calls still follow. Once a stopping
/// reactor has left a [detached](Process::detach) child running, only `child_connection_lost` follows, for each open
/// pipe.
pub trait ProcessProtocol {
    /// The child runs, and its pipes are open.
    fn connection_made(&mut self, process: &Process) {
        let _ = process;
    }

    /// The child, or a process that shares the pipe, wrote `data` to its descriptor `child_fd`: at least one byte,
    /// cut anywhere. A terminal's output comes from descriptor 1.
    fn child_data_received(&mut self, process: &Process, child_fd: ChildFd, data: &[u8]) {
        let _ = (process, child_fd, data);
    }

    /// More bytes are queued for the child's descriptor `child_fd` than the high
    /// [water mark](Transport::set_water_marks): write no more to it for now.
    fn child_write_paused(&mut self, process: &Process, child_fd: ChildFd) {
        let _ = (process, child_fd);
    }

    /// After [`child_write_paused`](ProcessProtocol::child_write_paused): no more bytes are queued than the low water mark.
    fn child_write_resumed(&mut self, process: &Process, child_fd: ChildFd) {
        let _ = (process, child_fd);
    }

    /// The pipe at the child's descriptor `child_fd` is closed, for the reason that [`Protocol::connection_lost`] would be told:
    /// [`Reason::Done`] if it ended in order, by the child and all processes that share it or by us, once all that was
    /// written to it was sent; [`Reason::Reset`] if nobody reads it any more and bytes may be lost, which
    /// [`Transport::unsent`] counts; [`Reason::Os`] if the OS has another one. On Windows, it also ends because the child and
    /// all its descendants have ended, even if [another process](crate::process::Command) shares it.
    fn child_connection_lost(&mut self, process: &Process, child_fd: ChildFd, reason: Reason) {
        let _ = (process, child_fd, reason);
    }

    /// The child has ended, and was reaped. Its pipes may still hold output, and processes that inherited them may
    /// keep them open.
    fn process_exited(&mut self, process: &Process, status: ExitStatus) {
        let _ = (process, status);
    }

    /// The child has ended and all its pipes are closed. This is the last call.
    ///
    /// Once the child has ended and all pipes from it are closed, the reactor closes those to it, as soon as the
    /// bytes written to them are sent or refused.
    fn process_ended(&mut self, process: &Process, status: ExitStatus) {
        let _ = (process, status);
    }
}

pub(super) struct Inner {
    reactor: Reactor,
    program: OsString,
    pid: u32,
    span: Span,
    handle: Handle,
    token: Cell<Token>,
    /// The open pipes.
    pipes: RefCell<BTreeMap<ChildFd, Pipe>>,
    status: Cell<Option<ExitStatus>>,
    usage: Cell<Option<Usage>>,
    /// Whether a wait for its exit has failed.
    unseen: Cell<bool>,
    /// Whether the handle of the process is closed.
    closed: Cell<bool>,
    /// Whether to leave the child running when the reactor stops.
    detached: Cell<bool>,
    /// Whether the reactor has stopped waiting for the child's exit, and leaves it running.
    left: Cell<bool>,
    /// Kills the tree if it does not end in time, as it was asked to.
    grace: RefCell<Option<DelayedCall>>,
    protocol: RefCell<Box<dyn ProcessProtocol>>,
}

impl Reactor {
    /// Starts a child process, and returns once it runs its program. The protocol's
    /// [`connection_made`](ProcessProtocol::connection_made) is called from the loop.
    ///
    /// The child's pipes are [transports](Process::pipe), which can be paused, resumed and given producers.
    ///
    /// # Errors
    ///
    /// [`SpawnError`] names the program, the step that failed and the reason. Nothing is left running then, and
    /// the protocol is dropped without a call.
    pub fn spawn_process(
        &self,
        command: &Command,
        protocol: impl ProcessProtocol + 'static,
    ) -> Result<Process, SpawnError> {
        self.check_may_start(command.program())?;
        let spawned = self.port_mut().spawn(command)?;
        self.begin_child(spawned, command.program(), Box::new(protocol))
    }

    /// As [`spawn_process`](Reactor::spawn_process), for a child that was started elsewhere. After an error it is killed.
    fn adopt_process(
        &self,
        started: StartedChild,
        protocol: Box<dyn ProcessProtocol>,
    ) -> Result<Process, SpawnError> {
        self.check_may_start(started.program())?;
        let program = started.program().to_owned();
        let spawned = self.port_mut().spawn_started(started)?;
        self.begin_child(spawned, &program, protocol)
    }

    fn check_may_start(&self, program: &OsStr) -> Result<(), SpawnError> {
        let refused = |error| {
            let source = io::Error::other(error);
            SpawnError::at(program.to_owned(), SpawnStep::Begin, source)
        };
        self.check_open().map_err(refused)
    }

    fn begin_child(
        &self,
        spawned: Spawned,
        program: &OsStr,
        protocol: Box<dyn ProcessProtocol>,
    ) -> Result<Process, SpawnError> {
        let adopted =
            |error: io::Error| SpawnError::at(program.to_owned(), SpawnStep::Adopt, error);
        let Spawned {
            process: handle,
            pid,
            pipes,
        } = spawned;
        let inner = Rc::new(Inner {
            reactor: self.clone(),
            program: program.to_owned(),
            pid,
            span: Span::child(pid, program),
            handle,
            token: Cell::new(Token::default()),
            pipes: RefCell::default(),
            status: Cell::new(None),
            usage: Cell::new(None),
            unseen: Cell::new(false),
            closed: Cell::new(false),
            detached: Cell::new(false),
            left: Cell::new(false),
            grace: RefCell::default(),
            protocol: RefCell::new(protocol),
        });
        let token = self
            .register(Rc::clone(&inner) as Rc<dyn Live>)
            .map_err(|error| adopted(io::Error::other(error)))?;
        inner.token.set(token);
        if let Err(error) = inner.await_exit() {
            // A failed spawn leaves no process behind.
            inner.end_tree();
            self.unregister(token);
            for handle in pipes.iter().map(|pipe| pipe.handle).chain([handle]) {
                close_unawaited(self, handle);
            }
            return Err(adopted(error));
        }
        let streams = inner.open_pipes(&pipes);
        self.counters().spawned.add(1);
        inner.span.within(|| log::debug!("{inner}: started"));
        let begun = Rc::clone(&inner);
        self.soon(move |_| {
            begun.enter(|protocol, process| protocol.connection_made(process));
            for stream in streams {
                stream.begin();
            }
        });
        Ok(Process { inner })
    }
}

impl Inner {
    fn open_pipes(self: &Rc<Self>, pipes: &[SpawnedPipe]) -> Vec<Rc<Stream>> {
        let mut streams = Vec::with_capacity(pipes.len());
        for pipe in pipes {
            let link = match pipe.direction {
                PipeDirection::ToChild => Link::pipe(Direction::Out),
                PipeDirection::FromChild => Link::pipe(Direction::In),
                PipeDirection::Both => Link::duplex(pipe.half_closes),
            };
            let protocol = Box::new(PipeProtocol {
                process: Rc::clone(self),
                child_fd: pipe.child_fd,
            });
            // Registering fails on a stopping reactor only, and this one has just registered the process.
            if let Ok(stream) = Stream::register(&self.reactor, pipe.handle, link, protocol) {
                let open = Pipe {
                    direction: pipe.direction,
                    transport: Transport::of(&stream),
                };
                self.pipes.borrow_mut().insert(pipe.child_fd, open);
                streams.push(stream);
            }
        }
        streams
    }

    /// Calls the protocol. A panic in it kills the child.
    fn enter(self: &Rc<Self>, call: impl FnOnce(&mut dyn ProcessProtocol, &Process)) {
        let process = Process {
            inner: Rc::clone(self),
        };
        let entered = self.reactor.guard("a process protocol", || {
            self.span
                .within(|| call(&mut **self.protocol.borrow_mut(), &process));
        });
        if entered.is_none() {
            self.end_tree();
        }
    }

    fn pipe_lost(self: &Rc<Self>, child_fd: ChildFd, reason: Reason) {
        self.pipes.borrow_mut().remove(&child_fd);
        self.enter(|protocol, process| protocol.child_connection_lost(process, child_fd, reason));
        self.close_inputs_if_unread();
        self.end_if_over();
    }

    fn await_exit(&self) -> io::Result<()> {
        let mut port = self.reactor.port_mut();
        port.submit(self.handle, Request::Exit, self.token.get())
            .map(drop)
    }

    /// The wait for its exit failed. Nobody would learn of it, so the child must not go on. A second wait can see that end.
    fn exit_unseen(self: &Rc<Self>, call: &'static str, source: &io::Error) {
        log::error!("{self}: {call}: {source}: its end cannot be awaited, so it is killed");
        self.end_tree();
        if self.unseen.replace(true) || self.await_exit().is_err() {
            self.exited(ExitStatus::Unknown);
        }
    }

    fn exited(self: &Rc<Self>, status: ExitStatus) {
        self.span.within(|| log::debug!("{self}: {status}"));
        self.status.set(Some(status));
        self.usage.set(self.learn_usage());
        self.enter(|protocol, process| protocol.process_exited(process, status));
        self.close_inputs_if_unread();
        self.end_if_over();
    }

    /// Closes the pipes to a child that has exited, once all pipes from it are closed.
    ///
    /// While a pipe from the child is open, another process has inherited it, and most likely reads the inputs too.
    fn close_inputs_if_unread(&self) {
        let pipes = self.pipes.borrow();
        let leads_there = |pipe: &Pipe| pipe.direction == PipeDirection::ToChild;
        if self.status.get().is_none() || !pipes.values().all(leads_there) {
            return;
        }
        let inputs: Vec<_> = pipes.values().map(|pipe| pipe.transport.clone()).collect();
        drop(pipes);
        for input in inputs {
            input.lose_without_producer();
        }
    }

    fn learn_usage(&self) -> Option<Usage> {
        if self.closed.get() {
            // The exit was on its way when the reactor let go of the child.
            return None;
        }
        let usage = self.reactor.port_mut().usage(self.handle);
        usage.unwrap_or_else(|error| {
            log::warn!("{self}: cannot learn what it used: {error}");
            None
        })
    }

    /// Closes the handle once the process has exited or is left running, and all pipes are closed.
    fn end_if_over(self: &Rc<Self>) {
        let over = self.status.get().is_some() || self.left.get();
        if !over || !self.pipes.borrow().is_empty() || self.closed.get() {
            return;
        }
        self.cut_grace_short();
        self.closed.set(true);
        let mut port = self.reactor.port_mut();
        let closing = port.close(self.handle, CloseMode::Graceful, self.token.get());
        debug_assert!(
            closing.is_ok() || self.reactor.is_copied(),
            "a process closes its own handle, once"
        );
    }

    /// Leaves the child running, and stops waiting for its exit.
    fn leave(self: &Rc<Self>) {
        self.end_grace();
        self.left.set(true);
        self.end_if_over();
    }

    fn signal(&self, signal: Signal, target: SignalTarget) -> io::Result<Unreached> {
        if self.closed.get() {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "the child has ended",
            ));
        }
        self.reactor.port_mut().signal(self.handle, signal, target)
    }

    fn ended(self: &Rc<Self>) {
        self.reactor.unregister(self.token.get());
        if let Some(status) = self.status.get() {
            self.enter(|protocol, process| protocol.process_ended(process, status));
        }
        // Drop the protocol here, even if the program still holds a `Process`.
        let protocol = self.protocol.replace(Box::new(Gone));
        self.reactor
            .drop_guarded("the drop of a process protocol", protocol);
    }
}

impl fmt::Display for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "child {} ({:?})", self.pid, self.program)
    }
}

impl Live for Inner {
    fn kind(&self) -> LiveKind {
        LiveKind::Child
    }

    fn completed(self: Rc<Self>, completion: Completion) {
        match completion.result {
            Ok(Outcome::Exited(status)) => self.exited(status),
            Ok(Outcome::Closed) => self.ended(),
            Ok(outcome) => log::error!("unexpected outcome for a process: {outcome:?}"),
            Err(Failure::Cancelled) => {}
            Err(Failure::Os { call, source }) => self.exit_unseen(call, &source),
        }
    }

    fn stop(self: Rc<Self>) {
        if self.status.get().is_some() {
            return;
        }
        if self.detached.get() {
            self.leave();
            return;
        }
        // Wait for its exit and the end of its pipes as usual, but only until the deadline.
        self.end_tree();
        let reactor = self.reactor.clone();
        reactor.call_later(KILLED_DEADLINE, move |_| {
            if self.status.get().is_none() {
                report_left_behind(&self);
                self.leave();
            }
        });
    }

    fn abandon(&self) -> Option<String> {
        let kills = self.status.get().is_none() && !self.detached.get();
        if kills {
            self.end_tree();
        }
        self.end_grace();
        self.closed.set(true);
        let protocol = self.protocol.replace(Box::new(Gone));
        drop(self.pipes.take());
        self.reactor
            .drop_guarded("the drop of a process protocol", protocol);
        kills.then(|| self.to_string())
    }
}

/// An open pipe.
struct Pipe {
    direction: PipeDirection,
    transport: Transport,
}

/// The protocol of a pipe: passes its events on to the child's [`ProcessProtocol`].
struct PipeProtocol {
    process: Rc<Inner>,
    child_fd: ChildFd,
}

impl Protocol for PipeProtocol {
    fn data_received(&mut self, _: &Transport, data: &[u8]) {
        let child_fd = self.child_fd;
        self.process.enter(|protocol, process| {
            protocol.child_data_received(process, child_fd, data);
        });
    }

    fn write_paused(&mut self, _: &Transport) {
        let child_fd = self.child_fd;
        self.process
            .enter(|protocol, process| protocol.child_write_paused(process, child_fd));
    }

    fn write_resumed(&mut self, _: &Transport) {
        let child_fd = self.child_fd;
        self.process
            .enter(|protocol, process| protocol.child_write_resumed(process, child_fd));
    }

    fn connection_lost(&mut self, _: &Transport, reason: Reason) {
        if !matches!(reason, Reason::Done | Reason::Stopped | Reason::Aborted) {
            log::debug!("{}, descriptor {}: {reason}", self.process, self.child_fd);
        }
        self.process.pipe_lost(self.child_fd, reason);
    }
}

/// Takes the place of a dropped protocol.
struct Gone;

impl ProcessProtocol for Gone {}

#[cfg(all(test, not(loom)))]
mod tests;
