//! The memory in which Windows and the port describe a datagram to each other: its peer, and what is told besides.

use std::net::SocketAddr;
use std::ptr;

use socket2::SockAddr;
use windows_sys::Win32::Networking::WinSock::{SOCKADDR, WSABUF, WSAMSG};

use super::address::socket_address;
use super::control_messages::{self, RECEIVED_BYTES, SEGMENTS_BYTES};
use crate::port::buffer::Lease;
use crate::port::datagram::PacketInfo;

const WORD_BYTES: usize = size_of::<usize>();
/// Room for the address of an internet socket, which has at most 28 bytes.
const SENDER_WORDS: usize = 32 / WORD_BYTES;
const CONTROL_WORDS: usize = RECEIVED_BYTES.div_ceil(WORD_BYTES);

const _: () = assert!(SEGMENTS_BYTES <= RECEIVED_BYTES);

/// The description of one datagram. It points into itself: it is boxed, so that it stays where it is.
#[derive(Default)]
pub(super) struct MessageMemory {
    message: WSAMSG,
    buffer: WSABUF,
    /// The sender of a received datagram, in whole words for its alignment.
    sender: [usize; SENDER_WORDS],
    /// The receiver of a datagram to send.
    receiver: Option<SockAddr>,
    control: [usize; CONTROL_WORDS],
}

impl MessageMemory {
    /// Prepares to receive a datagram into `lease`, with control messages or without.
    ///
    /// The result points to this memory and the lease.
    pub(super) fn describe_receive(&mut self, lease: &Lease, with_control: bool) -> *mut WSAMSG {
        self.sender = [0; SENDER_WORDS];
        self.buffer.len = u32::try_from(lease.capacity()).unwrap_or(u32::MAX);
        self.buffer.buf = lease.as_ptr().as_ptr();
        let sender = self.sender.as_mut_ptr().cast();
        let control = if with_control { RECEIVED_BYTES } else { 0 };
        self.describe(sender, size_of_val(&self.sender), control)
    }

    /// Prepares to send `bytes` to `receiver`, or to the peer that the socket is connected to. With a size of segments,
    /// Windows cuts them into several datagrams.
    ///
    /// The result points to this memory and the bytes, which Windows only reads.
    pub(super) fn describe_send(
        &mut self,
        bytes: &[u8],
        receiver: Option<SocketAddr>,
        segment: Option<u32>,
    ) -> *mut WSAMSG {
        self.buffer.len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.buffer.buf = bytes.as_ptr().cast_mut();
        let mut control = 0;
        if let Some(segment) = segment {
            let words = control_messages::segments(segment);
            let (words, _) = words.as_chunks();
            for (word, &bytes) in self.control.iter_mut().zip(words) {
                *word = usize::from_ne_bytes(bytes);
            }
            control = SEGMENTS_BYTES;
        }
        self.receiver = receiver.map(SockAddr::from);
        match &self.receiver {
            Some(address) => {
                let length = usize::try_from(address.len()).expect("an address is small");
                let address = address.as_ptr().cast_mut().cast();
                self.describe(address, length, control)
            }
            None => self.describe(ptr::null_mut(), 0, control),
        }
    }

    /// Writes the message: it points to an address of `length` bytes, and to the first `control` bytes of control
    /// messages.
    fn describe(&mut self, address: *mut SOCKADDR, length: usize, control: usize) -> *mut WSAMSG {
        self.message = WSAMSG {
            name: address,
            namelen: length.try_into().expect("an address is small"),
            lpBuffers: &raw mut self.buffer,
            dwBufferCount: 1,
            Control: WSABUF {
                len: control.try_into().expect("control messages are small"),
                buf: self.control.as_mut_ptr().cast(),
            },
            dwFlags: 0,
        };
        &raw mut self.message
    }

    /// The sender of a received datagram. Without a datagram, none, or the peer of an error.
    pub(super) fn sender(&self) -> Option<SocketAddr> {
        socket_address(self.sender.map(usize::to_ne_bytes).as_flattened())
    }

    /// Reads the control messages.
    pub(super) fn packet_info(&self) -> PacketInfo {
        let length = usize::try_from(self.message.Control.len).unwrap_or(0);
        let control = self.control.map(usize::to_ne_bytes);
        let control = control.as_flattened();
        control_messages::read(&control[..length.min(control.len())])
    }
}
