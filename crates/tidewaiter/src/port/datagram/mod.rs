//! Datagrams, as plain data: how a socket for them is opened, what arrives and what is sent.

mod batch;
mod calls;
mod error;
mod multicast;
mod options;
mod received;

pub use batch::DatagramBatch;
pub(super) use batch::Run;
pub use error::DatagramError;
pub(super) use multicast::MulticastCalls;
pub use multicast::{Multicast, MulticastSettings, NetworkInterface};
pub use options::DatagramOptions;
pub use received::{Datagram, Datagrams, Ecn, OwnedDatagram, OwnedDatagrams, PacketInfo};
pub(super) use received::{Message, SpareBatches};
