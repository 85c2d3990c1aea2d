//! A reactor on completion ports: sockets and child processes through one loop, on Windows and Unix.
//!
//! A [`Reactor`] waits at a completion [`port`]: I/O completion ports on Windows, io_uring on Linux
//! (epoll where the kernel refuses that), kqueue on other Unixes, or a deterministic
//! [simulation](port::sim) for tests. Completions become calls on a [`Protocol`] or a
//! [`ProcessProtocol`].
//!
//! ```
//! use tidewaiter::{ConnectOptions, Protocol, Reactor, Transport};
//!
//! struct Echo;
//!
//! impl Protocol for Echo {
//!     fn connection_made(&mut self, transport: &Transport) {
//!         transport.pause_while_congested(); // reads no faster than the peer reads
//!     }
//!
//!     fn data_received(&mut self, transport: &Transport, data: &[u8]) {
//!         transport.write(data);
//!     }
//! }
//!
//! let reactor = Reactor::new()?;
//! let listener = reactor.listen_tcp("127.0.0.1:0", |_peer| Echo)?;
//! println!("listening on {}", listener.local_addr());
//! # reactor.call_later(std::time::Duration::ZERO, Reactor::stop);
//! reactor.run()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! To begin with, read [`Reactor`], [`Protocol`] and [`Transport`]; for child processes, [`Reactor::run_command`],
//! [`process`] and [`ProcessProtocol`]; for names and addresses, [`endpoint`]. The [`port`] can also be used without a
//! reactor.

#![deny(unsafe_code)]

mod broadcast;
pub mod endpoint;
mod error;
pub mod frames;
pub mod guide;
pub mod io;
mod os;
mod panics;
pub mod port;
pub mod process;
mod reactor;
mod simulate;
mod spans;
mod transport;

pub use broadcast::{Broadcast, BroadcastCounters, Member, SlowMembers};
/// The crate of `Bytes`, which are written without a copy.
pub use bytes;
pub use error::{ConnectError, Error, FileError, Reason, SendFileError};
pub use os::{Address, AddressError, FileKind, FileMetadata, FileOptions, PipeName, UnixAddress};
pub use reactor::{
    AbortHandle, DelayedCall, DirectoryWatch, Elapsed, Hold, Interval, JoinError, JoinHandle,
    JoinSet, Living, Metrics, MissedTicks, Phase, Reactor, ReactorBuilder, Remote, RemoteTask,
    RepeatedCall, RunEnd, Sleep, SlowCallback, SystemEvent, Timeout, TriggerId, TurnTimes, Watch,
    WorkLost, YieldNow, yield_now,
};
pub use simulate::simulate;
pub use transport::{
    Adopter, ChildFd, CommandError, CommandFailure, CommandOptions, CommandOutput, CommandPool,
    CommandRun, ConnectOptions, ConnectionTimeout, Connector, DatagramProtocol, DatagramTransport,
    Factory, File, FileOperation, FileTransfer, GroupListener, IntoProducer, IntoProtocol,
    Listener, Pause, Process, ProcessProtocol, Producer, ProducerKind, Protocol, ReactorGroup,
    RemoteProcess, RemoteTransport, ResizeWatch, SerialPort, SourcePauser, Transport, TransportId,
};

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
#[derive(Debug)]
pub struct Readme;
