//! A protocol's state, as timers and other connections reach it.

use std::any::Any;

use super::protocol::Protocol;
use super::transport::Transport;

impl Transport {
    /// Calls `visit` with the protocol of this connection, at once, and returns its result: so that timers and other
    /// connections reach a protocol's state. `None` if the protocol is of another type, is being called right now, or was
    /// dropped since the connection was lost. During the visit, the loop makes no turn.
    ///
    /// ```
    /// use tidewaiter::{Protocol, Reactor, Transport};
    ///
    /// #[derive(Default)]
    /// struct Counter {
    ///     received: usize,
    /// }
    ///
    /// impl Protocol for Counter {
    ///     fn connection_made(&mut self, transport: &Transport) {
    ///         let counted = transport.clone();
    ///         transport.reactor().call_later(std::time::Duration::from_millis(1), move |reactor| {
    ///             let received = counted.with_protocol(|counter: &mut Counter| counter.received);
    ///             assert_eq!(received, Some(0));
    ///             reactor.stop();
    ///         });
    ///     }
    ///     fn data_received(&mut self, _: &Transport, data: &[u8]) {
    ///         self.received += data.len();
    ///     }
    /// }
    ///
    /// let reactor = Reactor::new()?;
    /// let listener = reactor.listen_tcp("127.0.0.1:0", |_peer| Counter::default())?;
    /// # let _client = std::net::TcpStream::connect(listener.local_addr())?;
    /// reactor.run()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn with_protocol<P: Protocol, R>(&self, visit: impl FnOnce(&mut P) -> R) -> Option<R> {
        let mut protocol = self.stream().protocol.try_borrow_mut().ok()?;
        let protocol = downcast(&mut **protocol)?;
        Some(self.stream().reactor.without_turns(|| visit(protocol)))
    }
}

/// Finds the protocol of this type: the given one, or the one in its boxes.
pub(super) fn downcast<P: Protocol>(protocol: &mut dyn Protocol) -> Option<&mut P> {
    let any: &mut dyn Any = protocol;
    if any.is::<P>() {
        return any.downcast_mut();
    }
    let boxed: &mut Box<dyn Protocol> = any.downcast_mut()?;
    downcast(&mut **boxed)
}
