//! The loop of connections: connects, warms up, measures, reports.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::address::Address;
use crate::args::Args;
use crate::connection::{Connection, Next};
use crate::link::{self, Link, Linker};
use crate::plan::Plan;
use crate::say;
use crate::tally::Tally;

/// Churn spreads over this many addresses of the loopback: one has about 28000 ports, and each closed connection
/// occupies one for a minute.
const LOOPBACK_ADDRESSES: u8 = 200;

const BUFFER_BYTES: usize = 256 * 1024;

pub(crate) struct Load<'a> {
    args: &'a Args,
    plan: Plan,
    poll: Poll,
    linker: Linker,
    connections: Vec<Connection>,
    connected: u64,
    /// Connections that can go on without waiting for the poller.
    unfinished: Vec<usize>,
    tally: Tally,
}

impl Load<'_> {
    pub(crate) fn new(args: &Args) -> io::Result<Load<'_>> {
        Ok(Load {
            args,
            plan: Plan::new(args),
            poll: Poll::new()?,
            linker: Linker::new(args)?,
            connections: Vec::new(),
            connected: 0,
            unfinished: Vec::new(),
            tally: Tally::default(),
        })
    }

    pub(crate) fn run(mut self) -> io::Result<()> {
        for at in 0..self.args.connections {
            // Connect one after the other, because all at once could overflow the server's queue.
            let link = match &self.args.address {
                Address::Unix(path) => link::connect_unix(path)?,
                Address::Tcp(address) | Address::Udp(address) => {
                    self.linker.link(link::connect_tcp(*address)?)?
                }
            };
            let connection = self.register(link, at)?;
            self.connections.push(connection);
        }
        self.drive(self.args.warm_up, None)?;
        self.tally = Tally::default();
        say("measuring")?;
        let begun = Instant::now();
        self.drive(self.args.duration, self.args.messages)?;
        say(&self.tally.report(begun.elapsed()))
    }

    /// Begins to connect again, and does not wait for it.
    fn reconnect(&mut self) -> io::Result<Link> {
        match &self.args.address {
            Address::Unix(path) => link::connect_unix(path),
            Address::Tcp(address) | Address::Udp(address) => {
                let address = self.spread(*address);
                self.linker.link(TcpStream::connect(address)?)
            }
        }
    }

    /// The address for the next connection.
    fn spread(&mut self, mut address: SocketAddr) -> SocketAddr {
        let turn = u8::try_from(self.connected % u64::from(LOOPBACK_ADDRESSES)).unwrap_or(0);
        self.connected += 1;
        if address.ip() == IpAddr::V4(Ipv4Addr::LOCALHOST) {
            address.set_ip(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 1 + turn)));
        }
        address
    }

    fn register(&mut self, link: Link, at: usize) -> io::Result<Connection> {
        let mut connection = Connection::new(link, &self.plan);
        let interest = Interest::READABLE | Interest::WRITABLE;
        let registry = self.poll.registry();
        registry.register(connection.link.socket(), Token(at), interest)?;
        Ok(connection)
    }

    /// Runs the connections for `duration`, or until `messages` are complete.
    fn drive(&mut self, duration: Duration, messages: Option<u64>) -> io::Result<()> {
        let end = Instant::now() + duration;
        let mut events = Events::with_capacity(1024);
        let mut buffer = vec![0; BUFFER_BYTES];
        while messages.is_none_or(|messages| self.tally.messages < messages) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let wait = if self.unfinished.is_empty() {
                left
            } else {
                Duration::ZERO
            };
            match self.poll.poll(&mut events, Some(wait)) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            }
            for at in std::mem::take(&mut self.unfinished) {
                self.advance(at, &mut buffer)?;
            }
            for event in &events {
                let Token(at) = event.token();
                self.connections[at].ready(event.is_readable(), event.is_writable());
                self.advance(at, &mut buffer)?;
            }
        }
        Ok(())
    }

    fn advance(&mut self, at: usize, buffer: &mut [u8]) -> io::Result<()> {
        let next = self.connections[at].advance(&self.plan, buffer, &mut self.tally)?;
        match next {
            Next::Wait => {}
            Next::Again if self.unfinished.contains(&at) => {}
            Next::Again => self.unfinished.push(at),
            Next::Replace => {
                let link = self.reconnect()?;
                let fresh = self.register(link, at)?;
                let mut old = std::mem::replace(&mut self.connections[at], fresh);
                self.poll.registry().deregister(old.link.socket())?;
            }
        }
        Ok(())
    }
}
