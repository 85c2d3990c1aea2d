//! A portable completion port: submit operations, wait, get completions.
//!
//! A [`Port`] is the one place that talks to the OS. It is I/O completion ports on Windows, io_uring on
//! Linux, readiness (epoll, kqueue) where there is neither, and a deterministic simulation for tests.
//! All of them keep the same promises:
//!
//! 1. An operation owns everything the OS may touch until its last completion. Cancelling it, closing
//!    the handle or dropping the port never frees that memory earlier.
//! 2. Every submitted operation completes exactly once; a multishot one any number of times with
//!    [`more`](Completion::more), then once without. So it is, too, for one that is cancelled or whose
//!    handle is closed. Until its last completion has been delivered an operation is under way, even
//!    after a cancel: a handle that receives, or sends, takes no other such request before. Dropping
//!    the port cancels and awaits what is left, undelivered.
//! 3. Submitting never calls back: what finishes at once still arrives through [`Port::wait`].
//! 4. A [`Handle`] or [`Operation`] is never valid twice. Completions that the OS delivers for one that
//!    is gone are counted ([`Port::stale`]) and dropped.
//! 5. [`Port::wait`] rounds its timeout up, never spins, and ends early for a [`Waker`], and for a signal
//!    whose handler ran during it. A wake-up ends one wait, whichever it is: so look for what it may
//!    have announced after each, before the next.
//! 6. Closing is: cancel, see every completion of the handle, then close, then [`Outcome::Closed`].
//! 7. An idle connection holds no receive buffer. On Windows a bounded number of them may.
//! 8. OS errors keep their identity: a reset is not an end of file.
//!
//! A port belongs to the thread that first waits: others may make it, submit to it and close its handles,
//! one at a time, and drop it; but none of them waits. It belongs to one process, too: a copy that `fork`
//! makes has no use of it, and does it no harm, unless [`Port::before_fork`] and [`Port::after_fork`] take
//! it there.

mod buffer;
mod chunks;
mod control;
#[cfg(target_os = "linux")]
mod event;
#[cfg(unix)]
mod foreign;
#[cfg(windows)]
mod iocp;
#[cfg(unix)]
#[cfg_attr(target_os = "linux", path = "foreign/epoll.rs")]
#[cfg_attr(not(target_os = "linux"), path = "foreign/kqueue.rs")]
mod level_set;
#[cfg(target_os = "linux")]
mod mapping;
mod open;
mod options;
#[cfg_attr(target_os = "linux", path = "origin/linux.rs")]
#[cfg_attr(not(target_os = "linux"), path = "origin/other.rs")]
mod origin;
mod owner;
#[cfg(unix)]
mod poll;
mod request;
mod signals;
pub mod sim;
mod socket;
#[cfg(unix)]
mod surge;
mod table;
#[cfg(target_os = "linux")]
mod uring;
mod waker;
mod watch;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::thread::Thread;
use std::time::{Duration, Instant};

pub use buffer::Buffer;
pub use chunks::Chunks;
pub use options::{ListenOptions, PortInfo, PortKind, PortOptions, SocketOption};
use origin::Origin;
pub use request::{Completion, Failure, Handle, Operation, Outcome, Request, RequestKind, Token};
pub use signals::ShutdownSignal;
pub(crate) use signals::SignalWatch;
pub(crate) use socket::OsPipe;
pub use socket::{Resource, Socket};
pub(crate) use table::{Key, Table};
pub use waker::Waker;
pub use watch::{Interest, Readiness};

use crate::process::{Command, PipeDirection, Signal, SignalTarget, SpawnError};

/// The OS's number of a socket or pipe: a descriptor on Unix; a socket or handle on Windows.
#[cfg(unix)]
pub type RawDescriptor = std::os::fd::RawFd;
/// The OS's number of a socket or pipe: a descriptor on Unix; a socket or handle on Windows.
#[cfg(windows)]
pub type RawDescriptor = u64;

/// How many completions one wait delivers at most: what bounds the work of a turn.
pub(crate) const BATCH_MAX: usize = 256;

/// A child process that a port has started.
#[derive(Debug)]
pub struct Spawned {
    /// The process: submit [`Request::Exit`] on it.
    pub process: Handle,
    /// The OS's number for it.
    pub pid: u32,
    /// Our ends of the pipes to the child, in the order of its descriptors.
    pub pipes: Vec<SpawnedPipe>,
}

impl Spawned {
    /// Our end of the pipe at the child's descriptor `child_fd`, if there is one.
    #[must_use]
    pub fn pipe(&self, child_fd: u32) -> Option<Handle> {
        let pipe = self.pipes.iter().find(|pipe| pipe.child_fd == child_fd);
        pipe.map(|pipe| pipe.handle)
    }
}

/// Our end of a pipe to a child that a port has started.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct SpawnedPipe {
    /// The child's descriptor at the other end.
    pub child_fd: u32,
    /// Which way bytes go through it: whether we can [send](Request::Send) or
    /// [receive](Request::Receive).
    pub direction: PipeDirection,
    /// Our end.
    pub handle: Handle,
}

/// How a handle is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseMode {
    /// What the OS already took is still sent.
    Graceful,
    /// A TCP connection is reset: the peer sees an error, what was not yet sent is dropped. The same as
    /// graceful for everything else.
    Reset,
}

/// What a backend does; the promises are those of the module's head.
///
/// Backends report a failure to *start* an operation as its completion. They return errors only for
/// what is no operation at all: a dead handle ([`io::ErrorKind::NotFound`]), a request that the kind of
/// handle does not know, or a second receive or send beside one under way
/// ([`io::ErrorKind::InvalidInput`]).
pub(crate) trait Driver: fmt::Debug {
    /// What was opened and why.
    fn info(&self) -> &PortInfo;
    /// The clock that timeouts are measured by.
    fn now(&self) -> Instant {
        Instant::now()
    }
    fn waker(&self) -> Waker;
    fn submit(&mut self, handle: Handle, request: Request, token: Token) -> io::Result<Operation>;
    /// Whether what was gathered is to be offered to [`Driver::send_now`] before it is submitted.
    fn sends_gathered_now(&self) -> bool {
        false
    }
    /// Sends what the OS takes of `data` at once; how much that is. None where that is no gain, as where
    /// sends are handed over together.
    fn send_now(&mut self, _handle: Handle, _data: &[u8]) -> Result<usize, Failure> {
        Ok(0)
    }
    fn cancel(&mut self, operation: Operation) -> bool;
    fn wait(
        &mut self,
        timeout: Option<Duration>,
        completions: &mut Vec<Completion>,
    ) -> io::Result<()>;
    /// See [`Port::glance`]. Worth more than a wait only where that is a system call each time.
    fn glance(&mut self, completions: &mut Vec<Completion>) -> io::Result<()> {
        self.wait(Some(Duration::ZERO), completions)
    }
    fn close(&mut self, handle: Handle, mode: CloseMode, token: Token) -> io::Result<Operation>;
    fn listen(&mut self, options: &ListenOptions) -> io::Result<Handle>;
    fn open_stream(&mut self, peer: SocketAddr, local: Option<SocketAddr>) -> io::Result<Handle>;
    fn adopt(&mut self, resource: Resource) -> io::Result<Handle>;
    fn watch(
        &mut self,
        _descriptor: RawDescriptor,
        _interest: Interest,
        _token: Token,
    ) -> io::Result<Operation> {
        Err(self.unsupported("watches no descriptors of others"))
    }
    fn watch_handle(&mut self, _handle: RawDescriptor, _token: Token) -> io::Result<Operation> {
        Err(self.unsupported("watches no handles of others"))
    }
    fn set_interest(&mut self, _watch: Operation, _interest: Interest) -> io::Result<()> {
        Err(self.unsupported("watches no descriptors of others"))
    }
    fn spawn(&mut self, command: &Command) -> Result<Spawned, SpawnError>;
    fn signal(&mut self, process: Handle, signal: Signal, target: SignalTarget) -> io::Result<()>;
    fn local_addr(&self, handle: Handle) -> io::Result<SocketAddr>;
    fn peer_addr(&self, handle: Handle) -> io::Result<SocketAddr>;
    fn raw_descriptor(&self, handle: Handle) -> io::Result<RawDescriptor>;
    fn set_option(&mut self, handle: Handle, option: SocketOption) -> io::Result<()>;
    fn shutdown_write(&mut self, handle: Handle) -> io::Result<()>;
    /// See [`Port::hold_ends`]. Nothing where the OS has no such thing.
    fn hold_ends(&mut self, _handle: Handle, _hold: bool) -> io::Result<()> {
        Ok(())
    }
    fn in_flight(&self) -> usize;
    fn open_handles(&self) -> usize;
    fn stale(&self) -> u64;
    /// Takes back what the OS has in hand, and has nothing to do with it until [`Driver::after_fork`].
    fn before_fork(&mut self) -> io::Result<()> {
        Ok(())
    }
    fn after_fork(&mut self) -> io::Result<()> {
        Ok(())
    }
    /// This process is a copy of the one that the driver belongs to: it closes its copies of descriptors,
    /// and is only dropped from here on.
    fn disown(&mut self) {}
    /// What a port says of requests that it does not have.
    fn unsupported(&self, what: &str) -> io::Error {
        let message = format!("the {} port {what}", self.info().kind);
        io::Error::new(io::ErrorKind::Unsupported, message)
    }
}

/// A completion port. See the [module](self) for its promises, and for an example.
pub struct Port {
    driver: Box<dyn Driver>,
    /// Which process it belongs to. `None`: there is no OS behind it.
    origin: Option<Origin>,
    /// The thread it belongs to: the one that waited first.
    waiter: Option<Thread>,
    /// Between `before_fork` and `after_fork`.
    suspended: bool,
}

impl Port {
    /// Starts `request` on `handle`. Its completions carry `token`.
    ///
    /// Nothing is delivered before the next [`wait`](Port::wait), even if the operation finishes, or
    /// fails, at once.
    ///
    /// # Errors
    ///
    /// Only for what could never be started, and then no completion follows: the handle is closed
    /// ([`NotFound`](io::ErrorKind::NotFound)), or it is of a kind that does not know such requests, is
    /// already receiving or sending, or there is nothing to send
    /// ([`InvalidInput`](io::ErrorKind::InvalidInput)). It is receiving, or sending, until the last
    /// completion of that operation has been delivered, even after a [`cancel`](Port::cancel).
    pub fn submit(
        &mut self,
        handle: Handle,
        request: Request,
        token: Token,
    ) -> io::Result<Operation> {
        self.check_process()?;
        self.driver.submit(handle, request, token)
    }

    /// Whether a send of what was gathered is better tried by [`send_now`](Port::send_now) first.
    pub(crate) fn sends_gathered_now(&self) -> bool {
        self.driver.sends_gathered_now()
    }

    /// Sends what the OS takes of `data` here and now, without an operation or a copy, and returns how many
    /// bytes that was: 0 if the rest is better submitted, as always while a send is under way on `handle`.
    ///
    /// # Errors
    ///
    /// As a submitted send would complete with.
    pub(crate) fn send_now(&mut self, handle: Handle, data: &[u8]) -> Result<usize, Failure> {
        if self.suspended || self.is_elsewhere() {
            return Ok(0);
        }
        self.driver.send_now(handle, data)
    }

    /// Asks for an operation to end early. It still completes: with [`Failure::Cancelled`], or with
    /// what it came to before the request took effect. Until then its handle stays taken: a receive
    /// after a cancelled receive is submitted once that one's last completion was delivered.
    ///
    /// Returns whether the operation was still under way. Asking again changes nothing.
    pub fn cancel(&mut self, operation: Operation) -> bool {
        self.check_process().is_ok() && self.driver.cancel(operation)
    }

    /// Appends what completed to `completions`, at most some hundreds at a time.
    ///
    /// Waits up to `timeout` (`None`: for ever; zero: not at all) if nothing has completed yet. Returns
    /// early, possibly with nothing, when a [`Waker`] says so. Several wake-ups may end one wait only,
    /// and it may be one that was about to return anyway: look for what they announced after every
    /// wait, before the next.
    ///
    /// Also returns early when a signal handler of the program interrupted it on this thread, so that
    /// what the handler noted down can be looked at (io_uring, epoll). A signal that comes just before
    /// the wait does not end it, and with kqueue and on Windows none does: a handler that must be heard
    /// uses a [`Waker`].
    ///
    /// # Errors
    ///
    /// When the OS refuses to wait: the port is unusable then. The simulated port refuses to wait for
    /// ever for what can never come. [`ResourceBusy`](io::ErrorKind::ResourceBusy) when the port belongs
    /// to another thread or process, or is between [`before_fork`](Port::before_fork) and
    /// [`after_fork`](Port::after_fork).
    pub fn wait(
        &mut self,
        timeout: Option<Duration>,
        completions: &mut Vec<Completion>,
    ) -> io::Result<()> {
        self.check_waiter()?;
        self.driver.wait(timeout, completions)
    }

    /// As [`wait`](Port::wait) with a timeout of zero, for who has asked the kernel just now and soon does
    /// again: the port may leave that out, and does only what is known to be there to do.
    pub(crate) fn glance(&mut self, completions: &mut Vec<Completion>) -> io::Result<()> {
        self.check_waiter()?;
        self.driver.glance(completions)
    }

    /// Closes `handle`: no further request is taken; what is under way is cancelled and completes; then
    /// the OS's handle is closed, and a completion with `token` says [`Outcome::Closed`].
    ///
    /// Closing a process's handle neither ends nor awaits the process.
    ///
    /// # Errors
    ///
    /// [`NotFound`](io::ErrorKind::NotFound) when it is closed or being closed already.
    pub fn close(
        &mut self,
        handle: Handle,
        mode: CloseMode,
        token: Token,
    ) -> io::Result<Operation> {
        self.check_process()?;
        self.driver.close(handle, mode, token)
    }

    /// A handle that ends this port's waits from other threads.
    #[must_use]
    pub fn waker(&self) -> Waker {
        self.driver.waker()
    }

    /// Which backend this is, and why.
    #[must_use]
    pub fn info(&self) -> &PortInfo {
        self.driver.info()
    }

    /// The time by this port's clock: the OS's monotonic one, or the simulation's.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.driver.now()
    }

    /// Opens a TCP socket that listens.
    ///
    /// # Errors
    ///
    /// What the OS says, among it [`AddrInUse`](io::ErrorKind::AddrInUse),
    /// [`AddrNotAvailable`](io::ErrorKind::AddrNotAvailable) and
    /// [`PermissionDenied`](io::ErrorKind::PermissionDenied).
    pub fn listen(&mut self, options: &ListenOptions) -> io::Result<Handle> {
        self.check_process()?;
        self.driver.listen(options)
    }

    /// Opens a TCP socket to connect to `peer` with, bound to `local` if given.
    ///
    /// # Errors
    ///
    /// What the OS says, among it [`AddrInUse`](io::ErrorKind::AddrInUse) and
    /// [`AddrNotAvailable`](io::ErrorKind::AddrNotAvailable) for `local`.
    pub fn open_stream(
        &mut self,
        peer: SocketAddr,
        local: Option<SocketAddr>,
    ) -> io::Result<Handle> {
        self.check_process()?;
        self.driver.open_stream(peer, local)
    }

    /// Takes over a socket or pipe that was made elsewhere: a stream socket may be connected already, or
    /// be connected by [`Request::Connect`]. It may be made non-blocking, for all who share it.
    ///
    /// # Errors
    ///
    /// What the OS says, and [`InvalidInput`](io::ErrorKind::InvalidInput) for a resource that this
    /// port cannot serve. The resource is closed then.
    pub fn adopt(&mut self, resource: impl Into<Resource>) -> io::Result<Handle> {
        self.check_process()?;
        self.driver.adopt(resource.into())
    }

    /// Watches a descriptor that stays somebody else's: on Unix, anything that can be polled.
    ///
    /// The operation is multishot, without a handle: every wait reports with [`Outcome::Ready`] that it is
    /// ready, as long as it is and `interest` includes it; hang-ups and errors are always reported. (On
    /// systems with kqueue, they are as long as there is any interest.) What the OS has no readiness of,
    /// as a file, is always ready.
    ///
    /// [`cancel`](Port::cancel) ends it at once: when that returns, the OS takes no more notice of the
    /// descriptor, which its owner may close. To be cancelled *before* it is closed. Its last completion
    /// is [`Failure::Cancelled`].
    ///
    /// # Errors
    ///
    /// What the OS says if there is no such descriptor or it cannot be polled;
    /// [`AlreadyExists`](io::ErrorKind::AlreadyExists) when it is being watched already;
    /// [`Unsupported`](io::ErrorKind::Unsupported) on Windows and in simulations.
    pub fn watch(
        &mut self,
        descriptor: RawDescriptor,
        interest: Interest,
        token: Token,
    ) -> io::Result<Operation> {
        self.check_process()?;
        self.driver.watch(descriptor, interest, token)
    }

    /// Watches a waitable object that stays somebody else's: on Windows, what `WaitForSingleObject` takes,
    /// as events, processes and timers, in any number. Not mutexes: these are owned by threads.
    ///
    /// The operation is multishot, without a handle: it reports with [`Outcome::Ready`] that the object is
    /// signalled, and waits for it again in the wait that follows the report. So one that stays signalled
    /// is reported in every wait, and an event that resets itself is consumed once for each report.
    ///
    /// [`cancel`](Port::cancel) ends it at once, as for [`watch`](Port::watch); its owner may then close
    /// the handle. A signal that came before may have been consumed.
    ///
    /// # Errors
    ///
    /// What the OS says if there is no such handle, or it cannot be waited for;
    /// [`Unsupported`](io::ErrorKind::Unsupported) on other systems and in simulations.
    pub fn watch_handle(&mut self, handle: RawDescriptor, token: Token) -> io::Result<Operation> {
        self.driver.watch_handle(handle, token)
    }

    /// Changes what a [`watch`](Port::watch) reports, from the next wait on.
    ///
    /// # Errors
    ///
    /// [`NotFound`](io::ErrorKind::NotFound) when `watch` has been cancelled or is none; what the OS says
    /// if the descriptor was closed meanwhile.
    pub fn set_interest(&mut self, watch: Operation, interest: Interest) -> io::Result<()> {
        self.check_process()?;
        self.driver.set_interest(watch, interest)
    }

    /// Starts a child process.
    ///
    /// # Errors
    ///
    /// [`SpawnError`] names the program, the step that failed and the OS's reason; nothing is left
    /// running then.
    pub fn spawn(&mut self, command: &Command) -> Result<Spawned, SpawnError> {
        self.driver.spawn(command)
    }

    /// Signals a child process, or its whole tree.
    ///
    /// # Errors
    ///
    /// [`NotFound`](io::ErrorKind::NotFound) when the process has ended; what the OS says otherwise;
    /// [`Unsupported`](io::ErrorKind::Unsupported) for a signal that this OS does not have.
    pub fn signal(
        &mut self,
        process: Handle,
        signal: Signal,
        target: SignalTarget,
    ) -> io::Result<()> {
        self.driver.signal(process, signal, target)
    }

    /// The address that a socket is bound to.
    ///
    /// # Errors
    ///
    /// [`NotFound`](io::ErrorKind::NotFound) for a closed handle,
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for one that is no socket, or what the OS says.
    pub fn local_addr(&self, handle: Handle) -> io::Result<SocketAddr> {
        self.driver.local_addr(handle)
    }

    /// The address that a socket is connected to.
    ///
    /// # Errors
    ///
    /// As [`local_addr`](Port::local_addr).
    pub fn peer_addr(&self, handle: Handle) -> io::Result<SocketAddr> {
        self.driver.peer_addr(handle)
    }

    /// The OS's number of a socket or pipe, which stays the port's: to look at it, or to set an option
    /// that the port does not know. It means nothing any more once the handle is being closed.
    ///
    /// # Errors
    ///
    /// [`NotFound`](io::ErrorKind::NotFound) for a closed handle,
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for one behind which is no socket or pipe of the OS.
    pub fn raw_descriptor(&self, handle: Handle) -> io::Result<RawDescriptor> {
        self.driver.raw_descriptor(handle)
    }

    /// Sets an option of a TCP socket.
    ///
    /// # Errors
    ///
    /// As [`local_addr`](Port::local_addr).
    pub fn set_option(&mut self, handle: Handle, option: SocketOption) -> io::Result<()> {
        self.driver.set_option(handle, option)
    }

    /// Tells the peer that nothing more will be sent; receiving goes on. A pipe has no such thing:
    /// close it.
    ///
    /// # Errors
    ///
    /// As [`local_addr`](Port::local_addr), and [`NotConnected`](io::ErrorKind::NotConnected).
    pub fn shutdown_write(&mut self, handle: Handle) -> io::Result<()> {
        self.driver.shutdown_write(handle)
    }

    /// Has the OS keep back what does not fill a segment, as the end of each send, for what is sent next;
    /// or send it. To be told for no longer than one send follows the other. Linux has it.
    ///
    /// # Errors
    ///
    /// As [`local_addr`](Port::local_addr).
    pub(crate) fn hold_ends(&mut self, handle: Handle, hold: bool) -> io::Result<()> {
        self.driver.hold_ends(handle, hold)
    }

    /// How many operations are under way: submitted, and their last completion not yet delivered.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.driver.in_flight()
    }

    /// How many handles are open or being closed.
    #[must_use]
    pub fn open_handles(&self) -> usize {
        self.driver.open_handles()
    }

    /// How many completions came for operations that were no longer alive. Zero, unless the OS or this
    /// library is at fault.
    #[must_use]
    pub fn stale(&self) -> u64 {
        self.driver.stale()
    }
}

impl fmt::Debug for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.driver.fmt(f)
    }
}
