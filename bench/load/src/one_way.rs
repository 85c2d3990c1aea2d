//! UDP in one direction, with segmentation offload. The receiver acknowledges each batch, so that nothing gets lost.
//!
//! An acknowledgement is a datagram with the number of all datagrams received so far, eight bytes in little endian. The
//! acknowledgement of none at all asks the server to begin.

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token};
use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSocketState};

use crate::args::{Args, Mode};
use crate::say;
use crate::tally::Tally;
use crate::udp::{PATIENCE, connected, number_of};

/// Number of datagrams that are sent, and acknowledged, at once.
const BATCH: u64 = 40;
/// Number of datagrams in flight. As many fit into the default receive buffer of Linux, even one by one.
const WINDOW: u64 = 2 * BATCH;
/// Size of a buffer for datagrams that the kernel has coalesced.
const BUFFER_BYTES: usize = 64 * 1024;

/// Sends, or receives in [`Mode::Receive`].
pub(crate) fn run(args: &Args, address: SocketAddr) -> io::Result<()> {
    let mut socket = connected(address)?;
    let state = UdpSocketState::new((&socket).into())?;
    let poll = Poll::new()?;
    let interest = Interest::READABLE | Interest::WRITABLE;
    poll.registry().register(&mut socket, Token(0), interest)?;
    let stream = Stream {
        mode: args.mode,
        size: args.size,
        address,
        socket,
        state,
        poll,
        batch: vec![b'x'; args.size * usize::try_from(BATCH).unwrap_or(1)],
        sent: 0,
        acknowledged: 0,
        received: 0,
        tally: Tally::default(),
    };
    stream.run(args)
}

struct Stream {
    mode: Mode,
    size: usize,
    address: SocketAddr,
    socket: UdpSocket,
    state: UdpSocketState,
    poll: Poll,
    batch: Vec<u8>,
    /// Datagrams that we have sent, and those of them that the server has received.
    sent: u64,
    acknowledged: u64,
    /// Datagrams that we have received.
    received: u64,
    tally: Tally,
}

impl Stream {
    fn run(mut self, args: &Args) -> io::Result<()> {
        let mut buffers = vec![0; BATCH_SIZE * BUFFER_BYTES];
        if self.mode == Mode::Receive {
            self.acknowledge()?;
        }
        self.drive(args.warm_up, &mut buffers)?;
        self.tally = Tally::default();
        say("measuring")?;
        let begun = Instant::now();
        self.drive(args.duration, &mut buffers)?;
        say(&self.tally.report(begun.elapsed()))
    }

    fn drive(&mut self, duration: Duration, buffers: &mut [u8]) -> io::Result<()> {
        let end = Instant::now() + duration;
        let mut events = Events::with_capacity(1);
        loop {
            if self.mode == Mode::Send {
                self.fill()?;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            match self.poll.poll(&mut events, Some(left.min(PATIENCE))) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            }
            if events.is_empty() && left >= PATIENCE {
                let what = "datagrams are lost: no more come";
                return Err(io::Error::new(io::ErrorKind::TimedOut, what));
            }
            while was_ready(self.receive(buffers))? {}
        }
    }

    /// Sends batches until the window is full.
    fn fill(&mut self) -> io::Result<()> {
        while self.sent + BATCH <= self.acknowledged + WINDOW {
            let transmit = Transmit {
                destination: self.address,
                ecn: None,
                contents: &self.batch,
                segment_size: Some(self.size),
                src_ip: None,
            };
            let sent = self.state.try_send((&self.socket).into(), &transmit);
            if !was_ready(sent)? {
                break;
            }
            self.sent += BATCH;
        }
        Ok(())
    }

    /// Receives several datagrams: data, or acknowledgements.
    fn receive(&mut self, buffers: &mut [u8]) -> io::Result<()> {
        let mut meta = [RecvMeta::default(); BATCH_SIZE];
        let mut places: Vec<_> = buffers
            .chunks_mut(BUFFER_BYTES)
            .map(IoSliceMut::new)
            .collect();
        let socket = (&self.socket).into();
        let count = self.state.recv(socket, &mut places, &mut meta)?;
        for (place, meta) in places.iter().zip(&meta[..count]) {
            for datagram in place[..meta.len].chunks(meta.stride.max(1)) {
                self.take(datagram)?;
            }
        }
        Ok(())
    }

    fn take(&mut self, datagram: &[u8]) -> io::Result<()> {
        match self.mode {
            Mode::Receive if datagram.len() == self.size => {
                self.received += 1;
                self.tally.messages += 1;
                self.tally.bytes_received += datagram.len() as u64;
                if self.received.is_multiple_of(BATCH) {
                    self.acknowledge()?;
                }
                Ok(())
            }
            Mode::Send if datagram.len() == size_of::<u64>() => {
                let number = number_of(datagram).unwrap_or(0);
                let fresh = number.saturating_sub(self.acknowledged);
                self.acknowledged += fresh;
                self.tally.messages += fresh;
                self.tally.bytes_sent += fresh * self.size as u64;
                Ok(())
            }
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the server sent a datagram of another size",
            )),
        }
    }

    fn acknowledge(&mut self) -> io::Result<()> {
        self.socket.send(&self.received.to_le_bytes()).map(drop)
    }
}

/// Whether the socket was ready, or the error if there was another one.
fn was_ready(result: io::Result<()>) -> io::Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}
