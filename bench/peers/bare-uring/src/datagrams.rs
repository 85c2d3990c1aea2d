//! UDP: multishot receive into the ring of buffers, and a send from the same buffer.

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;

use bench_common::datagrams::sockets;
use bench_common::net::BUFFER_BYTES;
use io_uring::types::RecvMsgOut;
use io_uring::{IoUring, cqueue};

use crate::buffers::Buffers;
use crate::ring::{self, Tag};

struct Server {
    ring: IoUring,
    buffers: Buffers,
    sockets: Vec<UdpSocket>,
    header: &'static libc::msghdr,
    /// Sockets whose receive ended because no buffer was free.
    starved: Vec<u32>,
}

/// Sends back each datagram.
pub(crate) fn echo(count: u32) -> io::Result<()> {
    let ring = ring::open()?;
    let buffers = Buffers::register(&ring, BUFFER_BYTES)?;
    // SAFETY: all zeros are a valid header, of an empty message.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_namelen = size_of::<libc::sockaddr_in>() as u32;
    let server = Server {
        ring,
        buffers,
        sockets: sockets(count)?,
        header: Box::leak(Box::new(header)),
        starved: (0..count).collect(),
    };
    server.run()
}

impl Server {
    fn run(mut self) -> io::Result<()> {
        let mut completions: Vec<cqueue::Entry> = Vec::with_capacity(1024);
        loop {
            if !self.starved.is_empty() && !self.buffers.is_exhausted() {
                for at in std::mem::take(&mut self.starved) {
                    let socket = self.sockets[at as usize].as_raw_fd();
                    let receive = ring::receive_datagrams(socket, at, self.header);
                    ring::push(&mut self.ring, &receive)?;
                }
            }
            match self.ring.submit_and_wait(1) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            };
            completions.extend(self.ring.completion());
            for completion in completions.drain(..) {
                self.complete(&completion)?;
            }
        }
    }

    fn complete(&mut self, completion: &cqueue::Entry) -> io::Result<()> {
        let result = completion.result();
        match Tag::decode(completion.user_data()) {
            Tag::Receive(at) => {
                if let Some(id) = cqueue::buffer_select(completion.flags()) {
                    self.buffers.take();
                    self.send_back(at, id, result)?;
                } else if result < 0 && result != -libc::ENOBUFS {
                    return Err(io::Error::from_raw_os_error(-result));
                }
                if !cqueue::more(completion.flags()) {
                    self.starved.push(at);
                }
            }
            Tag::Send(id) => {
                if result < 0 {
                    return Err(io::Error::from_raw_os_error(-result));
                }
                self.buffers.give(u16::try_from(id).expect("we set it"));
            }
            Tag::Accept | Tag::Close => {}
        }
        Ok(())
    }

    fn send_back(&mut self, at: u32, id: u16, received: i32) -> io::Result<()> {
        let len = usize::try_from(received).expect("data was received");
        let address = self.buffers.address(id);
        // SAFETY: the kernel has filled so much of the buffer, and does not write to it until it is given back.
        let filled = unsafe { std::slice::from_raw_parts(address, len) };
        let message = RecvMsgOut::parse(filled, self.header)
            .map_err(|()| io::Error::other("the message is shorter than its header"))?;
        let socket = self.sockets[at as usize].as_raw_fd();
        let send = ring::send_datagram(socket, id, message.payload_data(), message.name_data());
        ring::push(&mut self.ring, &send)
    }
}
