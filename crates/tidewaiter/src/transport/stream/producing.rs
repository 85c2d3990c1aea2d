//! Tells a stream's producer when to write.

use std::cell::RefCell;
use std::rc::Rc;

use super::Stream;
use super::producer::{Producer, ProducerKind};
use super::state::Event;
use crate::reactor::Live;

type SharedProducer = Rc<RefCell<dyn Producer>>;

/// While a pull producer writes at least this many bytes at a time, the OS holds back the last partial segment.
const LARGE_PIECE: usize = 16 * 1024;

/// A stream's registered producer.
pub(super) struct Registered {
    producer: SharedProducer,
    kind: ProducerKind,
    /// Whether a push producer was last told to pause.
    paused: bool,
}

impl Registered {
    pub(super) fn is_pull(&self) -> bool {
        self.kind == ProducerKind::Pull
    }

    /// Tells the producer to stop writing for good. To be called from the loop, inside a guard.
    pub(super) fn stop(&self) {
        self.producer.borrow_mut().stop_producing();
    }
}

impl Stream {
    pub(super) fn register_producer(self: &Rc<Self>, producer: SharedProducer, kind: ProducerKind) {
        let registered = Registered {
            producer,
            kind,
            paused: false,
        };
        let mut flow = self.flow.borrow_mut();
        if !flow.state.is_open() || !flow.takes_data() {
            drop(flow);
            self.stop_producer(registered);
            return;
        }
        let replaced = flow.producer.replace(registered);
        let tell = flow.state.is_congested() || (kind == ProducerKind::Pull && flow.is_drained());
        drop(flow);
        // The producer's drop may call the transport, so nothing may be borrowed here.
        drop(replaced);
        if tell {
            let stream = Rc::clone(self);
            self.reactor.soon(move |_| stream.tell_producer());
        }
    }

    pub(super) fn set_water_marks(self: &Rc<Self>, low: usize, high: usize) {
        let mut flow = self.flow.borrow_mut();
        flow.low_water = low.min(high);
        flow.high_water = high;
        let congested = flow.queued() > high;
        drop(flow);
        if congested {
            self.congest();
        }
    }

    /// Makes the stream congested until a send has emptied the queue to the low water mark. Something must be queued.
    pub(super) fn congest(self: &Rc<Self>) {
        let mut flow = self.flow.borrow_mut();
        if flow.state.is_congested() || !flow.state.is_open() {
            return;
        }
        flow.state.on(&self.link, Event::Congested);
        drop(flow);
        self.reactor.notify_soon(Rc::clone(self) as Rc<dyn Live>);
    }

    /// Schedules a call that tells the producer to stop writing for good.
    pub(super) fn stop_producer(&self, producer: Registered) {
        self.reactor.soon(move |reactor| {
            reactor.guard("a producer", move || producer.stop());
        });
    }

    /// Tells the producer to stop, and closes the stream once the queue is sent.
    pub(super) fn lose_without_producer(self: &Rc<Self>) {
        let producer = self.flow.borrow_mut().producer.take();
        if let Some(producer) = producer {
            self.stop_producer(producer);
        }
        self.happened(Event::Lose);
        // An earlier call may have waited only for the producer, and then nothing happened above.
        self.finish_if_drained();
    }

    pub(super) fn unregister_producer(self: &Rc<Self>) {
        let producer = self.flow.borrow_mut().producer.take();
        if producer.is_some() {
            self.finish_if_drained();
        }
    }

    /// Tells the protocol whether to write on, and the producer. To be called from the loop.
    pub(super) fn tell_congestion(self: &Rc<Self>) {
        let (open, congested) = {
            let flow = self.flow.borrow();
            (flow.state.is_open(), flow.state.is_congested())
        };
        if open && congested != self.write_paused.replace(congested) {
            self.enter(|protocol, transport| match congested {
                true => protocol.write_paused(transport),
                false => protocol.write_resumed(transport),
            });
        }
        self.wake_waiting();
        self.tell_producer();
    }

    /// Pauses or resumes the producer as the queue now requires. To be called from the loop.
    pub(super) fn tell_producer(self: &Rc<Self>) {
        let mut flow = self.flow.borrow_mut();
        let (open, congested) = (flow.state.is_open(), flow.state.is_congested());
        let drained = flow.is_drained();
        let Some(registered) = &mut flow.producer else {
            return;
        };
        let pause = registered.kind == ProducerKind::Push && congested;
        let due = match registered.kind {
            // Skip the call if the producer is in the right state already.
            ProducerKind::Push => pause != registered.paused,
            // A pull producer is never paused. It is asked for more only when the queue is empty.
            ProducerKind::Pull => drained,
        };
        if !open || !due {
            return;
        }
        registered.paused = pause;
        let producer = Rc::clone(&registered.producer);
        drop(flow);
        let told = self.reactor.guard("a producer", || {
            let mut producer = producer.borrow_mut();
            if pause {
                producer.pause_producing();
            } else {
                producer.resume_producing();
            }
        });
        if Rc::strong_count(&producer) == 1 {
            // The call unregistered the producer, so this is its last reference: guard the drop.
            self.reactor
                .drop_guarded("the drop of a producer", producer);
        } else {
            drop(producer);
        }
        if told.is_none() {
            // Do not call a producer again after it panicked.
            let faulty = self.flow.borrow_mut().producer.take();
            self.reactor.drop_guarded("the drop of a producer", faulty);
            self.panicked();
        }
    }

    /// Asks a pull producer for more, and again while it writes large pieces and the OS takes them at once. What is left in the
    /// queue then is sent by an operation, whose completion asks the next time. To be called when the queue is sent.
    pub(super) fn ask_producer(self: &Rc<Self>) {
        // A turn for each piece would let a quick reader fall asleep in between, and waking it costs as much as many calls.
        loop {
            self.tell_producer();
            if !self.press_piece() {
                return;
            }
        }
    }

    /// Offers a large piece of a pull producer to the OS, if the turn may last that long. Returns whether all of it was taken.
    fn press_piece(self: &Rc<Self>) -> bool {
        if !self.reactor.sends_pressing() {
            return false;
        }
        // Before the first piece leaves, so that the next one fills its last segment.
        self.hold_ends_of_pieces();
        let flow = self.flow.borrow();
        let piece = flow.queue.len();
        let pull = flow.producer.as_ref().is_some_and(Registered::is_pull);
        let may = pull && piece >= LARGE_PIECE && self.is_free_to_send(&flow);
        drop(flow);
        if !may || !self.reactor.may_press(piece) {
            return false;
        }
        self.offer_pieces().unwrap_or_else(|failure| {
            self.send_failed(failure);
            false
        })
    }

    /// While a pull producer writes one large piece after another, holds back the last partial segment of each piece,
    /// so that the next piece fills it: a partial segment costs both sides as much as a full one. To be called when
    /// the queue is sent and the producer, if there is one, has been asked for more.
    #[inline(always)]
    pub(super) fn hold_ends_of_pieces(&self) {
        let flow = self.flow.borrow();
        let pull = flow.producer.as_ref().is_some_and(Registered::is_pull);
        let hold = pull && flow.queue.len() >= LARGE_PIECE;
        if !flow.state.is_open() || !self.link.holds_ends || hold == self.ends_held.replace(hold) {
            return;
        }
        if let Err(error) = self.reactor.port_mut().hold_ends(self.handle, hold) {
            log::debug!("cannot hold back partial segments: {error}");
        }
    }
}
