//! The half of a stream that does not receive for a while, and yet learns of the connection's end.

use std::collections::VecDeque;
use std::rc::Rc;

use super::{Ending, HangUp, Phase, State, Stream, StreamKind};
use crate::error::Reason;
use crate::port::{Buffer, Request};

/// What arrived while paused, to be delivered first on resumption.
#[derive(Default)]
pub(super) struct Held {
    pub(super) buffers: VecDeque<Buffer>,
    /// An end of file arrived behind them.
    pub(super) end: bool,
}

/// What keeps a stream from receiving.
#[derive(Default)]
pub(super) struct Pauses {
    /// It was asked to pause.
    asked: bool,
    /// Being congested does.
    pub(super) while_congested: bool,
}

impl State {
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

    /// Whether nothing is to be delivered for now.
    pub(super) fn is_paused(&self) -> bool {
        self.pauses.asked || (self.pauses.while_congested && self.congested)
    }
}

impl Stream {
    pub(in crate::transport) fn pause(&self) {
        self.state.borrow_mut().pauses.asked = true;
    }

    pub(in crate::transport) fn pause_while_congested(&self) {
        self.state.borrow_mut().pauses.while_congested = true;
    }

    pub(in crate::transport) fn resume(self: &Rc<Self>) {
        if std::mem::take(&mut self.state.borrow_mut().pauses.asked) {
            self.receive_on();
        }
    }

    /// Goes on receiving after a pause, first what is held, unless there is another reason to pause.
    pub(super) fn receive_on(self: &Rc<Self>) {
        let state = self.state.borrow();
        if state.is_paused() || state.phase != Phase::Open {
            return;
        }
        let held = state.holds_bytes() || state.holds_end();
        drop(state);
        if held {
            let stream = Rc::clone(self);
            self.reactor.soon(move |_| stream.release_held());
        } else {
            self.receive_more();
        }
    }

    /// Delivers the first of what arrived while the stream was paused, and has the loop come back for
    /// the others, until it is paused again: what one delivery sets off happens before the next.
    pub(super) fn release_held(self: &Rc<Self>) {
        let mut state = self.state.borrow_mut();
        if state.is_paused() || state.phase != Phase::Open || state.leaving {
            return;
        }
        if let Some(buffer) = state.held().buffers.pop_front() {
            drop(state);
            self.deliver(buffer);
            let stream = Rc::clone(self);
            self.reactor.soon(move |_| stream.release_held());
            return;
        }
        let ended = std::mem::take(&mut state.held().end);
        drop(state);
        if ended {
            self.end_of_file();
        } else {
            self.receive_more();
        }
    }

    /// Has the port tell of a reset, as long as no receive does. Once asked for, it stays under way: many
    /// pauses cost no more than one.
    pub(super) fn await_hang_up(&self) {
        let mut state = self.state.borrow_mut();
        let told = state.receiving.is_some() || state.hang_up != HangUp::Unasked;
        if state.phase != Phase::Open || state.leaving || told {
            return;
        }
        if self.kind == StreamKind::PipeReader {
            return;
        }
        let submitted =
            self.reactor
                .port_mut()
                .submit(self.handle, Request::HangUp, self.token.get());
        match submitted {
            Ok(_) => state.hang_up = HangUp::Awaited,
            // Not every port has it: then the next receive or send tells.
            Err(error) => log::debug!("a hang-up will be noticed late: {error}"),
        }
    }

    /// Nothing more can be said either way, but something may be left to be received.
    pub(super) fn hung_up(self: &Rc<Self>) {
        let mut state = self.state.borrow_mut();
        state.hang_up = HangUp::Seen;
        if state.phase != Phase::Open {
            drop(state);
            self.receive_more();
            return;
        }
        if self.kind == StreamKind::PipeWriter {
            let queued = state.queued();
            drop(state);
            // Otherwise the send under way fails, and says what was lost.
            if queued == 0 {
                self.close(Ending::InOrder, Reason::Done);
            }
            return;
        }
        let (read_ended, held_end) = (state.read_ended, state.holds_end() && !state.holds_bytes());
        drop(state);
        if read_ended {
            self.close(Ending::InOrder, Reason::Done);
        } else if held_end {
            self.state.borrow_mut().held().end = false;
            self.end_of_file();
        } else {
            self.receive_more();
        }
    }
}
