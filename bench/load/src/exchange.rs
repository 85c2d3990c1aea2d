//! UDP echoes: sockets that send messages and wait for them to come back. On a loopback nothing may get lost.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token};

use crate::args::{Args, Mode};
use crate::say;
use crate::tally::Tally;
use crate::udp::{PATIENCE, connected, number_of};

/// The length of the number at the beginning of each message.
const NUMBER_BYTES: usize = size_of::<u64>();

/// Exchanges messages on all sockets, or a single one for each in flight in [`Mode::Idle`].
pub(crate) fn run(args: &Args, address: SocketAddr) -> io::Result<()> {
    let exchange = Exchange::new(args, address)?;
    match args.mode {
        Mode::Idle => exchange.idle(args),
        _ => exchange.run(args),
    }
}

/// All sockets of a run.
struct Exchange {
    poll: Poll,
    events: Events,
    clients: Vec<Client>,
    /// A message, and the place for an echo, which has room for one byte too much.
    message: Vec<u8>,
    echo: Vec<u8>,
    tally: Tally,
    /// Number of messages whose echoes are not there yet.
    outstanding: usize,
    /// Whether an echo is followed by the next message.
    goes_on: bool,
}

struct Client {
    socket: UdpSocket,
    flights: Vec<Flight>,
}

/// A message in flight. Its place in the list is the remainder of its number.
struct Flight {
    number: u64,
    begun: Instant,
}

impl Exchange {
    fn new(args: &Args, address: SocketAddr) -> io::Result<Exchange> {
        let poll = Poll::new()?;
        let mut clients = Vec::with_capacity(args.connections);
        for at in 0..args.connections {
            let server = u32::try_from(at).unwrap_or(u32::MAX) % args.servers.max(1);
            let mut socket = connected(server_at(address, server))?;
            let registry = poll.registry();
            registry.register(&mut socket, Token(at), Interest::READABLE)?;
            let flights = (0..args.in_flight.max(1) as u64).map(|number| Flight {
                number,
                begun: Instant::now(),
            });
            clients.push(Client {
                socket,
                flights: flights.collect(),
            });
        }
        let bytes = args.size.max(NUMBER_BYTES);
        Ok(Exchange {
            poll,
            events: Events::with_capacity(1024),
            clients,
            message: vec![b'x'; bytes],
            echo: vec![0; bytes + 1],
            tally: Tally::default(),
            outstanding: 0,
            goes_on: true,
        })
    }

    fn run(mut self, args: &Args) -> io::Result<()> {
        self.begin()?;
        self.drive(args.warm_up)?;
        self.tally = Tally::default();
        say("measuring")?;
        let begun = Instant::now();
        self.drive(args.duration)?;
        say(&self.tally.report(begun.elapsed()))?;
        self.drain()
    }

    /// Exchanges one message for each in flight, and then stays silent.
    fn idle(mut self, args: &Args) -> io::Result<()> {
        self.begin()?;
        self.drain()?;
        say("measuring")?;
        self.drive(args.duration)?;
        say(&self.tally.report(args.duration))
    }

    fn begin(&mut self) -> io::Result<()> {
        for client in &mut self.clients {
            for flight in &mut client.flights {
                flight.begun = Instant::now();
                send(&client.socket, flight.number, &mut self.message)?;
                self.outstanding += 1;
            }
        }
        Ok(())
    }

    /// Exchanges messages for `duration`.
    fn drive(&mut self, duration: Duration) -> io::Result<()> {
        let end = Instant::now() + duration;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            if !self.turn(left.min(PATIENCE))? && left >= PATIENCE {
                self.check()?;
            }
        }
    }

    /// Waits for the echoes of the messages in flight, and sends no more.
    fn drain(&mut self) -> io::Result<()> {
        self.goes_on = false;
        while self.outstanding > 0 {
            if !self.turn(PATIENCE)? {
                return self.check();
            }
        }
        Ok(())
    }

    fn check(&self) -> io::Result<()> {
        if self.outstanding == 0 {
            return Ok(());
        }
        let what = format!("{} datagrams are lost", self.outstanding);
        Err(io::Error::new(io::ErrorKind::TimedOut, what))
    }

    /// Waits for echoes, and handles them. Returns whether there were any.
    fn turn(&mut self, wait: Duration) -> io::Result<bool> {
        match self.poll.poll(&mut self.events, Some(wait)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(true),
            other => other?,
        }
        for event in &self.events {
            let Token(at) = event.token();
            let client = &mut self.clients[at];
            loop {
                let bytes = match client.socket.recv(&mut self.echo) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    other => other?,
                };
                let flight = taken(&mut client.flights, &self.echo[..bytes], self.message.len())?;
                let now = Instant::now();
                self.outstanding -= 1;
                self.tally.messages += 1;
                self.tally.bytes_sent += bytes as u64;
                self.tally.bytes_received += bytes as u64;
                self.tally.latencies.record(now - flight.begun);
                if self.goes_on {
                    flight.begun = now;
                    send(&client.socket, flight.number, &mut self.message)?;
                    self.outstanding += 1;
                }
            }
        }
        Ok(!self.events.is_empty())
    }
}

/// Finds the message of an echo, and gives it the number of its successor.
fn taken<'a>(flights: &'a mut [Flight], echo: &[u8], bytes: usize) -> io::Result<&'a mut Flight> {
    let count = flights.len() as u64;
    let number = number_of(echo).filter(|_| echo.len() == bytes);
    let flight = number.and_then(|number| {
        let place = usize::try_from(number % count).ok()?;
        flights.get_mut(place).filter(|one| one.number == number)
    });
    let flight = flight.ok_or_else(|| {
        let what = "the server sent a datagram that is no echo, or one twice";
        io::Error::new(io::ErrorKind::InvalidData, what)
    })?;
    flight.number += count;
    Ok(flight)
}

fn send(socket: &UdpSocket, number: u64, message: &mut [u8]) -> io::Result<()> {
    message[..NUMBER_BYTES].copy_from_slice(&number.to_le_bytes());
    socket.send(message).map(drop)
}

/// The address of a server's socket: the first one's, followed by the next addresses of the loopback.
fn server_at(first: SocketAddr, number: u32) -> SocketAddr {
    let mut address = first;
    if let IpAddr::V4(ip) = first.ip() {
        address.set_ip(Ipv4Addr::from(u32::from(ip) + number).into());
    }
    address
}
