//! Sending several datagrams in one call.

use std::fmt;
use std::io;
use std::mem::MaybeUninit;

use libc::{iovec, msghdr};

use super::super::datagram::{DatagramBatch, DatagramError, Run};
use super::control::Control;
use super::name::Name;
use super::reported::is_reported;
use super::socket::DatagramSocket;
use super::system::{self, Header, RUN_BYTES_MAX, SEGMENTS_MAX, write_segment};

/// The most messages in one call.
const MESSAGES_MAX: usize = 32;

/// How often a call is made again that failed because of an error that a peer reported for an earlier datagram.
const RETRIES_MAX: usize = 4;

/// Memory for a call that sends. Calls on all sockets share it.
pub(in super::super) struct SendTray {
    messages: Box<[Pointed; MESSAGES_MAX]>,
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
        // SAFETY: zeros are a valid value of these structures: null pointers and lengths of zero.
        let headers: [Header; MESSAGES_MAX] = unsafe { MaybeUninit::zeroed().assume_init() };
        SendTray {
            messages: Box::new([const { Pointed::empty() }; MESSAGES_MAX]),
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
        // An error that the last call returned and that the kernel does not queue: maybe of an earlier datagram.
        let mut unqueued = None;
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
                    if let Some(error) = unqueued.take() {
                        socket.note_reported(error);
                        all.has_errors = true;
                    }
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
                    _ if socket.queues_errors && is_reported(&error) && retries < RETRIES_MAX => {
                        retries += 1;
                        all.has_errors = true;
                    }
                    _ if socket.is_udp() && is_reported(&error) && unqueued.is_none() => {
                        unqueued = Some(error);
                    }
                    _ if count > 0 && self.counts[0] > 1 => socket.cut_no_more(batch, &error),
                    _ => {
                        unqueued = None;
                        let to = batch.runs().next().and_then(|run| run.to.cloned());
                        batch.note_failed(DatagramError::new("sendmsg", to, error));
                        all.datagrams += 1;
                    }
                },
            }
        }
        if let Some(error) = unqueued {
            socket.note_reported(error);
            all.has_errors = true;
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
                if messages == MESSAGES_MAX {
                    return messages;
                }
                let outgoing = &mut self.messages[messages];
                let header = &mut self.headers[messages].msg_hdr;
                if !outgoing.point(header, socket, first) {
                    return messages;
                }
                self.counts[messages] = first.count();
                messages += 1;
                run.bytes = &run.bytes[first.bytes.len()..];
                if run.bytes.is_empty() {
                    break;
                }
            }
        }
        messages
    }
}

/// The memory that a message's header points to, besides the datagrams.
struct Pointed {
    name: Name,
    control: Control,
    piece: iovec,
}

impl Pointed {
    const fn empty() -> Pointed {
        Pointed {
            name: Name::empty(),
            control: Control::empty(),
            piece: iovec {
                iov_base: std::ptr::null_mut(),
                iov_len: 0,
            },
        }
    }

    /// Points `header` here and to the datagrams; returns false if the socket cannot reach their peer.
    fn point(&mut self, header: &mut msghdr, socket: &DatagramSocket, run: Run<'_>) -> bool {
        match run.to {
            None => {
                header.msg_name = std::ptr::null_mut();
                header.msg_namelen = 0;
            }
            Some(to) => {
                let Some(len) = self.name.write(to, socket.family) else {
                    return false;
                };
                header.msg_name = (&raw mut self.name).cast();
                header.msg_namelen = len;
            }
        }
        self.piece.iov_base = run.bytes.as_ptr().cast_mut().cast();
        self.piece.iov_len = run.bytes.len();
        header.msg_iov = &raw mut self.piece;
        header.msg_iovlen = 1;
        header.msg_control = std::ptr::null_mut();
        header.msg_controllen = 0;
        if run.count() > 1 {
            let segment = u16::try_from(run.segment).expect("`datagrams_at_once` checks it");
            header.msg_controllen = write_segment(&mut self.control, segment) as _;
            header.msg_control = self.control.as_mut_ptr();
        }
        true
    }
}

/// One message, for a kernel that sends it later. It begins with the header.
#[repr(C)]
pub(in super::super) struct Outgoing {
    header: msghdr,
    pointed: Pointed,
}

const _: () = assert!(std::mem::offset_of!(Outgoing, header) == 0);

impl Outgoing {
    pub(in super::super) fn new() -> Outgoing {
        Outgoing {
            // SAFETY: zeros are a valid value of this structure: null pointers and lengths of zero.
            header: unsafe { MaybeUninit::zeroed().assume_init() },
            pointed: Pointed::empty(),
        }
    }

    /// Points the message to the first datagrams of the batch. Returns their number, and whether they are all; nothing if
    /// the socket cannot reach their peer.
    pub(in super::super) fn list(
        &mut self,
        socket: &DatagramSocket,
        batch: &DatagramBatch,
    ) -> Option<usize> {
        let run = batch.runs().next()?;
        let first = run.first(socket.datagrams_at_once(run));
        let pointed = self.pointed.point(&mut self.header, socket, first);
        pointed.then(|| first.count())
    }
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Outgoing")
    }
}

impl DatagramSocket {
    /// How many datagrams of the run one message takes: several if the kernel cuts them.
    fn datagrams_at_once(&self, run: Run<'_>) -> usize {
        if run.segment == 0 || run.segment > usize::from(self.segment_max.get()) {
            return 1;
        }
        (RUN_BYTES_MAX / run.segment).clamp(1, SEGMENTS_MAX)
    }

    /// The kernel did not take several datagrams of this size at once: from now on, it gets them one by one.
    pub(in super::super) fn cut_no_more(&self, batch: &DatagramBatch, error: &io::Error) {
        let segment = batch.runs().next().map_or(0, |run| run.segment);
        self.segment_max.set(match error.raw_os_error() {
            // Larger than the network takes, which only this size is known to be.
            Some(libc::EINVAL | libc::EMSGSIZE) => {
                u16::try_from(segment.saturating_sub(1)).unwrap_or(u16::MAX)
            }
            _ => 0,
        });
    }
}
