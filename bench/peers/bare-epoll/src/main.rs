//! The floor for readiness: a level-triggered epoll, and for each event a read, a write, or both.

mod children;
mod clocks;
mod connection;
mod datagrams;
mod send_file;

use std::io;
use std::os::unix::net::UnixListener;

use bench_common::net::{self, PIECE_BYTES};
use bench_common::{Workload, tell};
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with};
use slab::Slab;

use crate::connection::{Connection, Next, Role};

const EVENTS_MAX: usize = 1024;
const LISTENER: u64 = u64::MAX;

fn main() -> io::Result<()> {
    match Workload::from_arguments() {
        Workload::Echo => Server::new(Role::Echo, tcp()?)?.run(),
        Workload::Sink => Server::new(Role::Sink, tcp()?)?.run(),
        Workload::Source => Server::new(Role::Source, tcp()?)?.run(),
        Workload::Both => Server::new(Role::Both, tcp()?)?.run(),
        Workload::UnixEcho => Server::new(Role::Echo, unix()?)?.run(),
        Workload::UnixSink => Server::new(Role::Sink, unix()?)?.run(),
        Workload::UnixSource => Server::new(Role::Source, unix()?)?.run(),
        Workload::UdpEcho { sockets } => datagrams::echo(sockets),
        Workload::SendFile => send_file::serve(),
        Workload::Spawn { at_a_time } => children::spawn(at_a_time),
        Workload::Timers => clocks::timers(),
        Workload::Threads => clocks::threads(),
        Workload::ChildStdout => children::stdout(),
        Workload::Pipeline => children::pipeline(),
        Workload::Children => children::echo(),
        Workload::ChildStdoutSocket
        | Workload::UdpSink
        | Workload::UdpSource
        | Workload::PipeEcho
        | Workload::Outputs
        | Workload::Task(_)
        | Workload::Redis
        | Workload::Proxy
        | Workload::Hyper { .. } => {
            tell::unsupported();
            Ok(())
        }
    }
}

fn tcp() -> io::Result<OwnedFd> {
    net::listener().map(OwnedFd::from)
}

fn unix() -> io::Result<OwnedFd> {
    let listener = UnixListener::bind(net::unix_path())?;
    net::tell_unix();
    Ok(listener.into())
}

struct Server {
    role: Role,
    epoll: OwnedFd,
    listener: OwnedFd,
    connections: Slab<Connection>,
    buffer: Vec<u8>,
}

impl Server {
    fn new(role: Role, listener: OwnedFd) -> io::Result<Server> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(
            &epoll,
            &listener,
            EventData::new_u64(LISTENER),
            EventFlags::IN,
        )?;
        Ok(Server {
            role,
            epoll,
            listener,
            connections: Slab::new(),
            buffer: vec![b'x'; PIECE_BYTES],
        })
    }

    fn run(mut self) -> io::Result<()> {
        let mut events: Vec<Event> = Vec::with_capacity(EVENTS_MAX);
        loop {
            events.clear();
            match epoll::wait(
                &self.epoll,
                rustix::buffer::spare_capacity(&mut events),
                None,
            ) {
                Err(Errno::INTR) => continue,
                other => other?,
            };
            for event in &events {
                match event.data.u64() {
                    LISTENER => self.accept()?,
                    at => self.advance(usize::try_from(at).expect("we set it"), event.flags)?,
                }
            }
        }
    }

    /// Accepts one connection. If more wait, the epoll reports the listener again.
    fn accept(&mut self) -> io::Result<()> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = accept_with(&self.listener, flags)?;
        let place = self.connections.vacant_entry();
        let data = EventData::new_u64(place.key() as u64);
        epoll::add(&self.epoll, &socket, data, interest(self.role, false))?;
        place.insert(Connection::new(socket));
        Ok(())
    }

    fn advance(&mut self, at: usize, ready: EventFlags) -> io::Result<()> {
        let connection = &mut self.connections[at];
        let was_blocked = connection.is_blocked();
        let next = match self.role {
            Role::Both => connection.both(ready, &mut self.buffer),
            role => connection.advance(role, &mut self.buffer),
        };
        if next == Ok(Next::Wait) {
            let blocked = connection.is_blocked();
            if blocked != was_blocked {
                let data = EventData::new_u64(at as u64);
                let interest = interest(self.role, blocked);
                epoll::modify(&self.epoll, &connection.socket, data, interest)?;
            }
        } else {
            // Close a connection that has failed like one that has ended. Closing also removes it from the epoll.
            self.connections.remove(at);
        }
        Ok(())
    }
}

/// The events to wait for. While the peer does not read the echo, the connection reads no more.
fn interest(role: Role, blocked: bool) -> EventFlags {
    match role {
        Role::Both => EventFlags::IN | EventFlags::OUT,
        Role::Source => EventFlags::OUT,
        Role::Echo | Role::Sink if blocked => EventFlags::OUT,
        Role::Echo | Role::Sink => EventFlags::IN,
    }
}
