//! The server's loop.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use bench_common::net::{BUFFER_BYTES, PIECE_BYTES};
use io_uring::{IoUring, cqueue};
use slab::Slab;

use crate::buffers::Buffers;
use crate::connection::{Connection, Filled, Role};
use crate::ring::{self, Tag};

/// The data that a source sends again and again.
static PIECE: [u8; PIECE_BYTES] = [b'x'; PIECE_BYTES];

pub(crate) struct Server {
    role: Role,
    ring: IoUring,
    buffers: Buffers,
    listener: OwnedFd,
    connections: Slab<Connection>,
    /// Connections whose receive ended because no buffer was free.
    starved: Vec<u32>,
}

impl Server {
    pub(crate) fn new(role: Role, listener: OwnedFd) -> io::Result<Server> {
        let ring = ring::open()?;
        let bytes = match role {
            Role::Echo | Role::Source => BUFFER_BYTES,
            Role::Sink | Role::Both => PIECE_BYTES,
        };
        let buffers = Buffers::register(&ring, bytes)?;
        Ok(Server {
            role,
            ring,
            buffers,
            listener,
            connections: Slab::new(),
            starved: Vec::new(),
        })
    }

    pub(crate) fn run(mut self) -> io::Result<()> {
        ring::push(&mut self.ring, &ring::accept(self.listener.as_raw_fd()))?;
        let mut completions: Vec<cqueue::Entry> = Vec::with_capacity(1024);
        loop {
            match self.ring.submit_and_wait(1) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            };
            completions.extend(self.ring.completion());
            for completion in completions.drain(..) {
                self.complete(&completion)?;
            }
            if !self.starved.is_empty() && !self.buffers.is_exhausted() {
                for at in std::mem::take(&mut self.starved) {
                    self.receive(at)?;
                }
            }
        }
    }

    fn complete(&mut self, completion: &cqueue::Entry) -> io::Result<()> {
        let result = u32::try_from(completion.result());
        let more = cqueue::more(completion.flags());
        match Tag::decode(completion.user_data()) {
            Tag::Accept => self.accepted(completion.result(), more),
            Tag::Receive(at) => {
                let buffer = cqueue::buffer_select(completion.flags());
                let starving = completion.result() == -libc::ENOBUFS;
                let filled = buffer.map(|id| Filled {
                    id,
                    len: result.unwrap_or(0),
                });
                self.received(at, filled, more, starving)
            }
            Tag::Send(at) => self.sent(at, result.is_ok()),
            Tag::Close => Ok(()),
        }
    }

    fn accepted(&mut self, socket: i32, more: bool) -> io::Result<()> {
        if !more {
            ring::push(&mut self.ring, &ring::accept(self.listener.as_raw_fd()))?;
        }
        if socket < 0 {
            return Err(io::Error::from_raw_os_error(-socket));
        }
        let at = self.connections.insert(Connection::new(socket));
        let at = u32::try_from(at).expect("there are not so many descriptors");
        ring::push(&mut self.ring, &ring::receive(socket, at))?;
        if self.role.sends_pieces() {
            // This marks a send in flight. Its data is `PIECE`, not a buffer of the ring.
            self.connections[at as usize].sending = Some(Filled { id: 0, len: 0 });
            self.send_piece(at)?;
        }
        Ok(())
    }

    fn received(
        &mut self,
        at: u32,
        filled: Option<Filled>,
        more: bool,
        starving: bool,
    ) -> io::Result<()> {
        let connection = &mut self.connections[at as usize];
        connection.receiving = more;
        if filled.is_some() {
            self.buffers.take();
        }
        match filled {
            Some(filled) if self.role == Role::Echo && filled.len > 0 && !connection.ended => {
                connection.queue.push_back(filled);
            }
            Some(filled) => self.buffers.give(filled.id),
            None => connection.ended |= !starving,
        }
        connection.ended |= filled.is_some_and(|filled| filled.len == 0);
        if !more && !connection.ended {
            if starving {
                self.starved.push(at);
            } else {
                self.receive(at)?;
            }
        }
        self.go_on(at)
    }

    fn sent(&mut self, at: u32, succeeded: bool) -> io::Result<()> {
        let connection = &mut self.connections[at as usize];
        let sent = connection.sending.take();
        connection.ended |= !succeeded;
        if self.role.sends_pieces() {
            if !connection.ended {
                connection.sending = sent;
                return self.send_piece(at);
            }
        } else if let Some(sent) = sent {
            self.buffers.give(sent.id);
        }
        self.go_on(at)
    }

    /// Sends the next buffer, or closes the connection if it is over.
    fn go_on(&mut self, at: u32) -> io::Result<()> {
        let connection = &mut self.connections[at as usize];
        if connection.sending.is_none()
            && let Some(next) = connection.queue.pop_front()
        {
            connection.sending = Some(next);
            let address = self.buffers.address(next.id);
            let send = ring::send(connection.socket, at, address, next.len);
            return ring::push(&mut self.ring, &send);
        }
        if connection.is_over() {
            let socket = connection.socket;
            self.connections.remove(at as usize);
            self.starved.retain(|starved| *starved != at);
            ring::push(&mut self.ring, &ring::close(socket))?;
        }
        Ok(())
    }

    fn receive(&mut self, at: u32) -> io::Result<()> {
        let connection = &mut self.connections[at as usize];
        connection.receiving = true;
        ring::push(&mut self.ring, &ring::receive(connection.socket, at))
    }

    fn send_piece(&mut self, at: u32) -> io::Result<()> {
        let socket = self.connections[at as usize].socket;
        let len = u32::try_from(PIECE.len()).expect("it is 64 KiB");
        ring::push(&mut self.ring, &ring::send(socket, at, PIECE.as_ptr(), len))
    }
}
