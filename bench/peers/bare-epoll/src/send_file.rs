//! Sends a file: for each event one `sendfile`.

use std::fs::File;
use std::io;
use std::net::TcpListener;

use bench_common::file::{self, FILE_BYTES, HEADER};
use bench_common::net;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::fs::sendfile;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags, accept_with, recv, send};
use slab::Slab;

const LISTENER: u64 = u64::MAX;

struct Connection {
    socket: OwnedFd,
    /// The part of the file that is sent, if the connection is sending it.
    sent: Option<u64>,
}

struct Server {
    file: File,
    epoll: OwnedFd,
    listener: TcpListener,
    connections: Slab<Connection>,
}

/// Answers each request with the file.
pub(crate) fn serve() -> io::Result<()> {
    let file = File::open(file::path()?)?;
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    let listener = net::listener()?;
    let data = EventData::new_u64(LISTENER);
    epoll::add(&epoll, &listener, data, EventFlags::IN)?;
    let mut server = Server {
        file,
        epoll,
        listener,
        connections: Slab::new(),
    };
    let mut events: Vec<Event> = Vec::with_capacity(1024);
    loop {
        events.clear();
        let room = rustix::buffer::spare_capacity(&mut events);
        match epoll::wait(&server.epoll, room, None) {
            Err(Errno::INTR) => continue,
            other => other?,
        };
        for event in &events {
            match event.data.u64() {
                LISTENER => server.accept()?,
                at => server.advance(usize::try_from(at).expect("we set it"))?,
            }
        }
    }
}

impl Server {
    fn accept(&mut self) -> io::Result<()> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = accept_with(&self.listener, flags)?;
        let place = self.connections.vacant_entry();
        let data = EventData::new_u64(place.key() as u64);
        epoll::add(&self.epoll, &socket, data, EventFlags::IN)?;
        place.insert(Connection { socket, sent: None });
        Ok(())
    }

    fn advance(&mut self, at: usize) -> io::Result<()> {
        let connection = &mut self.connections[at];
        let was_sending = connection.sent.is_some();
        // Close a connection that has failed like one that has ended. Closing also removes it from the epoll.
        if !connection.advance(&self.file).unwrap_or(false) {
            self.connections.remove(at);
            return Ok(());
        }
        let interest = match connection.sent {
            Some(_) => EventFlags::OUT,
            None => EventFlags::IN,
        };
        if connection.sent.is_some() != was_sending {
            let data = EventData::new_u64(at as u64);
            epoll::modify(&self.epoll, &connection.socket, data, interest)?;
        }
        Ok(())
    }
}

impl Connection {
    /// Takes a request, or sends as much of the file as the socket takes. Returns whether the connection goes on.
    fn advance(&mut self, file: &File) -> Result<bool, Errno> {
        if self.sent.is_none() {
            let mut request = [0; 1024];
            let (count, _) = recv(&self.socket, &mut request, RecvFlags::empty())?;
            if !file::is_request(&request[..count]) {
                return Ok(false);
            }
            send(&self.socket, HEADER, SendFlags::NOSIGNAL | SendFlags::MORE)?;
            self.sent = Some(0);
        }
        if let Some(sent) = &mut self.sent {
            let left = usize::try_from(FILE_BYTES - *sent).expect("it is 1 GiB");
            match sendfile(&self.socket, file, Some(sent), left) {
                Ok(_) | Err(Errno::AGAIN) => {}
                Err(error) => return Err(error),
            }
        }
        if self.sent == Some(FILE_BYTES) {
            self.sent = None;
        }
        Ok(true)
    }
}
