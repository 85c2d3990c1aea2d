//! Pauses a stream's receiving, and notices the connection's end during the pause.

use std::collections::VecDeque;
use std::rc::Rc;

use super::{Ending, Flow, HangUp, Phase, Stream};
use crate::error::Reason;
use crate::port::{Buffer, Request};

/// Data that arrived during a pause, to be delivered first when the stream is resumed.
#[derive(Default)]
pub(super) struct Held {
    pub(super) buffers: VecDeque<Buffer>,
    /// Whether an end of file arrived after the buffers.
    pub(super) end: bool,
}

/// The reasons for which a stream does not receive.
#[derive(Default)]
pub(super) struct Pauses {
    /// The program paused it.
    asked: bool,
    /// It pauses whenever its queue is congested.
    pub(super) while_congested: bool,
}

impl Flow {
    pub(super) fn held(&mut self) -> &mut Held {
        self.held.get_or_insert_default()
    }

    pub(super) fn holds_bytes(&self) -> bool {
        let held = self.held.as_ref();
        held.is_some_and(|held| !held.buffers.is_empty())
    }

    pub(super) fn holds_end(&self) -> bool {
        self.held.as_ref().is_some_and(|held| held.end)
    }

    /// Whether delivery is paused.
    pub(super) fn is_paused(&self) -> bool {
        self.pauses.asked || (self.pauses.while_congested && self.congested)
    }
}

impl Stream {
    pub(super) fn pause(&self) {
        self.flow.borrow_mut().pauses.asked = true;
    }

    pub(super) fn pause_while_congested(&self) {
        self.flow.borrow_mut().pauses.while_congested = true;
    }

    pub(super) fn resume(self: &Rc<Self>) {
        if std::mem::take(&mut self.flow.borrow_mut().pauses.asked) {
            self.receive_on();
        }
    }

    /// Ends a pause, unless another reason to pause remains: delivers the held data, then receives again.
    pub(super) fn receive_on(self: &Rc<Self>) {
        let flow = self.flow.borrow();
        if flow.is_paused() || flow.phase != Phase::Open {
            return;
        }
        let held = flow.holds_bytes() || flow.holds_end();
        drop(flow);
        if held {
            let stream = Rc::clone(self);
            self.reactor.soon(move |_| stream.release_held());
        } else {
            self.receive_more();
        }
    }

    /// Delivers the first held buffer, and schedules itself for the next, until the stream is paused again. The
    /// loop thus runs the callbacks that one delivery causes before the next delivery.
    pub(super) fn release_held(self: &Rc<Self>) {
        let mut flow = self.flow.borrow_mut();
        if flow.is_paused() || flow.phase != Phase::Open || flow.leaving {
            return;
        }
        if let Some(buffer) = flow.held().buffers.pop_front() {
            drop(flow);
            self.deliver(buffer);
            let stream = Rc::clone(self);
            self.reactor.soon(move |_| stream.release_held());
            return;
        }
        let ended = std::mem::take(&mut flow.held().end);
        drop(flow);
        if ended {
            self.end_of_file();
        } else {
            self.receive_more();
        }
    }

    /// Asks the port to report a reset while no receive is under way to report it. The operation stays under way
    /// across pauses, so that many pauses cost no more than one.
    pub(super) fn await_hang_up(&self) {
        let mut flow = self.flow.borrow_mut();
        let told = flow.receiving.is_some() || flow.hang_up != HangUp::Unasked;
        if flow.phase != Phase::Open || flow.leaving || told {
            return;
        }
        if !self.link.sends() {
            return;
        }
        let submitted =
            self.reactor
                .port_mut()
                .submit(self.handle, Request::HangUp, self.token.get());
        match submitted {
            Ok(_) => flow.hang_up = HangUp::Awaited,
            // Not every port supports this. The next receive or send then reports the hang-up.
            Err(error) => log::debug!("a hang-up will be noticed late: {error}"),
        }
    }

    /// Handles a hang-up: neither side can send any more, but received data may be left to read.
    pub(super) fn hung_up(self: &Rc<Self>) {
        let mut flow = self.flow.borrow_mut();
        flow.hang_up = HangUp::Seen;
        if flow.phase != Phase::Open {
            drop(flow);
            self.receive_more();
            return;
        }
        if !self.link.receives() {
            let queued = flow.queued();
            drop(flow);
            // With bytes queued, the send under way fails instead, and tells how many were lost.
            if queued == 0 {
                self.close(Ending::InOrder, Reason::Done);
            }
            return;
        }
        let (read_ended, held_end) = (flow.read_ended, flow.holds_end() && !flow.holds_bytes());
        drop(flow);
        if read_ended {
            self.close(Ending::InOrder, Reason::Done);
        } else if held_end {
            self.flow.borrow_mut().held().end = false;
            self.end_of_file();
        } else {
            self.receive_more();
        }
    }
}
