//! Passing descriptors over UNIX sockets, by Twisted's rules: each goes with one byte, as soon as there is one.

use std::cell::{Cell, RefCell};

use pyo3::intern;
use pyo3::prelude::*;
use tidewaiter::Transport;
use tidewaiter::port::{OwnedDescriptor, PassedDescriptors, RawDescriptor};

use super::{State, Stream};
use crate::core::sockets;

/// Above this many unsent descriptors, a push producer is paused.
const UNSENT_MAX: usize = 64;

#[derive(Default)]
pub(super) struct Passing {
    /// Descriptors that no byte was written for yet.
    waiting: RefCell<Vec<OwnedDescriptor>>,
    /// How many were given to the transport since its queue was last empty.
    given: Cell<usize>,
    /// `loseConnection` was called while descriptors waited.
    lose_owed: Cell<bool>,
}

impl Passing {
    /// Whether more descriptors may be unsent than a producer should cause.
    pub(super) fn is_full(&self, queued: usize) -> bool {
        if queued == 0 {
            self.given.set(0);
        }
        // Each has a byte of its own.
        self.waiting.borrow().len() + self.given.get().min(queued) > UNSENT_MAX
    }

    /// Whether descriptors wait for bytes.
    pub(super) fn waits(&self) -> bool {
        !self.waiting.borrow().is_empty()
    }

    /// Whether the connection's end must wait until it is settled whether the descriptors get their bytes.
    pub(super) fn puts_off_end(&self) -> bool {
        let waits = self.waits();
        self.lose_owed.set(waits);
        waits
    }

    /// Sends the waiting descriptors, each with a byte of `data`. Returns the rest of the data.
    pub(super) fn send_along<'a>(&self, transport: &Transport, mut data: &'a [u8]) -> &'a [u8] {
        let mut waiting = self.waiting.borrow_mut();
        let count = waiting.len().min(data.len());
        for descriptor in waiting.drain(..count) {
            let (byte, rest) = data.split_at(1);
            // This fails only on a connection that takes no more data.
            if let Err(error) = transport.send_with_descriptors(byte, vec![descriptor]) {
                log::debug!("a descriptor was not passed: {error}");
            }
            data = rest;
        }
        self.given.set(self.given.get() + count);
        data
    }
}

/// Tells the stream's object which descriptors have come.
pub(super) fn receive<'py>(
    stream: &Bound<'py, Stream>,
    passed: PassedDescriptors,
) -> PyResult<Bound<'py, PyAny>> {
    let numbers: Vec<_> = passed.descriptors.into_iter().map(sockets::given).collect();
    stream.call_method1(intern!(stream.py(), "_descriptorsReceived"), (numbers,))
}

#[pymethods]
impl Stream {
    /// Passes a duplicate of the descriptor with this number, with the next byte. Returns whether it waits for one: then
    /// `_settle` must follow.
    fn _pass(slf: &Bound<'_, Self>, descriptor: RawDescriptor) -> PyResult<bool> {
        let py = slf.py();
        let state = slf.get().state(py);
        let Some(transport) = state.writable()? else {
            return Ok(false);
        };
        let passing = &state.producing.passing;
        let ours = sockets::duplicate(descriptor)?;
        let waits = match transport.pass_with_written(vec![ours]) {
            Ok(()) => {
                passing.given.set(passing.given.get() + 1);
                false
            }
            Err(refused) => {
                passing.waiting.borrow_mut().extend(refused);
                true
            }
        };
        state.wrote(slf, &transport)?;
        Ok(waits)
    }

    /// Settles whether all descriptors got their bytes: returns false if one did not. Otherwise, a close that was put off
    /// follows.
    fn _settle(slf: &Bound<'_, Self>) -> PyResult<bool> {
        let state = slf.get().state(slf.py());
        let transport = state.transport()?;
        if state.producing.passing.waits() {
            return Ok(false);
        }
        if state.producing.passing.lose_owed.take()
            && let Some(transport) = transport
        {
            state.lose(&transport);
        }
        Ok(true)
    }
}

impl State {
    /// Has the transport take descriptors if it can: Twisted's always do.
    pub(super) fn take_descriptors(transport: &Transport) {
        if matches!(transport.peer_addr(), Some(tidewaiter::Address::Unix(_)))
            && let Err(error) = transport.take_descriptors()
        {
            log::debug!("no descriptors are taken: {error}");
        }
    }
}
