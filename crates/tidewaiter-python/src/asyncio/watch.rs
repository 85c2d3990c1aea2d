//! The Python class `Descriptors`: the application's own descriptors, watched for its callbacks and for coroutines.
//!
//! A callback runs in each turn in which its descriptor is ready. A waiting coroutine is woken once, and then makes its
//! call itself: a cancelled one has taken nothing. The watch of a socket that a coroutine waited to read goes on, so that
//! the next wait for it needs no system call. It ends when the socket is ready while nothing waits for it, and when the
//! socket object is gone.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyWeakrefMethods, PyWeakrefReference};
use tidewaiter::Error;
use tidewaiter::port::{Interest, RawDescriptor, Readiness};

use crate::asyncio::face::AsyncioLoop;
use crate::asyncio::handle::{self, Handle};
use crate::core::event_loop::Loop;
use crate::core::failures::{os_error, refused};
use crate::core::lock::Locked;
use crate::core::slot::{Callee, Slot};

/// The callback and the coroutines that wait for one direction of a descriptor.
#[derive(Default)]
struct Direction {
    /// The handle of the callback.
    handle: Option<Py<Handle>>,
    /// The futures of the coroutines that wait. Some may be done: cancelled ones.
    waiters: Vec<Py<PyAny>>,
}

impl Direction {
    fn is_wanted(&self) -> bool {
        self.handle.is_some() || !self.waiters.is_empty()
    }

    fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.handle)?;
        self.waiters
            .iter()
            .try_for_each(|waiter| visit.call(waiter))
    }
}

/// A watched descriptor.
struct Entry {
    watch: tidewaiter::Watch,
    /// The socket object that coroutines wait for. `None` if the watch began with a callback for the bare number.
    owner: Option<Py<PyWeakrefReference>>,
    reading: Direction,
    writing: Direction,
}

impl Entry {
    fn direction(&mut self, reads: bool) -> &mut Direction {
        match reads {
            true => &mut self.reading,
            false => &mut self.writing,
        }
    }

    fn wanted(&self) -> Interest {
        Interest {
            readable: self.reading.is_wanted(),
            writable: self.writing.is_wanted(),
        }
    }
}

struct State {
    slot: OnceCell<Slot<Descriptors>>,
    /// No Python code runs and no Python object is dropped while this is borrowed.
    entries: RefCell<HashMap<RawDescriptor, Entry>>,
}

/// The descriptors that one asyncio loop watches for its application. They stay the application's.
#[pyclass(frozen, module = "tidewaiter._tidewaiter")]
pub(crate) struct Descriptors(Locked<State>);

impl Callee for Descriptors {
    const KIND: &'static str = "watch";
}

impl Descriptors {
    fn state<'a>(&'a self, py: Python<'a>) -> &'a State {
        self.0.get(py)
    }
}

impl State {
    /// The loop, if this thread may use it now.
    fn event_loop(&self) -> PyResult<Option<Rc<Loop>>> {
        let event_loop = self.slot.get().and_then(Slot::event_loop);
        if let Some(event_loop) = &event_loop {
            event_loop.check_thread()?;
        }
        Ok(event_loop)
    }

    /// Whether this process is a forked child, and the watches are the parent's.
    fn is_copy(&self) -> bool {
        let event_loop = self.slot.get().and_then(Slot::event_loop);
        event_loop.is_some_and(|event_loop| event_loop.is_copy())
    }

    /// Begins a watch for one direction.
    fn begin(
        &self,
        descriptor: RawDescriptor,
        owner: Option<Py<PyWeakrefReference>>,
        reads: bool,
        wanted: Direction,
    ) -> PyResult<()> {
        let (Some(event_loop), Some(slot)) = (self.event_loop()?, self.slot.get()) else {
            return Ok(());
        };
        let interest = if reads {
            Interest::READABLE
        } else {
            Interest::WRITABLE
        };
        let slot = slot.clone();
        let watch = event_loop
            .reactor
            .watch(descriptor, interest, move |_, ready| {
                slot.find(|event_loop, descriptors| {
                    let py = descriptors.py();
                    let state = descriptors.get().state(py);
                    state.became_ready(py, event_loop, descriptor, ready);
                });
            })
            .map_err(|error| match error {
                Error::Watch { source, .. } => {
                    os_error(&format!("descriptor {descriptor}"), &source)
                }
                other => refused("watch", &other),
            })?;
        event_loop.watches.set(event_loop.watches.get() + 1);
        let mut entry = Entry {
            watch,
            owner,
            reading: Direction::default(),
            writing: Direction::default(),
        };
        *entry.direction(reads) = wanted;
        let replaced = self.entries.borrow_mut().insert(descriptor, entry);
        drop(replaced);
        Ok(())
    }

    /// Stops the watch of a descriptor, and returns what was wanted of it.
    fn end(&self, descriptor: RawDescriptor) -> Option<Entry> {
        let entry = self.entries.borrow_mut().remove(&descriptor)?;
        entry.watch.stop();
        if let Some(event_loop) = self.slot.get().and_then(Slot::event_loop) {
            event_loop.watches.set(event_loop.watches.get() - 1);
        }
        Some(entry)
    }

    /// Stops the watch of a descriptor that was closed. Coroutines that wait for it find that out by themselves.
    fn end_stale(&self, py: Python<'_>, descriptor: RawDescriptor) {
        let Some(entry) = self.end(descriptor) else {
            return;
        };
        for direction in [entry.reading, entry.writing] {
            if let Some(handle) = &direction.handle
                && let Err(error) = Handle::cancel(handle.bind(py))
            {
                self.report(&error, handle.bind(py).as_any());
            }
            self.wake(py, &direction.waiters);
        }
    }

    /// Watches a descriptor for what is wanted of it, and for reading if `keeps_reading`. The watch ends if that is
    /// nothing. Returns false if the descriptor was closed.
    fn settle(&self, descriptor: RawDescriptor, keeps_reading: bool) -> bool {
        let entries = self.entries.borrow();
        let Some(entry) = entries.get(&descriptor) else {
            return true;
        };
        let mut wanted = entry.wanted();
        wanted.readable |= keeps_reading;
        if wanted != Interest::NONE {
            return entry.watch.set_interest(wanted).is_ok();
        }
        drop(entries);
        let ended = self.end(descriptor);
        drop(ended);
        true
    }

    /// Handles that a descriptor is ready.
    fn became_ready(
        &self,
        py: Python<'_>,
        event_loop: &Loop,
        descriptor: RawDescriptor,
        ready: Readiness,
    ) {
        let entries = self.entries.borrow();
        let is_over = entries
            .get(&descriptor)
            .is_none_or(|entry| entry.watch.is_stopped());
        drop(entries);
        if is_over {
            return self.end_stale(py, descriptor);
        }
        // After a hang-up or an error, neither a read nor a write would block.
        let both = ready.hang_up || ready.error;
        let keeps_reading =
            (both || ready.readable) && self.is_ready(py, event_loop, descriptor, true);
        if both || ready.writable {
            self.is_ready(py, event_loop, descriptor, false);
        }
        if !self.settle(descriptor, keeps_reading) {
            self.end_stale(py, descriptor);
        }
    }

    /// Has the callback run, and wakes the coroutines, for one direction. Returns whether there was a coroutine.
    fn is_ready(
        &self,
        py: Python<'_>,
        event_loop: &Loop,
        descriptor: RawDescriptor,
        reads: bool,
    ) -> bool {
        let mut entries = self.entries.borrow_mut();
        let Some(entry) = entries.get_mut(&descriptor) else {
            return false;
        };
        let direction = entry.direction(reads);
        let waiters = std::mem::take(&mut direction.waiters);
        let handle = match &direction.handle {
            Some(handle) if handle.get().is_cancelled(py) => direction.handle.take(),
            handle => handle.as_ref().map(|handle| handle.clone_ref(py)),
        };
        drop(entries);
        if let Some(handle) = handle {
            event_loop.make_soon(handle.into_any(), handle::make);
        }
        self.wake(py, &waiters)
    }

    /// Wakes the coroutines that wait. Returns whether there was one.
    fn wake(&self, py: Python<'_>, waiters: &[Py<PyAny>]) -> bool {
        let mut woken = false;
        for waiter in waiters {
            match wake(waiter.bind(py)) {
                Ok(was_waiting) => woken |= was_waiting,
                Err(error) => self.report(&error, waiter.bind(py)),
            }
        }
        woken
    }

    fn report(&self, error: &PyErr, subject: &Bound<'_, PyAny>) {
        if let Some(event_loop) = self.slot.get().and_then(Slot::event_loop) {
            event_loop.hooks.report(Descriptors::KIND, error, subject);
        }
    }

    /// Watches a descriptor for one direction more, if there is a watch and if the descriptor was not closed. Returns
    /// whether it does. The OS is asked whether the descriptor was closed unless the watch `is_sure` to be right.
    fn widen(&self, descriptor: RawDescriptor, reads: bool, is_sure: bool) -> bool {
        let entries = self.entries.borrow();
        let Some(entry) = entries.get(&descriptor) else {
            return false;
        };
        let now = entry.watch.interest();
        let without = Interest {
            readable: now.readable && !reads,
            writable: now.writable && reads,
        };
        let with = Interest {
            readable: now.readable || reads,
            writable: now.writable || !reads,
        };
        let is_open = is_sure || entry.watch.set_interest(without).is_ok();
        is_open && entry.watch.set_interest(with).is_ok()
    }

    /// Adds a waiting coroutine, and forgets the cancelled ones.
    fn enqueue(&self, py: Python<'_>, descriptor: RawDescriptor, reads: bool, future: Py<PyAny>) {
        let waiters = |entries: &mut HashMap<RawDescriptor, Entry>, changed: Vec<Py<PyAny>>| {
            let entry = entries.get_mut(&descriptor);
            entry.map(|entry| std::mem::replace(&mut entry.direction(reads).waiters, changed))
        };
        let known = waiters(&mut self.entries.borrow_mut(), Vec::new());
        let mut waiting = known.unwrap_or_default();
        waiting.retain(|waiter| !is_done(waiter.bind(py)));
        waiting.push(future);
        let replaced = waiters(&mut self.entries.borrow_mut(), waiting);
        drop(replaced);
    }

    /// Whether the watch of a descriptor is for this socket object.
    fn is_for(&self, py: Python<'_>, descriptor: RawDescriptor, socket: &Bound<'_, PyAny>) -> bool {
        let entries = self.entries.borrow();
        let owner = entries
            .get(&descriptor)
            .and_then(|entry| entry.owner.as_ref());
        owner.is_some_and(|owner| {
            owner
                .bind(py)
                .upgrade()
                .is_some_and(|owner| owner.is(socket))
        })
    }
}

fn is_done(future: &Bound<'_, PyAny>) -> bool {
    let done = future.call_method0(intern!(future.py(), "done"));
    done.and_then(|done| done.is_truthy()).unwrap_or(true)
}

/// Wakes a coroutine that waits for `future`. Returns false if the future was done.
fn wake(future: &Bound<'_, PyAny>) -> PyResult<bool> {
    if is_done(future) {
        return Ok(false);
    }
    let py = future.py();
    future.call_method1(intern!(py, "set_result"), (py.None(),))?;
    Ok(true)
}

#[pymethods]
impl Descriptors {
    #[new]
    fn new(py: Python<'_>, home: &AsyncioLoop) -> PyResult<Py<Descriptors>> {
        let event_loop = home.open(py)?;
        event_loop.check_thread()?;
        let state = State {
            slot: OnceCell::new(),
            entries: RefCell::default(),
        };
        let object = Bound::new(py, Descriptors(Locked::new(state)))?;
        let slot = Slot::new(&event_loop, &object);
        // `set` cannot fail: the cell is empty until here.
        let _ = object.get().state(py).slot.set(slot);
        Ok(object.unbind())
    }

    /// Has `handle` run in each turn in which `descriptor` is ready: to be read if `reads`, otherwise to be written. It
    /// replaces the one of an earlier call, which is cancelled.
    fn add(
        &self,
        py: Python<'_>,
        descriptor: RawDescriptor,
        reads: bool,
        handle: Bound<'_, Handle>,
    ) -> PyResult<()> {
        let state = self.state(py);
        state.event_loop()?;
        if !state.widen(descriptor, reads, false) {
            state.end_stale(py, descriptor);
        }
        let mut entries = state.entries.borrow_mut();
        if let Some(entry) = entries.get_mut(&descriptor) {
            let replaced = entry.direction(reads).handle.replace(handle.unbind());
            drop(entries);
            return match replaced {
                Some(replaced) => Handle::cancel(replaced.bind(py)),
                None => Ok(()),
            };
        }
        drop(entries);
        let wanted = Direction {
            handle: Some(handle.unbind()),
            waiters: Vec::new(),
        };
        state.begin(descriptor, None, reads, wanted)
    }

    /// Ends what `add` began. Returns whether there was a handle, which is cancelled.
    fn remove(&self, py: Python<'_>, descriptor: RawDescriptor, reads: bool) -> PyResult<bool> {
        let state = self.state(py);
        if state.is_copy() {
            return Ok(false);
        }
        state.event_loop()?;
        let mut entries = state.entries.borrow_mut();
        let entry = entries.get_mut(&descriptor);
        let removed = entry.and_then(|entry| entry.direction(reads).handle.take());
        drop(entries);
        let Some(handle) = removed else {
            return Ok(false);
        };
        if !state.settle(descriptor, false) {
            state.end_stale(py, descriptor);
        }
        Handle::cancel(handle.bind(py))?;
        Ok(true)
    }

    /// Sets the result of `future` once `descriptor`, that of `socket`, is ready. Returns false if that takes a new watch:
    /// see `watch`.
    fn wait(
        &self,
        py: Python<'_>,
        socket: &Bound<'_, PyAny>,
        descriptor: RawDescriptor,
        reads: bool,
        future: Py<PyAny>,
    ) -> PyResult<bool> {
        let state = self.state(py);
        state.event_loop()?;
        let is_sure = state.is_for(py, descriptor, socket);
        if !state.widen(descriptor, reads, is_sure) {
            state.end_stale(py, descriptor);
            return Ok(false);
        }
        state.enqueue(py, descriptor, reads, future);
        Ok(true)
    }

    /// As `wait`, with a new watch. `owner` is a weak reference to the socket that calls `forget`.
    fn watch(
        &self,
        py: Python<'_>,
        owner: Option<Py<PyWeakrefReference>>,
        descriptor: RawDescriptor,
        reads: bool,
        future: Py<PyAny>,
    ) -> PyResult<()> {
        let wanted = Direction {
            handle: None,
            waiters: vec![future],
        };
        self.state(py).begin(descriptor, owner, reads, wanted)
    }

    /// Ends the watch for a socket that is gone.
    fn forget(&self, py: Python<'_>, descriptor: RawDescriptor, owner: &Bound<'_, PyAny>) {
        let state = self.state(py);
        // The garbage collector may call, in any thread and at any time. The next use of the number settles what stays.
        if state.event_loop().is_err() {
            return;
        }
        let Ok(mut entries) = state.entries.try_borrow_mut() else {
            return;
        };
        let entry = entries.get_mut(&descriptor);
        let owned = entry.filter(|entry| entry.owner.as_ref().is_some_and(|known| known.is(owner)));
        let Some(entry) = owned else {
            return;
        };
        // A coroutine that waits for the socket would keep it: what is left are cancelled ones.
        let cancelled = [&mut entry.reading, &mut entry.writing]
            .map(|direction| std::mem::take(&mut direction.waiters));
        let known = entry.owner.take();
        drop(entries);
        drop((known, cancelled));
        if !state.settle(descriptor, false) {
            state.end_stale(py, descriptor);
        }
    }

    /// Ends all watches. In a forked child, those of the parent go on.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let state = self.state(py);
        if state.is_copy() {
            let entries = state.entries.take();
            drop(entries);
            return Ok(());
        }
        state.event_loop()?;
        let descriptors: Vec<_> = state.entries.borrow().keys().copied().collect();
        for descriptor in descriptors {
            let ended = state.end(descriptor);
            drop(ended);
        }
        Ok(())
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        let Ok(entries) = self.0.visited().entries.try_borrow() else {
            return Ok(());
        };
        for entry in entries.values() {
            visit.call(&entry.owner)?;
            entry.reading.traverse(&visit)?;
            entry.writing.traverse(&visit)?;
        }
        Ok(())
    }

    fn __clear__(&self) {
        let entries = Python::attach(|py| self.state(py).entries.take());
        drop(entries);
    }
}
