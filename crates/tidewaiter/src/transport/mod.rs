//! Connections, listeners and children: one state machine each, over the reactor and its port.

mod connect;
mod listener;
mod process;
mod producer;
mod protocol;
mod stream;
mod tcp;

pub use connect::{ConnectOptions, Connector};
pub use listener::{ListenTarget, Listener};
pub use process::{ChildFd, Process, ProcessProtocol};
pub use producer::{Producer, ProducerKind};
pub use protocol::{Factory, Protocol};
pub use stream::Transport;
