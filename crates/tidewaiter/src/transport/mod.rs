//! Connections, listeners and children: one state machine each, over the reactor and its port.

mod adopter;
mod connect;
mod group;
mod listener;
mod process;
mod producer;
mod protocol;
mod stream;
#[expect(clippy::module_inception, reason = "it is the transports' common face")]
mod transport;

pub use adopter::Adopter;
pub use connect::{ConnectOptions, Connector};
pub use group::{GroupListener, ReactorGroup};
pub use listener::Listener;
pub use process::{ChildFd, Process, ProcessProtocol};
pub use producer::{Producer, ProducerKind};
pub use protocol::{Factory, Protocol};
pub use transport::Transport;
