//! The command line.

use std::time::Duration;

use crate::address::Address;

use clap::{Parser, ValueEnum};

/// Drives a server, and reports rates and latencies.
#[derive(Debug, Parser)]
#[command(name = "tidewaiter-load", version)]
pub(crate) struct Args {
    /// Address of the server: `HOST:PORT`, `unix:PATH`, or `udp:HOST:PORT`
    pub(crate) address: Address,
    /// Behaviour of the connections
    #[arg(long, value_enum, default_value_t = Mode::Echo)]
    pub(crate) mode: Mode,
    /// Number of simultaneous connections, or of UDP sockets
    #[arg(long, default_value_t = 1)]
    pub(crate) connections: usize,
    /// Number of the server's UDP sockets: at the port of the address, each on its own address of the loopback
    #[arg(long, default_value_t = 1)]
    pub(crate) servers: u32,
    /// Number of messages that a UDP socket, or of commands that a client of Redis, has in flight
    #[arg(long, default_value_t = 1)]
    pub(crate) in_flight: usize,
    /// Size of a message, or of a fetched file, in bytes
    #[arg(long, default_value_t = 64)]
    pub(crate) size: usize,
    /// Time under load before the measured time
    #[arg(long, value_name = "MS", default_value = "500", value_parser = milliseconds)]
    pub(crate) warm_up: Duration,
    /// The measured time
    #[arg(long, value_name = "MS", default_value = "2000", value_parser = milliseconds)]
    pub(crate) duration: Duration,
    /// End the measured time after this many messages
    #[arg(long)]
    pub(crate) messages: Option<u64>,
    /// Use TLS, and trust any certificate
    #[cfg(feature = "tls")]
    #[arg(long)]
    pub(crate) tls: bool,
}

/// The behaviour of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// Send a message, wait for its echo, and repeat
    Echo,
    /// Send without end
    Send,
    /// Receive without end
    Receive,
    /// Send and receive without end, independently
    Both,
    /// Like echo, but with a new connection for each message
    Churn,
    /// Send one message, wait for its echo, and then stay silent
    Idle,
    /// Fetch the server's file by HTTP, again and again
    Fetch,
    /// Set and get a value of a server that speaks Redis' protocol, again and again
    Redis,
}

fn milliseconds(text: &str) -> Result<Duration, std::num::ParseIntError> {
    text.parse().map(Duration::from_millis)
}
