//! A portable completion port: submit operations, wait, get completions.
//!
//! Only a [`Port`] talks to the OS. It uses I/O completion ports on Windows, io_uring on Linux, readiness
//! (epoll, kqueue) where there is neither, and a deterministic [simulation](sim) for tests. All of them
//! keep the same promises:
//!
//! 1. An operation owns all memory that the OS may access, until its last completion. Cancelling it, closing
//!    the handle or dropping the port never frees that memory earlier.
//! 2. Every submitted operation completes exactly once. A multishot operation completes any number of
//!    times with [`more`](Completion::more), then once without. Both hold for an operation that is
//!    cancelled or whose handle is closed. An operation is under way until its last completion has been
//!    delivered, even after a cancel: until then, its handle takes no second receive (or send). Dropping
//!    the port cancels the operations that are left and waits for them, for up to 10 s, without
//!    delivering them; memory that the OS does not give back in time is leaked.
//! 3. Submitting never calls back. An operation that finishes at once is still delivered by
//!    [`Port::wait`].
//! 4. A [`Handle`] or [`Operation`] is never valid twice. The port counts and drops completions that the
//!    OS delivers for an operation that is gone ([`Port::stale`]).
//! 5. [`Port::wait`] rounds its timeout up and never spins. It ends early for a [`Waker`] and, with
//!    io_uring and epoll, for a signal whose handler ran during it. Each wake-up ends one wait, maybe one
//!    that was about to end anyway: after every wait, check for results that a wake-up may have announced.
//! 6. Closing a handle cancels its operations, delivers all their completions, closes the OS's handle, and
//!    then delivers [`Outcome::Closed`].
//! 7. An idle connection holds no receive buffer. On Windows, a bounded number of idle connections may, and a serial
//!    port that receives does.
//! 8. OS errors keep their identity: a reset is not an end of file.
//!
//! A port belongs to the first thread that waits: other threads may make it, submit to it, close its
//! handles and drop it, one thread at a time, but only that thread waits. (A [`Port`] is not [`Send`]; this
//! is for code that shares one by its own `unsafe` means, under a lock.)
//!
//! A port also belongs to one process. In a copy of the process that `fork` made, its calls fail with
//! [`ResourceBusy`](io::ErrorKind::ResourceBusy) and do the original no harm, unless
//! [`Port::before_fork`] and [`Port::after_fork`] take the port there. (Linux before 4.14 cannot tell a copy
//! from the original.)
//!
//! # Example
//!
//! A greeting over a TCP connection. Tokens tell which completion answers which request.
//!
//! ```
//! use std::error::Error;
//!
//! use tidewaiter::port::sim::Sim;
//! use tidewaiter::port::{Chunks, ListenOptions, Outcome, Port, PortOptions, Request, Token};
//!
//! const ACCEPT: Token = Token(1);
//! const CONNECT: Token = Token(2);
//! const SEND: Token = Token(3);
//! const RECEIVE: Token = Token(4);
//!
//! /// Greets a client, and returns the bytes that the client receives.
//! fn greet(port: &mut Port) -> Result<Vec<u8>, Box<dyn Error>> {
//!     let listener = port.listen(&ListenOptions::new(([127, 0, 0, 1], 0)))?;
//!     let address = port.local_addr(listener)?;
//!     port.submit(listener, Request::AcceptOne, ACCEPT)?;
//!     let client = port.open_stream(&address, None)?;
//!     port.submit(client, Request::connect(address), CONNECT)?;
//!
//!     let mut completions = Vec::new();
//!     loop {
//!         port.wait(None, &mut completions)?;
//!         for completion in completions.drain(..) {
//!             match (completion.token, completion.result?) {
//!                 (ACCEPT, Outcome::Accepted { socket, .. }) => {
//!                     let server = port.adopt(socket)?;
//!                     let greeting = Chunks::from(&b"welcome"[..]);
//!                     port.submit(server, Request::Send(greeting), SEND)?;
//!                 }
//!                 (CONNECT, Outcome::Connected) => {
//!                     port.submit(client, Request::Receive, RECEIVE)?;
//!                 }
//!                 (RECEIVE, Outcome::Received(bytes)) => return Ok(bytes.to_vec()),
//!                 _ => {} // The greeting is sent.
//!             }
//!         }
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn Error>> {
//! let mut real = Port::open(&PortOptions::default())?;
//! assert_eq!(greet(&mut real)?, b"welcome");
//! let mut simulated = Sim::new(7).port();
//! assert_eq!(greet(&mut simulated)?, b"welcome");
//! # Ok(())
//! # }
//! ```

#![cfg_attr(
    not(any(target_os = "linux", windows)),
    allow(
        dead_code,
        reason = "these systems lack some of the calls that ports share"
    )
)]

mod activation;
mod admission;
mod calls;
mod completion;
mod control;
mod datagram;
mod directory;
mod driver;
#[cfg(target_os = "linux")]
mod event;
mod file;
mod file_calls;
#[cfg(unix)]
mod file_sending;
#[cfg(unix)]
mod foreign;
mod fork;
mod gate;
mod handle;
#[cfg(windows)]
mod iocp;
mod listening;
mod memory;
#[cfg(unix)]
mod messages;
#[cfg(test)]
mod named_calls;
mod named_pipe;
mod open;
mod options;
mod pipe_options;
#[cfg(unix)]
mod poll;
mod queries;
mod request;
mod serial;
#[cfg(windows)]
mod shared_socket;
mod signals;
pub mod sim;
mod socket;
#[cfg(unix)]
mod source;
pub(crate) mod standard;
#[cfg(unix)]
mod surge;
mod table;
mod unix_socket;
#[cfg(all(test, not(loom)))]
mod unkillable;
#[cfg(target_os = "linux")]
mod uring;
mod waker;
mod watch;

use std::fmt;
use std::io::{self, IoSlice};
use std::time::{Duration, Instant};

pub use activation::{Activated, activated, inherited};
pub use calls::PeerCredentials;
use calls::{Control, Offer, Open, SignalCall, Watched};
pub(crate) use calls::{PRESSED_BYTES_MAX, PRESSED_PIECES_MAX};
pub use completion::{
    Completion, Failure, Outcome, PassedDescriptors, ReceivedWithDescriptors, Spawned, SpawnedPipe,
};
pub use datagram::{
    Datagram, DatagramBatch, DatagramError, DatagramOptions, Datagrams, Ecn, Multicast,
    MulticastSettings, NetworkInterface, OwnedDatagram, OwnedDatagrams, PacketInfo,
};
pub use directory::{Change, DirectoryOptions};
use driver::{BATCH_MAX, Driver};
pub(crate) use file::FileCall;
pub use file::{FileOutcome, FilePart, FileRequest, FileToOpen};
use gate::{Call, Gate};
pub use handle::{CloseMode, Handle, Operation, Token};
pub use memory::{Buffer, Chunks};
pub(crate) use memory::{DESCRIPTORS_MAX, RareQueue};
use memory::{buffer, chunks};
pub use options::{
    ListenOptions, ParsePortKindError, PortInfo, PortKind, PortOptions, SocketFileOptions,
    SocketOption,
};
pub use pipe_options::{Impersonation, PipeConnectOptions, PipeListenOptions, PipeMode};
pub use request::{Request, RequestKind};
pub use serial::{
    FlowControl, ModemLines, Parity, SerialLine, SerialOptions, SerialQueue, StopBits,
};
#[cfg(windows)]
pub use shared_socket::SharedSocket;
pub use signals::ShutdownSignal;
pub(crate) use signals::SignalWatch;
pub use socket::{DatagramSocket, ListeningSocket, Resource, Socket};
pub(crate) use table::{Key, Table};
pub use waker::Waker;
pub use watch::{Interest, Readiness};

use crate::os::Address;
pub use crate::os::{OwnedDescriptor, RawDescriptor};
use crate::process::{
    Command, Signal, SignalTarget, Spawn, SpawnError, SpawnStep, StartedChild, Survey,
    TerminalSize, Unreached,
};

/// A completion port. See the [module](self) for its promises and an example.
pub struct Port {
    gate: Gate,
    /// What signals to trees need to know about all processes.
    survey: Survey,
}

impl Port {
    /// Starts `request` on `handle`. Its completions carry `token`.
    ///
    /// Nothing is delivered before the next [`wait`](Port::wait), even if the operation finishes, or
    /// fails, at once.
    ///
    /// # Errors
    ///
    /// Only for a request that could never be started; no completion follows then.
    /// [`NotFound`](io::ErrorKind::NotFound) when the handle is closed or being closed.
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) when this kind of handle does not take such a request,
    /// when the handle is receiving (sending, connecting, waiting for a hang-up) already, when it is
    /// connecting, or is asked to connect while another request is under way, or when there is nothing to
    /// send. A handle is receiving until the last completion of its receive has been delivered, even after a
    /// [`cancel`](Port::cancel). [`Unsupported`](io::ErrorKind::Unsupported) for [`Request::HangUp`] on
    /// a pipe of Windows, and for a [`Request::Connect`] to an address that this port does not connect to.
    /// [`ResourceBusy`](io::ErrorKind::ResourceBusy) in a copy that `fork` made.
    ///
    /// A failure to start the operation, such as an OS error, is its completion.
    pub fn submit(
        &mut self,
        handle: Handle,
        request: Request,
        token: Token,
    ) -> io::Result<Operation> {
        self.gate.pass(Call::Act)?.submit(handle, request, token)
    }

    /// Whether to offer gathered bytes to [`send_now`](Port::send_now) before submitting them.
    pub(crate) fn sends_gathered_now(&self) -> bool {
        self.gate.status().sends_gathered_now
    }

    /// Sends as much of `data` as the OS takes at once, without an operation or a copy, and returns the
    /// number of bytes. Returns 0 if the caller should submit the rest, in particular while a send is under
    /// way on `handle`.
    ///
    /// # Errors
    ///
    /// The failure that a submitted send would complete with.
    #[inline(always)]
    pub(crate) fn send_now(&mut self, handle: Handle, data: &[u8]) -> Result<usize, Failure> {
        match self.gate.pass(Call::TryNow) {
            Ok(driver) => driver.send_now(handle, Offer::Bytes(data)),
            Err(_) => Ok(0),
        }
    }

    /// Whether [`send_pressing`](Port::send_pressing) may send anything.
    pub(crate) fn sends_pressing(&self) -> bool {
        self.gate.status().sends_pressing
    }

    /// As [`send_now`](Port::send_now), also on a port where a request is cheaper, if it can send without one. There are
    /// at most [`PRESSED_PIECES_MAX`] pieces, of at most [`PRESSED_BYTES_MAX`] bytes together.
    pub(crate) fn send_pressing(
        &mut self,
        handle: Handle,
        pieces: &[IoSlice<'_>],
    ) -> Result<usize, Failure> {
        match self.gate.pass(Call::TryNow) {
            Ok(driver) => driver.send_now(handle, Offer::PressingBytes(pieces)),
            Err(_) => Ok(0),
        }
    }

    /// Asks for an operation to end early. It still completes, with [`Failure::Cancelled`] or with its
    /// result if it finished first. Its handle stays taken until then: submit the next receive once the
    /// last completion of the cancelled one was delivered.
    ///
    /// Returns whether the operation was still under way; always false in a copy that `fork` made.
    /// Cancelling again, or cancelling a [`close`](Port::close), changes nothing.
    pub fn cancel(&mut self, operation: Operation) -> bool {
        self.gate
            .pass(Call::Act)
            .is_ok_and(|driver| driver.cancel(operation))
    }

    /// Appends the completions that are ready to `completions`, at most 256 of them.
    ///
    /// If none is ready, waits for up to `timeout` (`None`: without limit; zero: not at all). Returns early,
    /// possibly with nothing, when a [`Waker`] was used. Several wake-ups may end only one wait, and it may
    /// be one that was about to return anyway: after every wait, check for the results that they announced.
    ///
    /// With io_uring and epoll, also returns early when a signal handler of the program ran on this thread
    /// during the wait, so that the caller can look at what the handler recorded. A signal that arrives just
    /// before the wait does not end it, and with kqueue and on Windows no signal does: a handler that must be
    /// heard uses a [`Waker`].
    ///
    /// # Errors
    ///
    /// When the OS refuses to wait; the port is unusable then. [`Deadlock`](io::ErrorKind::Deadlock) when a
    /// simulated port is to wait without limit for something that can never come.
    /// [`ResourceBusy`](io::ErrorKind::ResourceBusy) when the port belongs to another thread or process, or
    /// is between [`before_fork`](Port::before_fork) and [`after_fork`](Port::after_fork).
    pub fn wait(
        &mut self,
        timeout: Option<Duration>,
        completions: &mut Vec<Completion>,
    ) -> io::Result<()> {
        self.gate.pass(Call::Wait)?.wait(timeout, completions)
    }

    /// Like [`wait`](Port::wait) with a timeout of zero, for a caller that just polled the kernel and will
    /// poll again soon: the port may skip the system call, and then delivers only completions that it
    /// already has.
    pub(crate) fn glance(&mut self, completions: &mut Vec<Completion>) -> io::Result<()> {
        self.gate.pass(Call::Wait)?.glance(completions)
    }

    /// Closes `handle`. From this call on, the handle takes no request. Its operations are cancelled and
    /// complete, then the OS's handle is closed, and a completion with `token` says [`Outcome::Closed`].
    /// A handle without any operation is closed within this call, so that its number and its address are
    /// free when it returns.
    /// A close cannot fail otherwise, nor be cancelled.
    ///
    /// Closing the handle of a process neither ends the process nor waits for it.
    ///
    /// # Errors
    ///
    /// [`NotFound`](io::ErrorKind::NotFound) when the handle is closed or being closed already;
    /// [`ResourceBusy`](io::ErrorKind::ResourceBusy) in a copy that `fork` made.
    pub fn close(
        &mut self,
        handle: Handle,
        mode: CloseMode,
        token: Token,
    ) -> io::Result<Operation> {
        self.gate.pass(Call::Act)?.close(handle, mode, token)
    }

    /// A waker, which ends this port's waits from other threads. It may outlive the port.
    #[must_use]
    pub fn waker(&self) -> Waker {
        self.gate.status().waker.clone().of(self.gate.origin())
    }

    /// Which backend this is, and why it was chosen.
    #[must_use]
    pub fn info(&self) -> &PortInfo {
        self.gate.status().info
    }

    /// The time by this port's clock: the OS's monotonic clock, or the simulation's.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.gate.now()
    }

    /// Opens a listening stream socket. Submit [`Request::Accept`] to accept connections.
    ///
    /// On Unix the socket has `SO_REUSEADDR`, so that a server that restarts can listen at once. On Windows
    /// it has `SO_EXCLUSIVEADDRUSE`, so that no other program can take over the port.
    ///
    /// # Errors
    ///
    /// The OS's error, such as [`AddrInUse`](io::ErrorKind::AddrInUse),
    /// [`AddrNotAvailable`](io::ErrorKind::AddrNotAvailable) or
    /// [`PermissionDenied`](io::ErrorKind::PermissionDenied). [`InvalidInput`](io::ErrorKind::InvalidInput) for
    /// [`SocketFileOptions`] that do not fit the address. [`Unsupported`](io::ErrorKind::Unsupported) for
    /// [`ListenOptions::reuse_port`] where the OS does not spread connections, and for an address that this port does
    /// not listen on.
    pub fn listen(&mut self, options: &ListenOptions) -> io::Result<Handle> {
        let driver = self.gate.pass(Call::Act)?;
        options.check()?;
        driver.open(Open::Listener(options))
    }

    /// Opens a stream socket of the kind and family of `peer`, bound to `local` if given. This does not connect:
    /// submit [`Request::Connect`].
    ///
    /// # Errors
    ///
    /// The OS's error, such as [`AddrInUse`](io::ErrorKind::AddrInUse) or
    /// [`AddrNotAvailable`](io::ErrorKind::AddrNotAvailable) for `local`;
    /// [`Unsupported`](io::ErrorKind::Unsupported) for addresses that this port does not connect to or from.
    pub fn open_stream(&mut self, peer: &Address, local: Option<&Address>) -> io::Result<Handle> {
        if let (Address::Pipe(name), None) = (peer, local) {
            return self.open_pipe(name, &PipeConnectOptions::default());
        }
        self.gate.pass(Call::Act)?.open(Open::Stream {
            peer,
            local,
            packets: false,
        })
    }

    /// Opens a UNIX socket of sequenced packets (`SOCK_SEQPACKET`). Each send of it is one packet, and so is each
    /// [`Outcome::Received`]. A packet that is longer than [`PortOptions::surge_bytes`] fails the receive. Otherwise as
    /// [`open_stream`](Port::open_stream).
    ///
    /// # Errors
    ///
    /// As [`open_stream`](Port::open_stream); [`Unsupported`](io::ErrorKind::Unsupported) on a port that has no such
    /// sockets, [`InvalidInput`](io::ErrorKind::InvalidInput) for an IP address.
    pub fn open_packets(&mut self, peer: &Address, local: Option<&Address>) -> io::Result<Handle> {
        self.gate.pass(Call::Act)?.open(Open::Stream {
            peer,
            local,
            packets: true,
        })
    }

    /// Takes over a socket, pipe or file that was made elsewhere. A stream socket may be connected already, or be
    /// connected later by [`Request::Connect`].
    ///
    /// The port may switch the socket or pipe to non-blocking mode, which every process that shares it
    /// notices. A socket, pipe or file of Windows must allow overlapped I/O, and belongs to one port for good.
    ///
    /// # Errors
    ///
    /// The OS's error, or [`InvalidInput`](io::ErrorKind::InvalidInput) for a resource that this port cannot
    /// serve. The resource is closed then.
    pub fn adopt(&mut self, resource: impl Into<Resource>) -> io::Result<Handle> {
        let resource = resource.into();
        let driver = self.gate.pass(Call::Act)?;
        resource.check_kind()?;
        driver.open(Open::Adopted(resource))
    }

    /// Watches a descriptor that the program owns: on Unix anything that can be polled, on Windows any socket.
    ///
    /// The operation is multishot and has no handle. As long as the descriptor is ready in a way that
    /// `interest` includes, every wait reports it with [`Outcome::Ready`], on Unix at most 128 descriptors at a time.
    /// Hang-ups and errors are always reported; with kqueue, a hang-up is reported only while `interest`
    /// includes writing; on Windows, a hang-up is a connection that was reset or not made. A regular file is always
    /// ready.
    ///
    /// [`cancel`](Port::cancel) ends the watch at once: when that call returns, the owner of the descriptor may close
    /// it. Cancel the watch *before* the descriptor is closed. The last completion is [`Failure::Cancelled`]. If a
    /// socket of Windows is closed earlier, the last completion tells [`Readiness::closed`].
    ///
    /// # Errors
    ///
    /// The OS's error if the descriptor is not open or cannot be polled;
    /// [`AlreadyExists`](io::ErrorKind::AlreadyExists) when this port watches the number already;
    /// [`Unsupported`](io::ErrorKind::Unsupported) in simulations.
    pub fn watch(
        &mut self,
        descriptor: RawDescriptor,
        interest: Interest,
        token: Token,
    ) -> io::Result<Operation> {
        let watched = Watched::Descriptor(descriptor, interest);
        self.gate.pass(Call::Act)?.watch(watched, token)
    }

    /// Windows. Watches a waitable object that the program owns: anything that `WaitForSingleObject` takes,
    /// such as events, processes and timers, in any number; but not mutexes, which threads own.
    ///
    /// The operation is multishot and has no handle. It reports with [`Outcome::Ready`] (readable) that the
    /// object is signalled, and begins to wait for the object again in the wait that follows the report. So
    /// an object that stays signalled is reported in every wait, and an auto-reset event is consumed once for
    /// each report.
    ///
    /// [`cancel`](Port::cancel) ends the watch at once, and the owner may then close the handle. A signal
    /// that came before may have been consumed.
    ///
    /// # Errors
    ///
    /// The OS's error if there is no such handle or it cannot be waited for;
    /// [`Unsupported`](io::ErrorKind::Unsupported) on other systems and in simulations.
    pub fn watch_handle(&mut self, handle: RawDescriptor, token: Token) -> io::Result<Operation> {
        let watched = Watched::Handle(handle);
        self.gate.pass(Call::Act)?.watch(watched, token)
    }

    /// Changes what a [`watch`](Port::watch) reports, from the next wait on.
    ///
    /// # Errors
    ///
    /// [`NotFound`](io::ErrorKind::NotFound) when `watch` has ended or is no watch; the OS's error if the
    /// descriptor was closed meanwhile; [`Unsupported`](io::ErrorKind::Unsupported) for a handle of Windows and in
    /// simulations.
    pub fn set_interest(&mut self, watch: Operation, interest: Interest) -> io::Result<()> {
        self.gate.pass(Call::Act)?.set_interest(watch, interest)
    }

    /// Starts a child process, and returns once it runs its program.
    ///
    /// # Errors
    ///
    /// [`SpawnError`] names the program, the step that failed and the OS's reason. Nothing is left running
    /// then.
    pub fn spawn(&mut self, command: &Command) -> Result<Spawned, SpawnError> {
        let failed = |source| command.failed((SpawnStep::Begin, source));
        let driver = self.gate.pass(Call::Act).map_err(failed)?;
        driver.spawn(Spawn::Command(command))
    }

    /// Takes a child that was started elsewhere. If it cannot, the child is killed.
    pub(crate) fn spawn_started(&mut self, started: StartedChild) -> Result<Spawned, SpawnError> {
        match self.gate.pass(Call::Act) {
            Ok(driver) => driver.spawn(Spawn::Started(started)),
            Err(error) => Err(started.failed(error)),
        }
    }

    /// Sends a signal to a child process, or to its tree: see [`SignalTarget`].
    ///
    /// # Errors
    ///
    /// [`NotFound`](io::ErrorKind::NotFound) when the process (for a tree: and everything else in it) has
    /// ended, or the handle is closed. [`Unsupported`](io::ErrorKind::Unsupported) for a signal that this OS
    /// does not have, and where [`Command::own_group`] says so. Otherwise the OS's error.
    pub fn signal(
        &mut self,
        process: Handle,
        signal: Signal,
        target: SignalTarget,
    ) -> io::Result<Unreached> {
        let mut unreached = Unreached::default();
        let control = Control::Signal(SignalCall {
            signal,
            target,
            survey: &mut self.survey,
            unreached: &mut unreached,
        });
        self.gate.pass(Call::Act)?.control(process, control)?;
        Ok(unreached)
    }

    /// Sets the size of a child's terminal, given by our handle of either direction. On Unix, the processes in its
    /// foreground get SIGWINCH.
    ///
    /// # Errors
    ///
    /// [`NotFound`](io::ErrorKind::NotFound) for a closed handle;
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for a handle that is no terminal; otherwise the OS's error.
    pub fn resize(&mut self, terminal: Handle, size: TerminalSize) -> io::Result<()> {
        let control = Control::Resize(size);
        self.gate.pass(Call::Act)?.control(terminal, control)
    }

    /// Sets an option of a TCP socket. Does nothing in simulations.
    ///
    /// # Errors
    ///
    /// As [`local_addr`](Port::local_addr).
    pub fn set_option(&mut self, handle: Handle, option: SocketOption) -> io::Result<()> {
        let control = Control::SetOption(option);
        self.gate.pass(Call::Act)?.control(handle, control)
    }

    /// Half-closes a stream socket: the peer receives an end of file after the bytes sent so far. Receiving
    /// goes on. A pipe cannot be half-closed: close it.
    ///
    /// # Errors
    ///
    /// As [`local_addr`](Port::local_addr), and [`NotConnected`](io::ErrorKind::NotConnected).
    pub fn shutdown_write(&mut self, handle: Handle) -> io::Result<()> {
        let control = Control::ShutdownWrite;
        self.gate.pass(Call::Act)?.control(handle, control)
    }

    /// Holds back the last partial segment of each send so that the next send can fill it (`TCP_CORK`), or
    /// releases it. Hold only as long as one send follows another. Only Linux supports this.
    ///
    /// # Errors
    ///
    /// As [`local_addr`](Port::local_addr).
    pub(crate) fn hold_ends(&mut self, handle: Handle, hold: bool) -> io::Result<()> {
        let control = Control::HoldEnds(hold);
        self.gate.pass(Call::Act)?.control(handle, control)
    }

    /// The number of operations under way: submitted, with their last completion not yet delivered.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.gate.status().in_flight
    }

    /// The number of handles that are open or being closed.
    #[must_use]
    pub fn open_handles(&self) -> usize {
        self.gate.status().open_handles
    }

    /// The number of completions that the OS delivered for operations that were gone. Zero, unless the OS
    /// or this library is at fault.
    #[must_use]
    pub fn stale(&self) -> u64 {
        self.gate.status().stale
    }
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.gate.fmt(f)
    }
}
