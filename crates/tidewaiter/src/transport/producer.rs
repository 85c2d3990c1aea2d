//! Backpressure: who fills a transport is told when to pause.

use super::Transport;

/// How a producer produces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProducerKind {
    /// It writes by itself until paused: paused when more than the high water mark is queued, resumed
    /// when no more than the low one is left.
    Push,
    /// It writes once each time it is resumed: resumed whenever nothing is queued.
    ///
    /// On Linux, while it answers with 16 KiB or more each time, what does not fill a segment of TCP waits
    /// for the next answer (`TCP_CORK`); when it does not, it is sent.
    Pull,
}

/// Something that writes to a transport, and can be told to pause.
///
/// The loop calls these, never a call to the transport.
pub trait Producer {
    /// Write no more for now. Called on push producers only.
    fn pause_producing(&mut self);

    /// Write on.
    fn resume_producing(&mut self);

    /// Write no more at all: the transport is gone, or takes nothing more.
    fn stop_producing(&mut self) {}
}

/// A transport that fills another one: it stops reading while the other has too much to send. When the other is
/// gone, it reads on, so that its own other direction and its end are not held up: what it still brings goes to its
/// protocol, as ever, and from there into a transport that takes nothing. To close it is the protocol's to decide.
impl Producer for Transport {
    fn pause_producing(&mut self) {
        Transport::pause_producing(self);
    }

    fn resume_producing(&mut self) {
        Transport::resume_producing(self);
    }

    fn stop_producing(&mut self) {
        self.resume_producing();
    }
}
