//! Pauses a stream's receiving, and notices the connection's end during the pause.

use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;

use super::producer::{IntoProducer, Producer};
use super::state::Event;
use super::transport::Transport;
use super::{Flow, Stream};
use crate::port::{Buffer, PassedDescriptors, Request};

/// Data that arrived during a pause, to be delivered first when the stream is resumed.
#[derive(Default)]
pub(super) struct Held {
    /// With the descriptors that came with each.
    buffers: VecDeque<(Buffer, Option<Box<PassedDescriptors>>)>,
}

/// A pause of a transport, which ends when this is dropped: see [`Transport::pause`].
#[must_use = "the pause ends when this is dropped"]
pub struct Pause {
    stream: Rc<Stream>,
}

impl Transport {
    /// Stops receiving until the returned value is dropped. Unlike
    /// [`pause_producing`](Transport::pause_producing), this pause belongs to its caller: the transport receives once
    /// nobody pauses it any more. Otherwise as `pause_producing`.
    ///
    /// ```
    /// # use std::time::Duration;
    /// use tidewaiter::Transport;
    ///
    /// /// Reads nothing for a second, whatever else pauses or resumes the transport.
    /// fn throttle(transport: &Transport) {
    ///     let pause = transport.pause();
    ///     transport.reactor().call_later(Duration::from_secs(1), move |_| drop(pause));
    /// }
    /// ```
    pub fn pause(&self) -> Pause {
        let stream = Rc::clone(self.stream());
        stream.pauses.set(stream.pauses.get() + 1);
        stream.happened(Event::Pause);
        Pause { stream }
    }
}

impl Drop for Pause {
    fn drop(&mut self) {
        self.stream.pauses.set(self.stream.pauses.get() - 1);
        self.stream.resume_if_unpaused();
    }
}

impl fmt::Debug for Pause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pause({})", self.stream.link)
    }
}

impl IntoProducer for Transport {
    type Producer = SourcePauser;

    fn into_producer(self) -> SourcePauser {
        SourcePauser {
            source: self,
            pause: None,
        }
    }
}

/// A transport as the producer of another one, to which its protocol forwards what it receives. The transport receives
/// nothing while the other one is congested: in a [pause](Transport::pause) of its own, which ends with the registration
/// at the latest.
///
/// When the destination is closed, the source receives again, so that it can still notice its own end. Its protocol
/// keeps getting data, which it can no longer forward, and decides whether to close the source.
///
/// ```
/// use tidewaiter::{IntoProducer, ProducerKind, SourcePauser, Transport};
///
/// /// As `to.register_producer(from.clone(), …)` does it.
/// fn join(from: &Transport, to: &Transport) {
///     let pauser: SourcePauser = from.clone().into_producer();
///     to.register_producer(pauser, ProducerKind::Push);
/// }
/// ```
#[derive(Debug)]
pub struct SourcePauser {
    source: Transport,
    pause: Option<Pause>,
}

impl Producer for SourcePauser {
    fn pause_producing(&mut self) {
        if self.pause.is_none() {
            self.pause = Some(self.source.pause());
        }
    }

    fn resume_producing(&mut self) {
        drop(self.pause.take());
    }

    fn stop_producing(&mut self) {
        self.resume_producing();
    }
}

impl Flow {
    pub(super) fn hold(&mut self, buffer: Buffer, passed: Option<Box<PassedDescriptors>>) {
        let held = self.held.get_or_insert_default();
        held.buffers.push_back((buffer, passed));
    }
}

impl Stream {
    /// Begins or ends the pause of the application, which has one at most.
    pub(super) fn pause_for_application(self: &Rc<Self>, paused: bool) {
        self.application_paused.set(paused);
        if paused {
            self.happened(Event::Pause);
        } else {
            self.resume_if_unpaused();
        }
    }

    /// Receives again, if nobody pauses the stream any more.
    fn resume_if_unpaused(self: &Rc<Self>) {
        if self.pauses.get() == 0 && !self.application_paused.get() {
            self.happened(Event::Resume);
        }
    }

    /// Receives on after a pause.
    pub(super) fn receive_on(self: &Rc<Self>) {
        if self.timed.get() {
            self.restart_read_limit();
        }
        self.receive_more();
    }

    /// Has the loop deliver what is held.
    pub(super) fn release_soon(self: &Rc<Self>) {
        if self.timed.get() {
            self.restart_read_limit();
        }
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
