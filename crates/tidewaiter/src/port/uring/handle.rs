//! What the port takes care of, and which operations are under way on it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

use super::super::table::Key;
use super::super::{CloseMode, RequestKind};
use crate::process::OsProcess;

/// What a handle stands for. Dropping it closes it.
#[derive(Debug)]
pub(super) enum Thing {
    Listener(socket2::Socket),
    Stream(socket2::Socket),
    Reader(OwnedFd),
    Writer(OwnedFd),
    /// In a place of its own: connections take less memory thus, and there are more of these.
    Process(Box<OsProcess>),
}

/// How, and as which operation, a handle is being closed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Closing {
    pub(super) operation: Key,
    pub(super) mode: CloseMode,
}

#[derive(Debug)]
pub(super) struct HandleState {
    pub(super) thing: Thing,
    pub(super) receiving: Option<Key>,
    pub(super) sending: Option<Key>,
    pub(super) hanging_up: Option<Key>,
    /// Accepting, connecting, waiting for an end. Takes no memory on a connection that was accepted.
    others: Vec<Key>,
    pub(super) closing: Option<Closing>,
}

impl HandleState {
    pub(super) fn new(thing: Thing) -> HandleState {
        HandleState {
            thing,
            receiving: None,
            sending: None,
            hanging_up: None,
            others: Vec::new(),
            closing: None,
        }
    }

    pub(super) fn descriptor(&self) -> RawFd {
        match &self.thing {
            Thing::Listener(socket) | Thing::Stream(socket) => socket.as_raw_fd(),
            Thing::Reader(pipe) | Thing::Writer(pipe) => pipe.as_raw_fd(),
            Thing::Process(process) if process.is_by_number() => -1,
            Thing::Process(process) => process.as_fd().as_raw_fd(),
        }
    }

    pub(super) fn socket(&self) -> io::Result<&socket2::Socket> {
        match &self.thing {
            Thing::Listener(socket) | Thing::Stream(socket) => Ok(socket),
            _ => Err(super::invalid("the handle is no socket")),
        }
    }

    pub(super) fn process(&self) -> &OsProcess {
        match &self.thing {
            Thing::Process(process) => process,
            _ => unreachable!("only processes are waited for"),
        }
    }

    /// Takes note of an operation that begins.
    pub(super) fn note(&mut self, key: Key, kind: RequestKind) {
        match kind {
            RequestKind::Receive => self.receiving = Some(key),
            RequestKind::Send => self.sending = Some(key),
            RequestKind::HangUp => self.hanging_up = Some(key),
            _ => self.others.push(key),
        }
    }

    /// Takes note of an operation's end.
    pub(super) fn forget(&mut self, key: Key) {
        if self.receiving == Some(key) {
            self.receiving = None;
        } else if self.sending == Some(key) {
            self.sending = None;
        } else if self.hanging_up == Some(key) {
            self.hanging_up = None;
        } else {
            self.others.retain(|other| *other != key);
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        let streaming = [self.receiving, self.sending, self.hanging_up];
        streaming == [None; 3] && self.others.is_empty()
    }

    /// Takes no more requests from here on; returns what is under way.
    pub(super) fn begin_closing(&mut self, operation: Key, mode: CloseMode) -> Vec<Key> {
        self.closing = Some(Closing { operation, mode });
        let streaming = [self.receiving, self.sending, self.hanging_up];
        let streaming = streaming.into_iter().flatten();
        streaming.chain(self.others.iter().copied()).collect()
    }
}
