//! Connections, listeners and children: one state machine each, over the reactor and its port.

mod adopter;
mod child;
mod connect;
mod group;
mod listener;
mod stream;

pub use adopter::Adopter;
pub use child::{ChildFd, Process, ProcessProtocol};
pub use connect::{ConnectOptions, Connector};
pub use group::{GroupListener, ReactorGroup};
pub use listener::Listener;
pub use stream::{Factory, Producer, ProducerKind, Protocol, Transport};

use crate::port::{CloseMode, Handle, Token};
use crate::reactor::Reactor;

/// Closes a handle that belongs to no object on the reactor. The completion goes to no one.
fn close_unawaited(reactor: &Reactor, handle: Handle) {
    let mode = CloseMode::Graceful;
    let closing = reactor.port_mut().close(handle, mode, Token::default());
    debug_assert!(
        closing.is_ok() || reactor.is_copied(),
        "nobody else closes it"
    );
}
