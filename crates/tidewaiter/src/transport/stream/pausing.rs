//! Pauses a stream's receiving, and notices the connection's end during the pause.

use std::collections::VecDeque;
use std::rc::Rc;

use super::state::Event;
use super::{Flow, Stream};
use crate::port::{Buffer, PassedDescriptors, Request};

/// Data that arrived during a pause, to be delivered first when the stream is resumed.
#[derive(Default)]
pub(super) struct Held {
    /// With the descriptors that came with each.
    buffers: VecDeque<(Buffer, Option<Box<PassedDescriptors>>)>,
}

impl Flow {
    pub(super) fn hold(&mut self, buffer: Buffer, passed: Option<Box<PassedDescriptors>>) {
        let held = self.held.get_or_insert_default();
        held.buffers.push_back((buffer, passed));
    }
}

impl Stream {
    /// Has the loop deliver what is held.
    pub(super) fn release_soon(self: &Rc<Self>) {
        let stream = Rc::clone(self);
        self.reactor.soon(move |_| stream.happened(Event::Release));
    }

    /// Delivers the first held buffer, and has the loop deliver the next. The loop thus runs the callbacks that one
    /// delivery causes before the next delivery.
    pub(super) fn deliver_held(self: &Rc<Self>) {
        let mut flow = self.flow.borrow_mut();
        let Some(held) = &mut flow.held else {
            return;
        };
        let first = held.buffers.front_mut();
        if let Some(passed) = first.and_then(|(_, passed)| passed.take()) {
            drop(flow);
            self.deliver_passed(*passed);
            return self.release_soon();
        }
        let first = held.buffers.pop_front();
        if held.buffers.is_empty() {
            flow.state.on(&self.link, Event::HeldDelivered);
        }
        drop(flow);
        if let Some((buffer, _)) = first {
            self.deliver(buffer);
            self.release_soon();
        }
    }

    /// Asks the port to report a reset while no receive is under way to report it. The operation stays under way
    /// across pauses, so that many pauses cost no more than one.
    pub(super) fn await_hang_up(&self) {
        let mut flow = self.flow.borrow_mut();
        if flow.receiving.is_some() || !flow.state.wants_hang_up(&self.link) {
            return;
        }
        let submitted =
            self.reactor
                .port_mut()
                .submit(self.handle, Request::HangUp, self.token.get());
        match submitted {
            Ok(_) => {
                flow.state.on(&self.link, Event::HangUpAwaited);
            }
            // Not every port supports this. The next receive or send then reports the hang-up.
            Err(error) => log::debug!("a hang-up will be noticed late: {error}"),
        }
    }

    /// Handles a hang-up: neither side can send any more, but received data may be left to read.
    pub(super) fn hung_up(self: &Rc<Self>) {
        let all_sent = self.flow.borrow().is_drained();
        self.happened(Event::HungUp { all_sent });
    }
}
