//! One connection: its socket, the data to send, and the data to wait for.

use std::io::{self, Read, Write};
use std::time::Instant;

use crate::args::Mode;
use crate::link::Link;
use crate::plan::{Exchange, Plan};
use crate::tally::Tally;

/// Limit of reads and writes on one connection before the others get a turn.
const ROUNDS_MAX: usize = 32;

/// The end of the header of the response.
const HEADER_END: &[u8] = b"\r\n\r\n";

/// The next step of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Wait until the socket is ready.
    Wait,
    /// Go on after the other connections had a turn.
    Again,
    /// Replace the connection by a new one.
    Replace,
}

#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) link: Link,
    readable: bool,
    writable: bool,
    /// Number of exchanges so far, which chooses the next one from the plan.
    number: usize,
    /// Bytes of the message that are not sent yet.
    unsent: usize,
    /// Bytes of the answer that are not received yet.
    awaited: usize,
    /// The next bytes are the header of a response.
    header_awaited: bool,
    begun: Instant,
}

impl Connection {
    pub(crate) fn new(link: Link, plan: &Plan) -> Connection {
        let mut connection = Connection {
            link,
            readable: false,
            writable: false,
            number: 0,
            unsent: 0,
            awaited: 0,
            header_awaited: false,
            begun: Instant::now(),
        };
        connection.begin(plan);
        connection
    }

    fn begin(&mut self, plan: &Plan) {
        self.begun = Instant::now();
        self.unsent = match plan.mode {
            Mode::Receive => 0,
            _ => self.exchange(plan).message.len(),
        };
        self.awaited = self.exchange(plan).answer;
        self.header_awaited = plan.mode == Mode::Fetch;
    }

    fn exchange<'a>(&self, plan: &'a Plan) -> &'a Exchange {
        &plan.exchanges[self.number % plan.exchanges.len()]
    }

    /// Remembers readiness, because the poller reports it only once (edge-triggered).
    pub(crate) fn ready(&mut self, readable: bool, writable: bool) {
        self.readable |= readable;
        self.writable |= writable;
    }

    /// Sends and receives as much as the socket allows, up to a limit.
    pub(crate) fn advance(
        &mut self,
        plan: &Plan,
        buffer: &mut [u8],
        tally: &mut Tally,
    ) -> io::Result<Next> {
        for _ in 0..ROUNDS_MAX {
            self.send(plan, tally)?;
            if self.receive(plan, buffer, tally)? == Next::Replace {
                return Ok(Next::Replace);
            }
            if !self.readable && (!self.writable || self.unsent == 0) {
                return Ok(Next::Wait);
            }
        }
        Ok(Next::Again)
    }

    fn send(&mut self, plan: &Plan, tally: &mut Tally) -> io::Result<()> {
        if !self.writable || self.unsent == 0 {
            return Ok(());
        }
        let message = &self.exchange(plan).message;
        let rest = &message[message.len() - self.unsent..];
        let sent = self.link.write(rest).and_then(|sent| {
            self.link.flush()?;
            Ok(sent)
        });
        let Some(sent) = unless_blocked(sent)? else {
            self.writable = false;
            return Ok(());
        };
        tally.bytes_sent += sent as u64;
        self.unsent -= sent;
        if self.unsent == 0 && matches!(plan.mode, Mode::Send | Mode::Both) {
            tally.messages += 1;
            self.unsent = message.len();
        }
        Ok(())
    }

    fn receive(&mut self, plan: &Plan, buffer: &mut [u8], tally: &mut Tally) -> io::Result<Next> {
        if !self.readable {
            return Ok(Next::Wait);
        }
        let Some(count) = unless_blocked(self.link.read(buffer))? else {
            self.readable = false;
            return Ok(Next::Wait);
        };
        if count == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the server closed a connection",
            ));
        }
        tally.bytes_received += count as u64;
        if count < buffer.len() && self.link.short_read_is_last() {
            self.readable = false;
        }
        if !self.completes(plan, &buffer[..count])? {
            return Ok(Next::Wait);
        }
        tally.messages += plan.messages;
        tally.latencies.record(self.begun.elapsed());
        if plan.mode != Mode::Idle {
            self.number += 1;
            self.begin(plan);
        }
        match plan.mode {
            Mode::Churn => Ok(Next::Replace),
            _ => Ok(Next::Wait),
        }
    }

    /// Whether `bytes` complete the echo of a message.
    fn completes(&mut self, plan: &Plan, bytes: &[u8]) -> io::Result<bool> {
        match plan.mode {
            Mode::Send | Mode::Receive | Mode::Both => Ok(false),
            Mode::Echo | Mode::Churn | Mode::Idle | Mode::Fetch | Mode::Redis => {
                let header = if self.header_awaited {
                    header_length(bytes)?
                } else {
                    0
                };
                self.header_awaited = false;
                let left = self.awaited.checked_sub(bytes.len() - header);
                self.awaited = left.ok_or_else(|| {
                    io::Error::new(
                        io::ErrorKind::InvalidData,
                        "the server sent more than it received",
                    )
                })?;
                Ok(self.awaited == 0)
            }
        }
    }
}

/// The length of the header of a response, which must be a success and come in one piece.
fn header_length(bytes: &[u8]) -> io::Result<usize> {
    let end = bytes
        .windows(HEADER_END.len())
        .position(|part| part == HEADER_END)
        .filter(|_| bytes.starts_with(b"HTTP/1.1 200 "));
    end.map(|end| end + HEADER_END.len()).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            "the response does not begin with the header of a success",
        )
    })
}

/// Turns an error that means that the socket is not ready into `None`.
fn unless_blocked(result: io::Result<usize>) -> io::Result<Option<usize>> {
    match result {
        Ok(count) => Ok(Some(count)),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
