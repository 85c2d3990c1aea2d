//! For tests: the port of this system, but its children survive every signal, as one does that hangs in the kernel.

use std::io;
use std::time::{Duration, Instant};

use super::calls::{Answer, Control, Offer, Open, Query, Watched};
use super::driver::{ForkStep, Status};
use super::open::open_best;
use super::{
    CloseMode, Completion, Driver, Failure, Handle, Interest, Operation, Port, PortOptions,
    Request, Spawned, Token,
};
use crate::os::Origin;
use crate::process::{Spawn, SpawnError};

impl Port {
    /// Opens the best port of this machine with children that survive.
    pub(crate) fn with_unkillable_children() -> io::Result<Port> {
        let driver = open_best(&PortOptions::default())?;
        Ok(Port::over(
            Box::new(Unkillable(driver)),
            Some(Origin::here()?),
        ))
    }
}

/// Passes every call on but signals, which it drops.
#[derive(Debug)]
struct Unkillable(Box<dyn Driver>);

impl Driver for Unkillable {
    fn control(&mut self, handle: Handle, control: Control<'_>) -> io::Result<()> {
        match control {
            Control::Signal(_) => Ok(()),
            control => self.0.control(handle, control),
        }
    }

    fn status(&self) -> Status<'_> {
        self.0.status()
    }

    fn now(&self) -> Instant {
        self.0.now()
    }

    fn begin_waiting(&mut self) -> io::Result<Option<Box<dyn Driver>>> {
        let successor = self.0.begin_waiting()?;
        Ok(successor.map(|driver| Box::new(Unkillable(driver)) as Box<dyn Driver>))
    }

    fn submit(&mut self, handle: Handle, request: Request, token: Token) -> io::Result<Operation> {
        self.0.submit(handle, request, token)
    }

    fn send_now(&mut self, handle: Handle, offer: Offer<'_>) -> Result<usize, Failure> {
        self.0.send_now(handle, offer)
    }

    fn cancel(&mut self, operation: Operation) -> bool {
        self.0.cancel(operation)
    }

    fn wait(
        &mut self,
        timeout: Option<Duration>,
        completions: &mut Vec<Completion>,
    ) -> io::Result<()> {
        self.0.wait(timeout, completions)
    }

    fn glance(&mut self, completions: &mut Vec<Completion>) -> io::Result<()> {
        self.0.glance(completions)
    }

    fn open(&mut self, open: Open<'_>) -> io::Result<Handle> {
        self.0.open(open)
    }

    fn close(&mut self, handle: Handle, mode: CloseMode, token: Token) -> io::Result<Operation> {
        self.0.close(handle, mode, token)
    }

    fn watch(&mut self, watched: Watched<'_>, token: Token) -> io::Result<Operation> {
        self.0.watch(watched, token)
    }

    fn set_interest(&mut self, watch: Operation, interest: Interest) -> io::Result<()> {
        self.0.set_interest(watch, interest)
    }

    fn spawn(&mut self, spawn: Spawn<'_>) -> Result<Spawned, SpawnError> {
        self.0.spawn(spawn)
    }

    fn query(&self, handle: Handle, query: Query) -> io::Result<Answer> {
        self.0.query(handle, query)
    }

    fn fork(&mut self, step: ForkStep) -> io::Result<()> {
        self.0.fork(step)
    }
}
