//! Connections and listeners for [tasks](crate::Reactor::spawn): what callbacks do with a [`Protocol`](crate::Protocol),
//! futures do with a [`Stream`]. The [guide](crate::guide::tasks) begins with a server.

mod halves;
mod listener;
mod received;
mod serve;
mod shared;
mod stream;
mod traits;

pub use halves::{ReadHalf, WriteHalf};
pub use listener::Listener;
pub use stream::Stream;
