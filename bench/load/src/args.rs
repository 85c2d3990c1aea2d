//! What was typed.

use std::net::SocketAddr;
use std::time::Duration;

use clap::{Parser, ValueEnum};

/// Drives a TCP server and reports what it achieved.
#[derive(Debug, Parser)]
#[command(name = "tidewaiter-load", version)]
pub(crate) struct Args {
    /// Where the server listens
    pub(crate) address: SocketAddr,
    /// What the connections do
    #[arg(long, value_enum, default_value_t = Mode::Echo)]
    pub(crate) mode: Mode,
    /// How many connections at a time
    #[arg(long, default_value_t = 1)]
    pub(crate) connections: usize,
    /// Bytes in a message
    #[arg(long, default_value_t = 64)]
    pub(crate) size: usize,
    /// Time before the measured time
    #[arg(long, value_name = "MS", default_value = "500", value_parser = milliseconds)]
    pub(crate) warm_up: Duration,
    /// The measured time
    #[arg(long, value_name = "MS", default_value = "2000", value_parser = milliseconds)]
    pub(crate) duration: Duration,
    /// Ends the measured time after so many messages
    #[arg(long)]
    pub(crate) messages: Option<u64>,
    /// Speaks TLS, and trusts any certificate
    #[cfg(feature = "tls")]
    #[arg(long)]
    pub(crate) tls: bool,
}

/// What a connection does, from its first to its last message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// Sends a message, awaits as many bytes, and begins again
    Echo,
    /// Sends without end, awaits nothing
    Send,
    /// Receives without end
    Receive,
    /// Sends and receives without end, each for itself
    Both,
    /// As echo, with a new connection for each message
    Churn,
    /// Echoes one message, and is silent from then on
    Idle,
}

fn milliseconds(text: &str) -> Result<Duration, std::num::ParseIntError> {
    text.parse().map(Duration::from_millis)
}
