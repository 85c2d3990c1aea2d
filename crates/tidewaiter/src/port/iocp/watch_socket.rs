//! Sockets that the program owns: each is polled again and again, once at a time. So are ours while they wait for a reset.

use std::collections::HashMap;
use std::io;
use std::rc::Rc;

use windows_sys::Win32::Foundation::ERROR_INVALID_HANDLE;
use windows_sys::Win32::Networking::WinSock::SOCKET;

use super::Iocp;
use super::afd::{Device, Devices, LentPoll, PollResult, base_socket, events_for};
use super::pending::Pending;
use crate::port::table::Key;
use crate::port::watch::already_watched;
use crate::port::{
    Failure, Interest, Operation, Outcome, RawDescriptor, Readiness, RequestKind, Token,
};

/// The sockets that the program has the port watch.
#[derive(Default)]
pub(super) struct SocketWatches {
    pub(super) devices: Devices,
    /// By operation.
    pub(super) watches: HashMap<Key, SocketWatch>,
    /// The operations that watch these numbers.
    numbers: HashMap<RawDescriptor, Key>,
    /// Watches that have been reported; the next wait polls their sockets again.
    reported: Vec<Key>,
}

pub(super) struct SocketWatch {
    purpose: Purpose,
    /// The socket to poll.
    base: SOCKET,
    device: Rc<Device>,
    poll: Option<LentPoll>,
}

/// The reason for which a socket is polled.
#[derive(Clone, Copy)]
pub(super) enum Purpose {
    /// The program watches it, by this number.
    Watch {
        number: RawDescriptor,
        interest: Interest,
    },
    /// It is ours, and may be reset.
    Reset,
}

impl Purpose {
    fn interest(self) -> Interest {
        match self {
            Purpose::Watch { interest, .. } => interest,
            Purpose::Reset => Interest::NONE,
        }
    }
}

impl SocketWatch {
    pub(super) fn new(
        number: RawDescriptor,
        purpose: Purpose,
        device: Rc<Device>,
    ) -> io::Result<SocketWatch> {
        Ok(SocketWatch {
            purpose,
            base: base_socket(number)?,
            device,
            poll: None,
        })
    }

    pub(super) fn start_poll(&mut self, operation: Key) -> io::Result<()> {
        let events = events_for(self.purpose.interest());
        self.poll = Some(self.device.poll(self.base, events, operation)?);
        Ok(())
    }

    fn cancel_poll(&self) -> bool {
        let Some(poll) = &self.poll else { return false };
        poll.cancel(&self.device);
        true
    }
}

impl SocketWatches {
    /// The number of polls whose memory Windows holds.
    pub(super) fn lent_polls(&self) -> usize {
        let watches = self.watches.values();
        watches.filter(|watch| watch.poll.is_some()).count()
    }

    /// Forgets the number of a watch. After a cancel, it may belong to another one.
    fn forget_number(&mut self, number: RawDescriptor, operation: Key) {
        if self.numbers.get(&number) == Some(&operation) {
            self.numbers.remove(&number);
        }
    }
}

impl Iocp {
    pub(super) fn begin_socket_watch(
        &mut self,
        number: RawDescriptor,
        interest: Interest,
        token: Token,
    ) -> io::Result<Operation> {
        let sockets = &mut self.watches.sockets;
        if sockets.numbers.contains_key(&number) {
            return Err(already_watched(number));
        }
        let device = sockets.devices.share(&self.queue)?;
        let purpose = Purpose::Watch { number, interest };
        let mut watch = SocketWatch::new(number, purpose, device)?;
        let pending = Pending::new(Key::from_u64(0), token, RequestKind::Watch);
        let operation = self.operations.insert(pending);
        if let Err(error) = watch.start_poll(operation) {
            self.operations.remove(operation);
            return Err(error);
        }
        sockets.numbers.insert(number, operation);
        sockets.watches.insert(operation, watch);
        self.in_flight += 1;
        Ok(Operation(operation))
    }

    /// Changes what a watch reports. A poll under way that does not ask for all of it is cancelled, and starts again.
    pub(super) fn set_socket_interest(
        &mut self,
        operation: Key,
        interest: Interest,
    ) -> io::Result<()> {
        let watch = self.watches.sockets.watches.get_mut(&operation);
        let Some(SocketWatch {
            purpose: Purpose::Watch { interest: old, .. },
            device,
            poll,
            ..
        }) = watch
        else {
            return Err(match self.watches.contains(operation) {
                true => io::Error::new(
                    io::ErrorKind::Unsupported,
                    "a waitable object has nothing else to report",
                ),
                false => io::Error::new(io::ErrorKind::NotFound, "this operation is not a watch"),
            });
        };
        *old = interest;
        if let Some(poll) = poll
            && events_for(interest) & !poll.events != 0
        {
            poll.cancel(device);
        }
        Ok(())
    }

    /// Processes the packet of a poll.
    pub(super) fn finish_poll(&mut self, operation: Key) {
        let Some(watch) = self.watches.sockets.watches.get_mut(&operation) else {
            return self.stale += 1;
        };
        let Some(poll) = watch.poll.take() else {
            return self.stale += 1;
        };
        // SAFETY: a watch has one poll at a time, and the packet with the watch's key was dequeued just now.
        let result = unsafe { poll.finished() };
        let purpose = watch.purpose;
        if self.is_ending(operation) {
            return self.end_socket_watch(operation, Err(Failure::Cancelled));
        }
        match purpose {
            Purpose::Watch { interest, .. } => self.finish_watch_poll(operation, interest, result),
            Purpose::Reset => self.finish_hang_up_poll(operation, result),
        }
    }

    fn finish_watch_poll(&mut self, operation: Key, interest: Interest, result: PollResult) {
        match result {
            PollResult::Ready(readiness) if readiness.closed => {
                self.end_socket_watch(operation, Ok(Outcome::Ready(readiness)));
            }
            PollResult::Ready(readiness) => {
                let readiness = readiness.only(interest);
                // The interest may have become less than what the poll asked for.
                if readiness.is_none() {
                    return self.poll_again(operation);
                }
                self.watches.sockets.reported.push(operation);
                self.report(operation, Outcome::Ready(readiness));
            }
            PollResult::Cancelled => self.poll_again(operation),
            PollResult::Failed(error) => {
                self.end_socket_watch(operation, Err(Failure::os("poll", error)));
            }
        }
    }

    /// Polls the reported sockets again. A poll tells what is so at its start, and waits only if nothing is.
    pub(super) fn resume_socket_watches(&mut self) {
        for operation in std::mem::take(&mut self.watches.sockets.reported) {
            self.poll_again(operation);
        }
    }

    pub(super) fn poll_again(&mut self, operation: Key) {
        // The watch may have been cancelled meanwhile.
        let Some(watch) = self.watches.sockets.watches.get_mut(&operation) else {
            return;
        };
        let Err(error) = watch.start_poll(operation) else {
            return;
        };
        if matches!(watch.purpose, Purpose::Reset) {
            return self.poll_no_more(operation, &error);
        }
        let closed = error.raw_os_error() == Some(ERROR_INVALID_HANDLE.cast_signed());
        let result = match closed {
            true => Ok(Outcome::Ready(Readiness {
                closed,
                ..Readiness::default()
            })),
            false => Err(Failure::os("poll", error)),
        };
        self.end_socket_watch(operation, result);
    }

    /// Cancels a watch of a socket; returns false if `operation` is none.
    pub(super) fn cancel_socket_watch(&mut self, operation: Key) -> bool {
        let sockets = &mut self.watches.sockets;
        let Some(watch) = sockets.watches.get(&operation) else {
            return false;
        };
        let pending = self.operations.get_mut(operation).expect("it is watched");
        if pending.ending.is_none() {
            pending.ending = Some(Failure::Cancelled);
            let is_polled = watch.cancel_poll();
            // The owner may close the socket and watch another one of the same number at once.
            if let Purpose::Watch { number, .. } = watch.purpose {
                sockets.forget_number(number, operation);
            }
            if !is_polled {
                self.end_socket_watch(operation, Err(Failure::Cancelled));
            }
        }
        true
    }

    pub(super) fn cancel_socket_watches(&mut self) {
        let watched: Vec<Key> = self.watches.sockets.watches.keys().copied().collect();
        for operation in watched {
            self.cancel_socket_watch(operation);
        }
    }

    pub(super) fn end_socket_watch(&mut self, operation: Key, result: Result<Outcome, Failure>) {
        let sockets = &mut self.watches.sockets;
        let watch = sockets.watches.remove(&operation).expect("it ends once");
        match watch.purpose {
            Purpose::Watch { number, .. } => {
                sockets.forget_number(number, operation);
                self.end_watch(operation, result);
            }
            Purpose::Reset => self.end(operation, result),
        }
    }
}
