//! Sending several datagrams in one call.

use std::io;
use std::mem::MaybeUninit;

use libc::iovec;

use super::super::datagram::{DatagramBatch, DatagramError, Run};
use super::control::Control;
use super::name::Name;
use super::socket::DatagramSocket;
use super::system::{self, Header, RUN_BYTES_MAX, SEGMENTS_MAX, write_segment};

/// The most messages in one call.
const MESSAGES_MAX: usize = 32;

/// How often a call is made again that failed because of an error that a peer reported for an earlier datagram.
const RETRIES_MAX: usize = 4;

/// Memory for a call that sends. Calls on all sockets share it.
pub(in super::super) struct SendTray {
    names: Box<[Name; MESSAGES_MAX]>,
    controls: Box<[Control; MESSAGES_MAX]>,
    pieces: Box<[iovec; MESSAGES_MAX]>,
    headers: Box<[Header; MESSAGES_MAX]>,
    /// The number of datagrams of each message.
    counts: [usize; MESSAGES_MAX],
}

/// The fate of a batch.
#[derive(Clone, Copy, Debug, Default)]
pub(in super::super) struct Sent {
    /// How many datagrams the OS took or refused.
    pub(in super::super) datagrams: usize,
    /// How many bytes the OS took.
    pub(in super::super) bytes: usize,
    /// Whether the OS takes no more for now.
    pub(in super::super) full: bool,
    /// Whether the OS has an error to tell that a peer or the network reported.
    pub(in super::super) has_errors: bool,
}

impl SendTray {
    pub(in super::super) fn new() -> SendTray {
        let (pieces, headers) = (MaybeUninit::zeroed(), MaybeUninit::zeroed());
        // SAFETY: zeros are a valid value of these structures: null pointers and lengths of zero.
        let pieces: [iovec; MESSAGES_MAX] = unsafe { pieces.assume_init() };
        // SAFETY: as above.
        let headers: [Header; MESSAGES_MAX] = unsafe { headers.assume_init() };
        SendTray {
            names: Box::new([Name::empty(); MESSAGES_MAX]),
            controls: Box::new([Control::empty(); MESSAGES_MAX]),
            pieces: Box::new(pieces),
            headers: Box::new(headers),
            counts: [0; MESSAGES_MAX],
        }
    }

    /// Sends datagrams until the OS takes no more, or none is left. The batch keeps the errors of those that the OS
    /// refused.
    pub(in super::super) fn send(
        &mut self,
        socket: &DatagramSocket,
        batch: &mut DatagramBatch,
    ) -> Sent {
        let (mut all, mut retries) = (Sent::default(), 0);
        while !batch.is_empty() && !all.full {
            let count = self.prepare(socket, batch);
            let sent = match count {
                0 => Err(io::Error::from_raw_os_error(libc::EAFNOSUPPORT)),
                // SAFETY: `prepare` has pointed the headers to memory of `self` and of the batch, which nobody changes
                // during the call.
                count => unsafe { system::send(socket, &mut self.headers[..count]) },
            };
            match sent {
                Ok(count) => {
                    let before = batch.bytes();
                    let datagrams = self.counts[..count].iter().sum();
                    batch.note_sent(datagrams);
                    all.datagrams += datagrams;
                    all.bytes += before - batch.bytes();
                }
                Err(error) => match error.raw_os_error() {
                    Some(libc::EAGAIN) => all.full = true,
                    Some(libc::EINTR) => {}
                    // Not this datagram failed, but an earlier one.
                    _ if socket.is_udp() && is_reported(&error) && retries < RETRIES_MAX => {
                        retries += 1;
                        all.has_errors = true;
                    }
                    _ if count > 0 && self.counts[0] > 1 => socket.cut_no_more(batch, &error),
                    _ => {
                        let to = batch.runs().next().and_then(|run| run.to.cloned());
                        batch.note_failed(DatagramError::new("sendmsg", to, error));
                        all.datagrams += 1;
                    }
                },
            }
        }
        all
    }

    /// Points headers to the first datagrams of the batch, each to those to one peer that fit in one message. Returns
    /// the number of messages: none if the socket cannot reach the first one's peer.
    fn prepare(&mut self, socket: &DatagramSocket, batch: &DatagramBatch) -> usize {
        let mut messages = 0;
        for mut run in batch.runs() {
            let at_once = socket.datagrams_at_once(run);
            loop {
                let first = run.first(at_once);
                if messages == MESSAGES_MAX || !self.point(socket, messages, first) {
                    return messages;
                }
                messages += 1;
                run.bytes = &run.bytes[first.bytes.len()..];
                if run.bytes.is_empty() {
                    break;
                }
            }
        }
        messages
    }

    /// Points the header `at` to datagrams; returns false if the socket cannot reach their peer.
    fn point(&mut self, socket: &DatagramSocket, at: usize, run: Run<'_>) -> bool {
        let header = &mut self.headers[at].msg_hdr;
        match run.to {
            None => {
                header.msg_name = std::ptr::null_mut();
                header.msg_namelen = 0;
            }
            Some(to) => {
                let Some(len) = self.names[at].write(to, socket.family) else {
                    return false;
                };
                header.msg_name = (&raw mut self.names[at]).cast();
                header.msg_namelen = len;
            }
        }
        let piece = &mut self.pieces[at];
        piece.iov_base = run.bytes.as_ptr().cast_mut().cast();
        piece.iov_len = run.bytes.len();
        header.msg_iov = piece;
        header.msg_iovlen = 1;
        header.msg_control = std::ptr::null_mut();
        header.msg_controllen = 0;
        self.counts[at] = run.count();
        if self.counts[at] > 1 {
            let control = &mut self.controls[at];
            let segment = u16::try_from(run.segment).expect("`datagrams_at_once` checks it");
            header.msg_controllen = write_segment(control, segment) as _;
            header.msg_control = control.as_mut_ptr();
        }
        true
    }
}

/// Whether the error is of a kind that peers and the network report for an earlier datagram.
pub(in super::super) fn is_reported(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ECONNREFUSED
                | libc::EHOSTUNREACH
                | libc::EHOSTDOWN
                | libc::ENETUNREACH
                | libc::ENOPROTOOPT
                | libc::EPROTO
                | libc::EACCES
                | libc::EMSGSIZE
                | libc::EOPNOTSUPP
        )
    )
}

impl DatagramSocket {
    /// How many datagrams of the run one message takes: several if the kernel cuts them.
    fn datagrams_at_once(&self, run: Run<'_>) -> usize {
        if run.segment == 0 || run.segment > self.segment_max.get() {
            return 1;
        }
        (RUN_BYTES_MAX / run.segment).clamp(1, SEGMENTS_MAX)
    }

    /// The kernel did not take several datagrams of this size at once: from now on, it gets them one by one.
    fn cut_no_more(&self, batch: &DatagramBatch, error: &io::Error) {
        let segment = batch.runs().next().map_or(0, |run| run.segment);
        self.segment_max.set(match error.raw_os_error() {
            // Larger than the network takes, which only this size is known to be.
            Some(libc::EINVAL | libc::EMSGSIZE) => segment.saturating_sub(1),
            _ => 0,
        });
    }
}
