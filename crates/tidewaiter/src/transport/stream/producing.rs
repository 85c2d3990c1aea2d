//! The half of a stream that tells its producer when to write.

use std::cell::RefCell;
use std::rc::Rc;

use super::super::producer::{Producer, ProducerKind};
use super::{Phase, Stream, StreamKind};

type Shared = Rc<RefCell<dyn Producer>>;

/// Of a pull producer that writes so much at a time, the ends of the pieces are held back.
const LARGE_PIECE: usize = 16 * 1024;

/// Who fills a stream.
pub(super) struct Registered {
    producer: Shared,
    kind: ProducerKind,
    /// Whether a push producer was last told to pause.
    paused: bool,
}

impl Registered {
    pub(super) fn is_pull(&self) -> bool {
        self.kind == ProducerKind::Pull
    }

    /// Says that nothing can be written any more. From the loop, guarded.
    pub(super) fn stop(&self) {
        self.producer.borrow_mut().stop_producing();
    }
}

impl Stream {
    pub(in crate::transport) fn register_producer(
        self: &Rc<Self>,
        producer: Shared,
        kind: ProducerKind,
    ) {
        let registered = Registered {
            producer,
            kind,
            paused: false,
        };
        let mut state = self.state.borrow_mut();
        if state.phase != Phase::Open || !state.takes_more() {
            drop(state);
            self.stop_producer(registered);
            return;
        }
        let replaced = state.producer.replace(registered);
        let tell = state.congested || (kind == ProducerKind::Pull && state.queued() == 0);
        drop(state);
        // Dropped outside of the borrow: it may call the transport.
        drop(replaced);
        if tell {
            let stream = Rc::clone(self);
            self.reactor.soon(move |_| stream.tell_producer());
        }
    }

    /// Has the loop tell a producer that nothing can be written any more.
    pub(super) fn stop_producer(&self, producer: Registered) {
        self.reactor.soon(move |reactor| {
            reactor.guard("a producer", move || producer.stop());
        });
    }

    /// Closes once everything queued is sent; a producer is told to stop.
    pub(in crate::transport) fn finish(self: &Rc<Self>) {
        let producer = self.state.borrow_mut().producer.take();
        if let Some(producer) = producer {
            self.stop_producer(producer);
        }
        self.lose();
        // It may have been leaving already, and have waited for the producer alone.
        self.finish_if_drained();
    }

    pub(in crate::transport) fn unregister_producer(self: &Rc<Self>) {
        let producer = self.state.borrow_mut().producer.take();
        if producer.is_some() {
            self.finish_if_drained();
        }
    }

    /// Has the producer do what the queue asks for now. From the loop.
    pub(super) fn tell_producer(self: &Rc<Self>) {
        let mut state = self.state.borrow_mut();
        let (phase, congested, queued) = (state.phase, state.congested, state.queued());
        let Some(registered) = &mut state.producer else {
            return;
        };
        let pause = registered.kind == ProducerKind::Push && congested;
        let due = match registered.kind {
            // It may have been told already, or the queue have changed twice meanwhile.
            ProducerKind::Push => pause != registered.paused,
            // A pull producer is never paused, only not asked again.
            ProducerKind::Pull => queued == 0,
        };
        if phase != Phase::Open || !due {
            return;
        }
        registered.paused = pause;
        let producer = Rc::clone(&registered.producer);
        drop(state);
        let told = self.reactor.guard("a producer", || {
            let mut producer = producer.borrow_mut();
            if pause {
                producer.pause_producing();
            } else {
                producer.resume_producing();
            }
        });
        // If it was unregistered meanwhile, this ends it.
        self.reactor
            .drop_guarded("the drop of a producer", producer);
        if told.is_none() {
            // It is not called again.
            let faulty = self.state.borrow_mut().producer.take();
            self.reactor.drop_guarded("the drop of a producer", faulty);
            self.panicked();
        }
    }

    /// As long as a pull producer answers with one large piece after the other, what does not fill a segment
    /// leaves with the next piece: alone it would cost both sides as much as a full one. To be called when
    /// everything is sent and the producer, if there is one, has answered.
    pub(super) fn hold_ends_of_pieces(&self) {
        let state = self.state.borrow();
        let pull = state.producer.as_ref().is_some_and(Registered::is_pull);
        let hold = pull && state.queue.len() >= LARGE_PIECE;
        let tcp = matches!(self.kind, StreamKind::Tcp(_));
        if state.phase != Phase::Open || !tcp || hold == self.ends_held.replace(hold) {
            return;
        }
        if let Err(error) = self.reactor.port_mut().hold_ends(self.handle, hold) {
            log::debug!("the ends of pieces are sent as they come: {error}");
        }
    }
}
