//! Passes a transport's callbacks on to its Python object.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use tidewaiter::{ConnectError, Factory, Protocol, Reactor, Reason, Transport};

use super::Stream;
use crate::core::event_loop::Loop;
use crate::core::failures::{os_error, raised};
use crate::twisted::listener::Incoming;

/// The protocol of every connection and pipe: finds the stream's Python object and calls it.
///
/// It holds no references to Python objects. They are in the loop's table, where the garbage collector sees them.
#[derive(Clone)]
pub(crate) struct Bridge {
    home: Weak<Loop>,
    /// The stream's slot in the loop's table, while there is a stream.
    slot: Rc<Cell<Option<usize>>>,
    /// Set for an accepted connection: asks the listener's object for a stream.
    incoming: Option<Incoming>,
}

impl Bridge {
    /// Makes a bridge that leads to no stream yet.
    pub(crate) fn new(home: Weak<Loop>, incoming: Option<Incoming>) -> Bridge {
        Bridge {
            home,
            slot: Rc::default(),
            incoming,
        }
    }

    /// Adds `stream` to the loop's table. From here on, callbacks go to it.
    pub(crate) fn lead_to(&self, stream: &Bound<'_, Stream>, event_loop: &Loop) {
        let state = stream.get().state(stream.py());
        state.event_loop.replace(self.home.clone());
        state.bridge.replace(Some(self.clone()));
        let slot = event_loop
            .streams
            .borrow_mut()
            .insert(stream.clone().unbind());
        self.slot.set(Some(slot));
    }

    /// Calls `look` with the stream's object, if there is one.
    fn reach(&self, look: impl FnOnce(&Loop, &Bound<'_, Stream>)) {
        let (Some(event_loop), Some(slot)) = (self.home.upgrade(), self.slot.get()) else {
            return;
        };
        Python::attach(|py| {
            let stream = match event_loop.streams.borrow().get(slot) {
                Some(stream) => stream.bind(py).clone(),
                None => return,
            };
            look(&event_loop, &stream);
        });
    }

    /// Calls the stream's object in its log context. An exception loses the connection. A report of a slow callback
    /// names `method`.
    pub(super) fn enter(
        &self,
        method: &str,
        call: impl FnOnce(&Bound<'_, Stream>) -> PyResult<()>,
    ) {
        self.reach(|event_loop, stream| Bridge::call(event_loop, stream, method, call));
    }

    /// As [`enter`](Bridge::enter), but does nothing once the connection is lost, as far as Python knows.
    fn enter_live(&self, method: &str, call: impl FnOnce(&Bound<'_, Stream>) -> PyResult<()>) {
        self.reach(|event_loop, stream| {
            if stream.get().is_live(stream.py()) {
                Bridge::call(event_loop, stream, method, call);
            }
        });
    }

    fn call(
        event_loop: &Loop,
        stream: &Bound<'_, Stream>,
        method: &str,
        call: impl FnOnce(&Bound<'_, Stream>) -> PyResult<()>,
    ) {
        let py = stream.py();
        let state = stream.get().state(py);
        let entered = event_loop.log.under_name(py, &state.name, || {
            if !event_loop.is_timed() {
                return call(stream);
            }
            let protocol = state.protocol.borrow();
            let named = protocol.as_ref().map(|named| named.bind(py).clone());
            drop(protocol);
            let named = named.as_ref().unwrap_or(stream.as_any());
            event_loop.call(named, method, || call(stream))
        });
        if let Err(error) = entered {
            let failed = stream.call_method1(intern!(py, "_streamFailed"), (raised(py, &error),));
            if let Err(error) = failed {
                event_loop.report("stream", &error, stream.as_any());
            }
        }
    }

    /// Lets the connection end after the loop's next wait, as Twisted's own reactors do. Events that the wait brings,
    /// for instance from the connection's other end in this process, come first.
    pub(super) fn end_with_next_turn(&self) {
        if let Some(event_loop) = self.home.upgrade() {
            let bridge = self.clone();
            event_loop.after_next_wait(move || bridge.let_end());
        }
    }

    fn let_end(&self) {
        self.reach(|_, stream| {
            let state = stream.get().state(stream.py());
            // This fails only in another thread than the loop's, or in a forked child, which has nothing to end.
            let _ = state.let_end(stream.py());
        });
    }

    /// Removes the stream from the loop's table. From here on, callbacks do nothing.
    pub(super) fn leave(&self) {
        let (Some(event_loop), Some(slot)) = (self.home.upgrade(), self.slot.take()) else {
            return;
        };
        let stream = event_loop.streams.borrow_mut().remove(slot);
        Python::attach(|_| drop(stream));
    }
}

impl Protocol for Bridge {
    fn connection_made(&mut self, transport: &Transport) {
        match &self.incoming {
            Some(incoming) => incoming.open(transport, self),
            None => self.enter("_streamMade", |stream| {
                let state = stream.get().state(stream.py());
                state.begin(transport);
                stream
                    .call_method0(intern!(stream.py(), "_streamMade"))
                    .map(drop)
            }),
        }
        self.reach(|_, stream| {
            let state = stream.get().state(stream.py());
            state.pause_if_not_reading(transport);
        });
    }

    fn data_received(&mut self, _: &Transport, data: &[u8]) {
        self.enter_live("dataReceived", |stream| {
            let py = stream.py();
            let protocol = stream.get().protocol(py)?;
            protocol
                .call_method1(intern!(py, "dataReceived"), (PyBytes::new(py, data),))
                .map(drop)
        });
    }

    fn read_connection_lost(&mut self, _: &Transport) {
        self.enter_live("_streamEnded", |stream| {
            let ended = stream.call_method0(intern!(stream.py(), "_streamEnded"));
            ended.map(drop)
        });
    }

    fn write_connection_lost(&mut self, _: &Transport) {
        self.reach(|_, stream| {
            stream.get().state(stream.py()).write_disconnected.set(true);
        });
        self.enter_live("_streamWriteEnded", |stream| {
            let ended = stream.call_method0(intern!(stream.py(), "_streamWriteEnded"));
            ended.map(drop)
        });
    }

    fn connection_lost(&mut self, _: &Transport, reason: Reason) {
        let how = match reason {
            Reason::Done => "done",
            Reason::Aborted => "aborted",
            _ => "lost",
        };
        self.enter_live("_streamLost", |stream| {
            stream
                .call_method1(intern!(stream.py(), "_streamLost"), (how,))
                .map(drop)
        });
        self.reach(|_, stream| stream.get().state(stream.py()).end());
        self.leave();
    }
}

/// The factory for a connection that a stream's `_connect` makes.
pub(crate) struct Caller(pub(crate) Bridge);

impl Factory for Caller {
    fn build_protocol(&mut self, _: SocketAddr) -> Option<Box<dyn Protocol>> {
        Some(Box::new(self.0.clone()))
    }

    fn connection_failed(&mut self, _: &Reactor, error: ConnectError) {
        let refused = match error.io_error() {
            Some(source) => os_error("connect", source),
            None => os_error("connect", &std::io::Error::other(error.to_string())),
        };
        self.0.enter_live("_streamRefused", |stream| {
            stream
                .call_method1(
                    intern!(stream.py(), "_streamRefused"),
                    (refused.value(stream.py()),),
                )
                .map(drop)
        });
        self.0.leave();
    }
}
