//! Connections and listeners for [tasks](crate::Reactor::spawn): what callbacks do with a [`Protocol`](crate::Protocol),
//! futures do with a [`Stream`]. The [guide](crate::guide::tasks) begins with a server.

mod child;
mod copy;
mod datagram;
mod file;
mod halves;
mod kinds;
mod listener;
mod lookup;
mod received;
mod serve;
mod shared;
mod signals;
mod standard;
mod stream;
mod traits;
mod waiting;

pub use child::Child;
pub use copy::{CopyBidirectional, CopyError, Duplex, copy_bidirectional};
pub use datagram::DatagramSocket;
pub use file::File;
pub use halves::{ReadHalf, WriteHalf};
pub use kinds::{
    NamedPipeListener, NamedPipeStream, OfKind, TcpListener, TcpStream, UdpSocket, UnixDatagram,
    UnixListener, UnixStream,
};
pub use listener::Listener;
pub use lookup::lookup_host;
pub use received::Chunk;
pub use signals::{Signals, ctrl_c};
pub use standard::{stdin, stdio};
pub use stream::Stream;
