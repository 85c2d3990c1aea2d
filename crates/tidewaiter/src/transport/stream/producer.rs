//! Backpressure: a transport tells its producer when to pause and when to write on.

/// When a producer writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProducerKind {
    /// It writes by itself until it is paused. The transport pauses it when more bytes are queued than the high
    /// [water mark](super::Transport::set_water_marks), and resumes it when no more than the low one are left.
    Push,
    /// It writes once each time it is resumed. The transport resumes it whenever nothing is queued, first after
    /// it is registered, and never pauses it.
    ///
    /// On Linux, while it writes 16 KiB or more each time, the last partial TCP segment is held back so that the next
    /// write can fill it (`TCP_CORK`). When it writes less or nothing, the segment is sent.
    Pull,
}

/// Something that writes to a transport, and that the transport can pause: see
/// [`Transport::register_producer`](super::Transport::register_producer).
///
/// The loop makes these calls, never a call to the transport. A panic in one loses the connection.
///
/// ```
/// use tidewaiter::{Producer, ProducerKind, Transport};
///
/// /// Writes a million bytes, as fast as they are taken.
/// struct Million {
///     to: Transport,
///     left: usize,
/// }
///
/// impl Producer for Million {
///     fn pause_producing(&mut self) {} // a pull producer is not paused
///
///     fn resume_producing(&mut self) {
///         let bytes = self.left.min(16 * 1024);
///         self.to.write(&vec![b'x'; bytes]);
///         self.left -= bytes;
///         if self.left == 0 {
///             self.to.unregister_producer();
///             self.to.lose_connection();
///         }
///     }
/// }
///
/// fn send_all(transport: &Transport) {
///     let all = Million { to: transport.clone(), left: 1_000_000 };
///     transport.register_producer(all, ProducerKind::Pull);
/// }
/// ```
pub trait Producer {
    /// Asks the producer to write no more for now. Called on [push producers](ProducerKind::Push) only.
    fn pause_producing(&mut self);

    /// Asks a paused producer to go on writing, and a [pull producer](ProducerKind::Pull) to write once.
    fn resume_producing(&mut self);

    /// Tells the producer to stop writing for good: the transport is closed, or accepts no more data. This is the
    /// last call. The default does nothing.
    fn stop_producing(&mut self) {}
}

/// The argument of [`Transport::register_producer`](super::Transport::register_producer) takes: a [`Producer`], or a
/// [`Transport`](super::Transport) whose protocol forwards what it receives.
///
/// ```
/// use tidewaiter::{ProducerKind, Transport};
///
/// /// Reads from one connection no faster than the other one sends: a transport becomes a producer, too.
/// fn join(from: &Transport, to: &Transport) {
///     to.register_producer(from.clone(), ProducerKind::Push);
/// }
/// ```
pub trait IntoProducer {
    /// The producer that is registered.
    type Producer: Producer + 'static;

    /// Makes the producer.
    fn into_producer(self) -> Self::Producer;
}

impl<P: Producer + 'static> IntoProducer for P {
    type Producer = P;

    fn into_producer(self) -> P {
        self
    }
}
