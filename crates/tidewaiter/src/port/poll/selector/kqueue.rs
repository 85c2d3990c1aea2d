//! Readiness from kqueue, through the `polling` crate; edge-triggered, as [`epoll`'s](super) is.

use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use polling::{Event, Events, PollMode, Poller};
use socket2::Socket;

use super::{EVENTS_MAX, Ended, Readiness};
use crate::os::Address;
use crate::port::control;
use crate::port::table::Key;
use crate::port::waker::Notify;

// A key must fit into the number that `polling` carries with an event.
const _: () = assert!(size_of::<usize>() == size_of::<u64>());

pub(in super::super) struct Selector {
    shared: Arc<Shared>,
    events: Events,
}

struct Shared {
    poller: Poller,
    /// Set by a notification, because `polling` does not report its own.
    notified: AtomicBool,
}

impl Selector {
    /// Returns a selector, and the means to end its waits.
    pub(in super::super) fn open() -> io::Result<(Selector, Box<dyn Notify>)> {
        let poller = Poller::new()?;
        if !poller.supports_edge() {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "this OS reports no changes of readiness",
            ));
        }
        let shared = Arc::new(Shared {
            poller,
            notified: AtomicBool::new(false),
        });
        let capacity = NonZeroUsize::new(EVENTS_MAX).expect("not zero");
        let selector = Selector {
            shared: Arc::clone(&shared),
            events: Events::with_capacity(capacity),
        };
        Ok((selector, Box::new(PollerNotify(shared))))
    }

    /// Fails: a child does not inherit kqueues, and `polling` cannot replace one.
    #[expect(
        clippy::unused_self,
        reason = "the same signature as the other selector's"
    )]
    pub(in super::super) fn renew(&mut self) -> io::Result<()> {
        Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "a port on kqueue does not outlive a fork",
        ))
    }

    /// Lists the selector's features for [`PortInfo`](crate::port::PortInfo).
    #[expect(
        clippy::unused_self,
        reason = "the same signature as the other selector's"
    )]
    pub(in super::super) fn features(&self) -> Vec<String> {
        vec!["kqueue".to_owned(), "edge-triggered".to_owned()]
    }

    /// Reports the readiness of `source` under `key` from now on: its current state, and each
    /// change.
    ///
    /// Returns false for a source that is always ready: the kernel does not watch some devices.
    #[expect(
        unsafe_code,
        reason = "`polling` requires that sources are removed before they are closed"
    )]
    pub(in super::super) fn add(&self, source: BorrowedFd<'_>, key: Key) -> io::Result<bool> {
        let number = usize::try_from(key.to_u64()).expect("checked at the head of this file");
        let interest = Event::all(number);
        // SAFETY: the driver removes each source before it closes it, or closes the poller first.
        let added = unsafe {
            self.shared
                .poller
                .add_with_mode(source.as_raw_fd(), interest, PollMode::Edge)
        };
        match added {
            Ok(()) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(false),
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Reports under `key` that `source` is readable, for as long as it is.
    #[expect(
        unsafe_code,
        reason = "`polling` requires that sources are removed before they are closed"
    )]
    pub(in super::super) fn add_level(&self, source: BorrowedFd<'_>, key: Key) -> io::Result<()> {
        let number = usize::try_from(key.to_u64()).expect("checked at the head of this file");
        // SAFETY: a kqueue forgets a source that is closed, and `polling` keeps only its number.
        unsafe {
            self.shared.poller.add_with_mode(
                source.as_raw_fd(),
                Event::readable(number),
                PollMode::Level,
            )
        }
    }

    /// Stops reporting `source`.
    pub(in super::super) fn remove(&self, source: BorrowedFd<'_>) -> io::Result<()> {
        self.shared.poller.delete(source)
    }

    /// Waits for changes, for at most `timeout`, rounded up. Passes each change to `report`.
    pub(in super::super) fn wait(
        &mut self,
        timeout: Option<Duration>,
        mut report: impl FnMut(Readiness),
    ) -> io::Result<Ended> {
        self.events.clear();
        match self.shared.poller.wait(&mut self.events, timeout) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                return Ok(Ended::Interrupted);
            }
            Err(error) => return Err(error),
        }
        for event in self.events.iter() {
            report(Readiness {
                key: Key::from_u64(event.key as u64),
                readable: event.readable,
                writable: event.writable,
                // `polling` does not say whether the peer has ended. Assume that it has, and read
                // until the kernel says that nothing is left.
                ended: event.readable,
                // `polling` does not report hang-ups either; a waiting operation polls for one.
                hung_up: true,
            });
        }
        if self.shared.notified.swap(false, Ordering::AcqRel) {
            Ok(Ended::Woken)
        } else {
            Ok(Ended::Plainly)
        }
    }
}

struct PollerNotify(Arc<Shared>);

impl Notify for PollerNotify {
    fn notify(&self) -> bool {
        self.0.notified.store(true, Ordering::Release);
        // One `kevent` call. It fails only when the queue is gone, and then nobody waits.
        self.0.poller.notify().is_ok()
    }
}

/// Accepts a listener's next connection, non-blocking and not inherited by children.
pub(in super::super) fn accept(listener: &Socket) -> io::Result<(Socket, Address)> {
    let (socket, peer) = listener.accept()?;
    socket.set_nonblocking(true)?;
    // A connection that has meanwhile been reset has no address.
    let peer = control::address(&peer).map_err(|_| io::ErrorKind::ConnectionAborted)?;
    Ok((socket, peer))
}
