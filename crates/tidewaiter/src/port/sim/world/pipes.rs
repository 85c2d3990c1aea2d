//! Simulated named pipes. Every connection is an instance of the pipe, and its name is taken for as long as a listener or
//! an accepted connection has it.

use std::collections::VecDeque;
use std::io;
use std::iter;

use super::World;
use super::channel::ChannelEnd;
use crate::os::PipeName;
use crate::port::admission::invalid;
use crate::port::sim::faults::Call;
use crate::port::table::{Key, Table};
use crate::port::{Chunks, CloseMode, PipeConnectOptions, PipeListenOptions, PipeMode};

/// The number of clients that may wait to be accepted, as with Windows's completion ports.
const WAITING: usize = 8;

/// The named pipes, and the connections over them.
#[derive(Debug, Default)]
pub(super) struct Pipes {
    all: Table<Pipe>,
    connections: Table<PipeConnection>,
}

/// A named pipe.
#[derive(Debug)]
struct Pipe {
    /// In lower case: names are equal if they differ in nothing else.
    folded: String,
    name: PipeName,
    options: PipeListenOptions,
    is_listening: bool,
    waiting: VecDeque<PipeEnd>,
    accepted: usize,
}

/// A connection over a named pipe.
#[derive(Debug)]
struct PipeConnection {
    pipe: Key,
    name: PipeName,
    is_accepted: bool,
    /// For each side, the channel that it writes to, what it receives, and whether it is open.
    channels: [Key; 2],
    modes: [PipeMode; 2],
    open: [bool; 2],
}

/// One end of a connection over a pipe: the client's side is 0, the server's is 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PipeEnd {
    connection: Key,
    side: usize,
}

/// Input for a receive.
pub(crate) enum PipeInput {
    /// The bytes of this channel, or its end of file.
    Bytes(Key),
    Message(Vec<u8>),
}

impl World {
    pub(crate) fn listen_on_pipe(
        &mut self,
        name: &PipeName,
        options: &PipeListenOptions,
    ) -> io::Result<Key> {
        if let Some(error) = self.requested_failures.take(Call::Listen) {
            return Err(error);
        }
        if name.local_name().is_none() {
            return Err(invalid("a pipe's server must be on this machine"));
        }
        if matches!(options.connections_max, Some(0 | 254..)) {
            return Err(invalid("a pipe has from 1 to 253 connections"));
        }
        if self.pipe_named(name).is_some() {
            return Err(io::Error::from(io::ErrorKind::AddrInUse));
        }
        Ok(self.pipes.all.insert(Pipe {
            folded: name.as_str().to_lowercase(),
            name: name.clone(),
            options: options.clone(),
            is_listening: true,
            waiting: VecDeque::new(),
            accepted: 0,
        }))
    }

    fn pipe_named(&self, name: &PipeName) -> Option<Key> {
        let folded = name.as_str().to_lowercase();
        let mut pipes = self.pipes.all.iter();
        pipes.find_map(|(key, pipe)| (pipe.folded == folded).then_some(key))
    }

    fn pipe(&self, key: Key) -> &Pipe {
        (self.pipes.all.get(key)).expect("a pipe lives as long as its listener and connections")
    }

    fn pipe_mut(&mut self, key: Key) -> &mut Pipe {
        (self.pipes.all.get_mut(key)).expect("a pipe lives as long as its listener and connections")
    }

    pub(crate) fn pipe_name(&self, listener: Key) -> PipeName {
        self.pipe(listener).name.clone()
    }

    /// Stops listening. Clients that were not accepted find that the server is gone.
    pub(crate) fn close_pipe_listener(&mut self, key: Key) {
        let pipe = self.pipe_mut(key);
        pipe.is_listening = false;
        for end in std::mem::take(&mut pipe.waiting) {
            self.close_pipe_end(end, CloseMode::Graceful);
        }
        self.drop_pipe_if_unused(key);
    }

    fn drop_pipe_if_unused(&mut self, key: Key) {
        let pipe = self.pipe(key);
        if !pipe.is_listening && pipe.accepted == 0 {
            self.pipes.all.remove(key);
        }
    }

    /// Accepts the next client that waits; `None` if there is none, or as many are connected as may be.
    pub(crate) fn accept_on_pipe(&mut self, key: Key) -> Option<io::Result<PipeEnd>> {
        let pipe = self.pipe(key);
        let max = pipe.options.connections_max.map_or(usize::MAX, usize::from);
        let &end = pipe.waiting.front().filter(|_| pipe.accepted < max)?;
        if let Some(error) = self.accept_failure() {
            return Some(Err(error));
        }
        let pipe = self.pipe_mut(key);
        pipe.waiting.pop_front();
        pipe.accepted += 1;
        self.pipe_connection_mut(end).is_accepted = true;
        Some(Ok(end))
    }

    /// Connects a client. Returns `None` while all instances have clients.
    pub(crate) fn try_connect_to_pipe(
        &mut self,
        name: &PipeName,
        options: PipeConnectOptions,
    ) -> io::Result<Option<PipeEnd>> {
        if let Some(error) = self.requested_failures.take(Call::Connect) {
            return Err(error);
        }
        let refused = self.random.chance(self.faults.refusals);
        let Some(key) = self.pipe_named(name).filter(|_| !refused) else {
            return Err(io::Error::from(io::ErrorKind::NotFound));
        };
        let pipe = self.pipe(key);
        let (waiting, mode) = (pipe.waiting.len(), pipe.options.mode);
        let has_room = match pipe.options.connections_max {
            // One more than may be accepted.
            Some(max) => pipe.accepted + waiting <= usize::from(max),
            None => true,
        };
        if !pipe.is_listening || waiting >= WAITING || !has_room {
            return Ok(None);
        }
        if options.mode.has_messages() && !mode.has_messages() {
            return Err(invalid("the pipe carries bytes, not messages"));
        }
        let channels = [self.open_channel(), self.open_channel()];
        if mode.has_messages() {
            for channel in channels {
                self.keep_messages(channel);
            }
        }
        let connection = self.pipes.connections.insert(PipeConnection {
            pipe: key,
            name: name.clone(),
            is_accepted: false,
            channels,
            modes: [options.mode, mode],
            open: [true; 2],
        });
        let server = PipeEnd {
            connection,
            side: 1,
        };
        self.pipe_mut(key).waiting.push_back(server);
        Ok(Some(PipeEnd {
            connection,
            side: 0,
        }))
    }

    fn pipe_connection(&self, end: PipeEnd) -> &PipeConnection {
        let connection = self.pipes.connections.get(end.connection);
        connection.expect("a connection lives as long as one of its ends")
    }

    fn pipe_connection_mut(&mut self, end: PipeEnd) -> &mut PipeConnection {
        let connection = self.pipes.connections.get_mut(end.connection);
        connection.expect("a connection lives as long as one of its ends")
    }

    pub(crate) fn name_of_pipe_end(&self, end: PipeEnd) -> PipeName {
        self.pipe_connection(end).name.clone()
    }

    /// Whether the pipe carries messages, and this end receives them as such.
    pub(crate) fn receives_messages(&self, end: PipeEnd) -> bool {
        self.pipe_connection(end).modes[end.side].has_messages()
    }

    /// Whether the other end is closed.
    pub(crate) fn pipe_is_over(&self, end: PipeEnd) -> bool {
        !self.pipe_connection(end).open[1 - end.side]
    }

    /// Returns the input that there is to receive; `None` while there is none.
    pub(crate) fn receive_from_pipe(&mut self, end: PipeEnd) -> io::Result<Option<PipeInput>> {
        let connection = self.pipe_connection(end);
        let (channel, mode) = (
            connection.channels[1 - end.side],
            connection.modes[end.side],
        );
        let state = self.channel(channel);
        if !state.is_readable() {
            return Ok(None);
        }
        let (PipeMode::Messages { received_max }, Some(len)) = (mode, state.first_message()) else {
            return Ok(Some(PipeInput::Bytes(channel)));
        };
        if len > received_max {
            let message = format!("a message has more than {received_max} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        let mut message = vec![0; len];
        self.read_channel(channel, &mut message);
        Ok(Some(PipeInput::Message(message)))
    }

    /// Sends bytes, or the first piece as a message; returns `None` while there is no room.
    pub(crate) fn send_to_pipe(
        &mut self,
        end: PipeEnd,
        chunks: &Chunks,
    ) -> io::Result<Option<usize>> {
        let connection = self.pipe_connection(end);
        let channel = connection.channels[end.side];
        let as_messages = connection.modes[end.side].has_messages();
        let state = self.channel(channel);
        if !as_messages {
            if state.has_reader() && state.room() == 0 {
                return Ok(None);
            }
            return self.send_into(channel, chunks).map(Some);
        }
        let message = chunks.first();
        // One that is larger than the pipe goes through it alone.
        if state.has_reader() && state.len() > 0 && state.room() < message.len() {
            return Ok(None);
        }
        self.write_message(channel, iter::once(message), message.len())
            .map(Some)
    }

    /// Closes an end. What it has sent can still be received, unless the server resets the connection.
    pub(crate) fn close_pipe_end(&mut self, end: PipeEnd, mode: CloseMode) {
        let connection = self.pipe_connection_mut(end);
        connection.open[end.side] = false;
        let (over, accepted) = (connection.open == [false; 2], connection.is_accepted);
        let (pipe, channels) = (connection.pipe, connection.channels);
        if mode == CloseMode::Reset && end.side == 1 {
            self.purge_channel(channels[1]);
        }
        self.release_channel(channels[end.side], ChannelEnd::Writer);
        self.release_channel(channels[1 - end.side], ChannelEnd::Reader);
        if over {
            self.pipes.connections.remove(end.connection);
        }
        if end.side == 1 && accepted {
            self.pipe_mut(pipe).accepted -= 1;
            self.drop_pipe_if_unused(pipe);
        }
    }
}
