//! Receiving several datagrams in one call.

use std::io;
use std::mem::MaybeUninit;
use std::rc::Rc;

use libc::iovec;

use super::super::buffer::{Lease, Pool};
use super::super::datagram::{DatagramError, Datagrams, Message, SpareBatches};
use super::control::Control;
use super::name::Name;
use super::socket::DatagramSocket;
use super::system::{self, Header};
use crate::os::Address;

/// The most messages in one call.
const MESSAGES_MAX: usize = 16;

/// The memory for one message: all that UDP carries.
const UDP_BYTES: usize = 64 * 1024;

/// The memory for one message of a UNIX socket: as large as Linux lets one be unless it is set up otherwise.
const UNIX_BYTES: usize = 256 * 1024;

/// Memory for a call that receives, and what the kernel writes besides the payload. Calls on all sockets share it.
pub(in super::super) struct Tray {
    spare: Rc<SpareBatches>,
    udp: Slots,
    unix: Slots,
    names: Box<[Name; MESSAGES_MAX]>,
    controls: Box<[Control; MESSAGES_MAX]>,
    pieces: Box<[iovec; MESSAGES_MAX]>,
    headers: Box<[Header; MESSAGES_MAX]>,
    /// The last sender with a name, which the next datagram of the same sender shares.
    named: Option<Address>,
}

/// The result of a call.
pub(in super::super) struct Arrived {
    /// The datagrams, if one was whole.
    pub(in super::super) datagrams: Option<Datagrams>,
    /// Whether nothing was left.
    pub(in super::super) drained: bool,
    /// The number of bytes.
    pub(in super::super) bytes: usize,
}

/// Memory for payloads: the first ones are leased already.
struct Slots {
    pool: Rc<Pool>,
    leases: Vec<Lease>,
}

impl Slots {
    fn new(bytes: usize) -> Slots {
        Slots {
            pool: Pool::new(bytes, 2 * MESSAGES_MAX),
            leases: Vec::new(),
        }
    }

    fn fill_up(&mut self, count: usize) {
        while self.leases.len() < count {
            self.leases.push(self.pool.lease());
        }
    }
}

impl Tray {
    pub(in super::super) fn new() -> Tray {
        let (pieces, headers) = (MaybeUninit::zeroed(), MaybeUninit::zeroed());
        // SAFETY: zeros are a valid value of these structures: null pointers and lengths of zero.
        let pieces: [iovec; MESSAGES_MAX] = unsafe { pieces.assume_init() };
        // SAFETY: as above.
        let headers: [Header; MESSAGES_MAX] = unsafe { headers.assume_init() };
        Tray {
            spare: Rc::default(),
            udp: Slots::new(UDP_BYTES),
            unix: Slots::new(UNIX_BYTES),
            names: Box::new([Name::empty(); MESSAGES_MAX]),
            controls: Box::new([Control::empty(); MESSAGES_MAX]),
            pieces: Box::new(pieces),
            headers: Box::new(headers),
            named: None,
        }
    }

    /// Receives what has arrived, without blocking: several datagrams if the last call brought several. Appends to
    /// `errors` for each datagram that was too large.
    pub(in super::super) fn receive(
        &mut self,
        socket: &DatagramSocket,
        errors: &mut impl Extend<DatagramError>,
    ) -> io::Result<Arrived> {
        // A call for two tells that nothing is left behind the first one.
        let count = (2 * usize::from(socket.received_last.get())).clamp(2, MESSAGES_MAX);
        self.prepare(socket, count);
        // SAFETY: `prepare` has pointed the headers to memory that `self` owns, and nobody else uses it during the call.
        let received = unsafe { system::receive(socket, &mut self.headers[..count]) }?;
        let last = u8::try_from(received).expect("a call has few messages");
        socket.received_last.set(last);
        let (mut datagrams, mut bytes) = (Datagrams::new(&self.spare), 0);
        for at in 0..received {
            match self.take(socket, at, &mut datagrams) {
                Ok(count) => bytes += count,
                Err(error) => errors.extend([error]),
            }
        }
        Ok(Arrived {
            datagrams: Some(datagrams).filter(|datagrams| !datagrams.is_empty()),
            drained: received < count,
            bytes,
        })
    }

    /// Points the first `count` headers to memory.
    fn prepare(&mut self, socket: &DatagramSocket, count: usize) {
        let slots = if socket.is_udp() {
            &mut self.udp
        } else {
            &mut self.unix
        };
        slots.fill_up(count);
        for (at, lease) in slots.leases.iter().enumerate().take(count) {
            let piece = &mut self.pieces[at];
            piece.iov_base = lease.as_ptr().as_ptr().cast();
            piece.iov_len = lease.capacity();
            let header = &mut self.headers[at].msg_hdr;
            header.msg_iov = piece;
            header.msg_iovlen = 1;
            header.msg_name = (&raw mut self.names[at]).cast();
            header.msg_namelen = Name::SIZE;
            header.msg_control = self.controls[at].as_mut_ptr();
            header.msg_controllen = Control::SIZE as _;
            header.msg_flags = 0;
        }
    }

    /// Appends the message `at`, which was received, to `datagrams`. Returns the number of its bytes.
    fn take(
        &mut self,
        socket: &DatagramSocket,
        at: usize,
        datagrams: &mut Datagrams,
    ) -> Result<usize, DatagramError> {
        let slots = if socket.is_udp() {
            &mut self.udp
        } else {
            &mut self.unix
        };
        let header = &self.headers[at];
        let (name, len) = (&self.names[at], header.msg_hdr.msg_namelen);
        let sender = name.read(len, self.named.as_ref());
        if matches!(sender, Some(Address::Unix(_))) && sender != self.named {
            self.named.clone_from(&sender);
        }
        if header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0 {
            return Err(too_large(sender));
        }
        // SAFETY: the kernel has filled this header, and `self` still has its control data.
        let said = unsafe { system::said(&header.msg_hdr) };
        let info = socket.packet_info.then_some(said.info);
        let bytes = header.msg_len as usize;
        if Datagrams::copies(bytes) {
            let payload = &slots.leases[at].as_mut_slice()[..bytes];
            datagrams.push_copy(payload, said.segment, sender, info);
        } else {
            let lease = std::mem::replace(&mut slots.leases[at], slots.pool.lease());
            datagrams.push(Message {
                memory: lease.filled(bytes),
                start: 0,
                segment: said.segment,
                sender,
                info,
            });
        }
        Ok(bytes)
    }
}

/// The error of a datagram that did not fit in the memory for it.
pub(in super::super) fn too_large(sender: Option<Address>) -> DatagramError {
    let source = io::Error::from_raw_os_error(libc::EMSGSIZE);
    DatagramError::new("recvmsg", sender, source)
}
