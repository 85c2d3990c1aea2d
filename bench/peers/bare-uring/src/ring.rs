//! Builds requests, and matches completions to them.

use std::io;
use std::os::fd::RawFd;

use io_uring::squeue::Entry;
use io_uring::{IoUring, opcode, types::Fd};

use crate::buffers::GROUP;

const SUBMISSIONS: u32 = 1024;
const COMPLETIONS: u32 = 8192;

/// The kind of a request and its connection, encoded in the user data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tag {
    Accept,
    Receive(u32),
    Send(u32),
    Close,
}

impl Tag {
    fn encode(self) -> u64 {
        let (kind, at) = match self {
            Tag::Accept => (0, 0),
            Tag::Receive(at) => (1, at),
            Tag::Send(at) => (2, at),
            Tag::Close => (3, 0),
        };
        kind << 32 | u64::from(at)
    }

    pub(crate) fn decode(data: u64) -> Tag {
        // The lower half is the index of the connection.
        let at = data as u32;
        match data >> 32 {
            0 => Tag::Accept,
            1 => Tag::Receive(at),
            2 => Tag::Send(at),
            _ => Tag::Close,
        }
    }
}

pub(crate) fn open() -> io::Result<IoUring> {
    IoUring::builder()
        .setup_clamp()
        .setup_submit_all()
        .setup_cqsize(COMPLETIONS)
        .setup_single_issuer()
        .setup_defer_taskrun()
        .build(SUBMISSIONS)
}

pub(crate) fn accept(listener: RawFd) -> Entry {
    opcode::AcceptMulti::new(Fd(listener))
        .flags(libc::SOCK_CLOEXEC)
        .build()
        .user_data(Tag::Accept.encode())
}

pub(crate) fn receive(socket: RawFd, at: u32) -> Entry {
    opcode::RecvMulti::new(Fd(socket), GROUP)
        .build()
        .user_data(Tag::Receive(at).encode())
}

/// Receives datagrams with their senders. `header` tells the length of an address.
pub(crate) fn receive_datagrams(socket: RawFd, at: u32, header: &'static libc::msghdr) -> Entry {
    opcode::RecvMsgMulti::new(Fd(socket), header, GROUP)
        .build()
        .user_data(Tag::Receive(at).encode())
}

/// Sends a datagram from the buffer `id`, which also holds the address.
pub(crate) fn send_datagram(socket: RawFd, id: u16, bytes: &[u8], name: &[u8]) -> Entry {
    let [len, name_len] = [bytes.len(), name.len()].map(|len| len as u32);
    opcode::Send::new(Fd(socket), bytes.as_ptr(), len)
        .dest_addr(name.as_ptr().cast())
        .dest_addr_len(name_len)
        .build()
        .user_data(Tag::Send(u32::from(id)).encode())
}

/// Sends all bytes, or fails.
pub(crate) fn send(socket: RawFd, at: u32, bytes: *const u8, len: u32) -> Entry {
    opcode::Send::new(Fd(socket), bytes, len)
        .flags(libc::MSG_NOSIGNAL | libc::MSG_WAITALL)
        .build()
        .user_data(Tag::Send(at).encode())
}

pub(crate) fn close(socket: RawFd) -> Entry {
    opcode::Close::new(Fd(socket))
        .build()
        .user_data(Tag::Close.encode())
}

/// Reads the counter of an eventfd.
pub(crate) fn read_number(event: RawFd, number: *mut u64) -> Entry {
    let len = u32::try_from(size_of::<u64>()).expect("it is 8");
    opcode::Read::new(Fd(event), number.cast(), len).build()
}

/// Puts a request into the queue; submits the queue first if it is full.
pub(crate) fn push(ring: &mut IoUring, entry: &Entry) -> io::Result<()> {
    loop {
        // SAFETY: everything that entries point to lives as long as the process: the buffers, the data of a source,
        // and the counter of an eventfd.
        if unsafe { ring.submission().push(entry) }.is_ok() {
            return Ok(());
        }
        ring.submit()?;
    }
}
