//! Waits for the reset of a connection that is not received from, by a poll of its socket. Windows has no event for the end
//! of both directions in order.

use std::io;
use std::os::windows::io::AsRawSocket;

use windows_sys::Win32::Networking::WinSock::WSAECONNRESET;

use super::Iocp;
use super::afd::PollResult;
use super::entry::Source;
use super::watch_socket::{Purpose, SocketWatch};
use crate::port::table::Key;
use crate::port::{Failure, RawDescriptor};

impl Iocp {
    pub(super) fn start_hang_up(&mut self, operation: Key) {
        let (Source::Stream(socket), _) = self.source_of(operation) else {
            unreachable!("`Entry::check` refuses it");
        };
        let number = socket.as_raw_socket();
        match self.poll_for_reset(number, operation) {
            Ok(watch) => _ = self.watches.sockets.watches.insert(operation, watch),
            Err(error) => self.poll_no_more(operation, &error),
        }
    }

    fn poll_for_reset(&mut self, number: RawDescriptor, operation: Key) -> io::Result<SocketWatch> {
        let device = self.watches.sockets.devices.share(&self.queue)?;
        let mut watch = SocketWatch::new(number, Purpose::Reset, device)?;
        watch.start_poll(operation)?;
        Ok(watch)
    }

    /// Processes the end of the poll for a reset.
    pub(super) fn finish_hang_up_poll(&mut self, operation: Key, result: PollResult) {
        match result {
            PollResult::Ready(readiness) if readiness.hang_up => {
                let (Source::Stream(socket), _) = self.source_of(operation) else {
                    unreachable!("`Entry::check` refuses it");
                };
                let error = socket.take_error().ok().flatten();
                let error = error.unwrap_or_else(|| io::Error::from_raw_os_error(WSAECONNRESET));
                self.end_socket_watch(operation, Err(Failure::os("poll", error)));
            }
            PollResult::Ready(_) | PollResult::Cancelled => self.poll_again(operation),
            PollResult::Failed(error) => self.poll_no_more(operation, &error),
        }
    }

    /// Leaves a wait for a reset without a poll, until it is cancelled: a receive or a send tells of the reset.
    pub(super) fn poll_no_more(&mut self, operation: Key, error: &io::Error) {
        log::debug!("port: a reset will be told late: {error}");
        self.watches.sockets.watches.remove(&operation);
    }

    /// Cancels a wait for a reset; one without a poll ends at once.
    pub(super) fn cancel_hang_up(&mut self, operation: Key) {
        if !self.cancel_socket_watch(operation) {
            self.end(operation, Err(Failure::Cancelled));
        }
    }
}
