//! What the connections of a run send, and what they wait for.

use crate::args::{Args, Mode};

/// The request for the file.
const REQUEST: &[u8] = b"GET /file HTTP/1.1\r\nHost: bench\r\n\r\n";

/// The commands for Redis, each with the length of its reply.
const COMMANDS: [(&[u8], usize); 2] = [
    (
        b"*3\r\n$3\r\nSET\r\n$16\r\nkey:000000000042\r\n$3\r\nxxx\r\n",
        "+OK\r\n".len(),
    ),
    (
        b"*2\r\n$3\r\nGET\r\n$16\r\nkey:000000000042\r\n",
        "$3\r\nxxx\r\n".len(),
    ),
];

/// The behaviour of all connections of a run.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) mode: Mode,
    /// What a connection exchanges with the server, one after the other, again and again.
    pub(crate) exchanges: Vec<Exchange>,
    /// As how many messages an exchange counts.
    pub(crate) messages: u64,
}

#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) message: Vec<u8>,
    /// Number of bytes that the server sends back; without the header in [`Mode::Fetch`].
    pub(crate) answer: usize,
}

impl Plan {
    /// Plans messages of `size` bytes; for [`Mode::Fetch`] files of this size, and for [`Mode::Redis`] as many commands at
    /// a time as are to be in flight.
    pub(crate) fn new(args: &Args) -> Plan {
        let size = args.size.max(1);
        let (exchanges, messages) = match args.mode {
            Mode::Redis => {
                let commands = args.in_flight.max(1);
                let exchanges = COMMANDS.map(|(command, reply)| Exchange {
                    message: command.repeat(commands),
                    answer: reply * commands,
                });
                (Vec::from(exchanges), commands as u64)
            }
            mode => {
                let message = match mode {
                    Mode::Fetch => REQUEST.to_vec(),
                    _ => vec![b'x'; size],
                };
                let answer = size;
                (vec![Exchange { message, answer }], 1)
            }
        };
        Plan {
            mode: args.mode,
            exchanges,
            messages,
        }
    }
}
