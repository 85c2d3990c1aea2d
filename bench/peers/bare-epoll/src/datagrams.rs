//! UDP: for each event one `recvmmsg`, and one `sendmmsg` with the same messages.

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

use bench_common::datagrams::sockets;
use libc::{MSG_DONTWAIT, c_uint, iovec, mmsghdr, sockaddr_in, socklen_t};
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

/// The most messages of a call.
const BATCH_MAX: usize = 32;
/// Room for a message; there are none above 64 bytes.
const BUFFER_BYTES: usize = 2048;

/// Sends back each datagram.
pub(crate) fn echo(count: u32) -> io::Result<()> {
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    let sockets = sockets(count)?;
    for (at, socket) in sockets.iter().enumerate() {
        epoll::add(
            &epoll,
            socket,
            EventData::new_u64(at as u64),
            EventFlags::IN,
        )?;
    }
    let mut batch = Batch::new();
    let mut events: Vec<Event> = Vec::with_capacity(1024);
    loop {
        events.clear();
        match epoll::wait(&epoll, rustix::buffer::spare_capacity(&mut events), None) {
            Err(Errno::INTR) => continue,
            other => other?,
        };
        for event in &events {
            let at = usize::try_from(event.data.u64()).expect("we set it");
            batch.receive(&sockets[at])?;
            batch.send_back(&sockets[at])?;
        }
    }
}

/// The messages of a call. Its headers point to the other fields, which do not move: they are boxed.
struct Batch {
    headers: Box<[mmsghdr]>,
    parts: Box<[iovec]>,
    _bytes: Box<[[u8; BUFFER_BYTES]]>,
    _names: Box<[sockaddr_in]>,
    /// The number of messages that there are now.
    count: usize,
}

impl Batch {
    fn new() -> Batch {
        let mut bytes = vec![[0; BUFFER_BYTES]; BATCH_MAX].into_boxed_slice();
        // SAFETY: all zeros are a valid address.
        let name: sockaddr_in = unsafe { std::mem::zeroed() };
        let mut names = vec![name; BATCH_MAX].into_boxed_slice();
        let parts = bytes.iter_mut().map(|bytes| iovec {
            iov_base: bytes.as_mut_ptr().cast(),
            iov_len: bytes.len(),
        });
        let mut parts: Box<[iovec]> = parts.collect();
        let headers = parts.iter_mut().zip(&mut names).map(|(part, name)| {
            // SAFETY: all zeros are a valid header, of an empty message.
            let mut header: mmsghdr = unsafe { std::mem::zeroed() };
            header.msg_hdr.msg_name = (&raw mut *name).cast();
            header.msg_hdr.msg_iov = part;
            header.msg_hdr.msg_iovlen = 1;
            header
        });
        let headers = headers.collect();
        Batch {
            headers,
            parts,
            _bytes: bytes,
            _names: names,
            count: 0,
        }
    }

    /// Receives up to twice as many messages as the last time: a call that asks for more than there are looks twice.
    fn receive(&mut self, socket: &UdpSocket) -> io::Result<()> {
        let most = (self.count * 2).clamp(1, BATCH_MAX);
        for (header, part) in self.headers[..most].iter_mut().zip(&mut self.parts) {
            header.msg_hdr.msg_namelen = NAME_BYTES;
            part.iov_len = BUFFER_BYTES;
        }
        let headers = self.headers.as_mut_ptr();
        let (socket, nowhere) = (socket.as_raw_fd(), std::ptr::null_mut());
        // SAFETY: the headers point to buffers and names with the lengths that they tell.
        let count =
            unsafe { libc::recvmmsg(socket, headers, most as c_uint, MSG_DONTWAIT, nowhere) };
        self.count = usize::try_from(count).unwrap_or(0);
        if count < 0 {
            let error = io::Error::last_os_error();
            return match error.kind() {
                io::ErrorKind::WouldBlock => Ok(()),
                _ => Err(error),
            };
        }
        for (header, part) in self.headers[..self.count].iter().zip(&mut self.parts) {
            part.iov_len = header.msg_len as usize;
        }
        Ok(())
    }

    /// Sends each message to its sender.
    fn send_back(&mut self, socket: &UdpSocket) -> io::Result<()> {
        let mut sent = 0;
        while sent < self.count {
            let rest = &mut self.headers[sent..self.count];
            let (first, count) = (rest.as_mut_ptr(), rest.len() as c_uint);
            // SAFETY: the headers point to buffers and names with the lengths that they tell.
            let done = unsafe { libc::sendmmsg(socket.as_raw_fd(), first, count, MSG_DONTWAIT) };
            match usize::try_from(done) {
                Ok(done) => sent += done,
                Err(_) if io::Error::last_os_error().kind() == io::ErrorKind::WouldBlock => {
                    poll(&mut [PollFd::new(socket, PollFlags::OUT)], None)?;
                }
                Err(_) => return Err(io::Error::last_os_error()),
            }
        }
        Ok(())
    }
}

const NAME_BYTES: socklen_t = size_of::<sockaddr_in>() as socklen_t;
