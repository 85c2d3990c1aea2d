//! The port's handles, and the operations under way on each.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};

use super::super::admission::{RequestKinds, not_a_socket};
use super::super::messages::DatagramSocket;
use super::super::source::Source;
use super::super::table::Key;
use super::super::{CloseMode, RequestKind};
use crate::process::OsProcess;

/// The operation that closes a handle, and its mode.
#[derive(Clone, Copy, Debug)]
pub(super) struct Closing {
    pub(super) operation: Key,
    pub(super) mode: CloseMode,
}

/// A handle: its source, and its operations under way.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) source: Source,
    /// The kinds of operations under way.
    pub(super) under_way: RequestKinds,
    pub(super) receiving: Option<Key>,
    pub(super) sending: Option<Key>,
    pub(super) hanging_up: Option<Key>,
    /// Accepts, connects, waits for exits, and requests on files. An accepted connection has none, so it allocates
    /// nothing here.
    others: Vec<Key>,
    pub(super) closing: Option<Closing>,
    /// Whether the last receive ended in a surge. The next one goes on in it: programs that pass on what they receive pause again
    /// and again.
    pub(super) surging: bool,
}

impl Entry {
    pub(super) fn new(source: Source) -> Entry {
        Entry {
            source,
            under_way: RequestKinds::default(),
            receiving: None,
            sending: None,
            hanging_up: None,
            others: Vec::new(),
            closing: None,
            surging: false,
        }
    }

    pub(super) fn descriptor(&self) -> RawFd {
        match &self.source {
            // Most handles are connections. Tell that first.
            Source::Stream(socket) => socket.as_raw_fd(),
            Source::Process(process) if process.is_by_number() => -1,
            source => source.as_fd().as_raw_fd(),
        }
    }

    pub(super) fn socket(&self) -> io::Result<&socket2::Socket> {
        match &self.source {
            Source::Listener(listening) => Ok(&listening.socket),
            Source::Stream(socket) | Source::Packets(socket) | Source::Duplex(socket) => Ok(socket),
            _ => Err(not_a_socket()),
        }
    }

    pub(super) fn datagrams(&self) -> &DatagramSocket {
        match &self.source {
            Source::Datagrams(socket) => socket,
            _ => unreachable!("only a datagram socket has datagrams"),
        }
    }

    pub(super) fn process(&self) -> &OsProcess {
        match &self.source {
            Source::Process(process) => process,
            _ => unreachable!("only a process has an exit"),
        }
    }

    /// Records an operation that begins.
    pub(super) fn note(&mut self, key: Key, kind: RequestKind) {
        self.under_way.insert(kind);
        match kind {
            RequestKind::Receive | RequestKind::ReceiveDatagrams => self.receiving = Some(key),
            RequestKind::Send | RequestKind::SendDatagrams | RequestKind::SendFile => {
                self.sending = Some(key);
            }
            RequestKind::HangUp => self.hanging_up = Some(key),
            _ => self.others.push(key),
        }
    }

    /// Forgets an operation that has ended.
    pub(super) fn forget(&mut self, key: Key, kind: RequestKind) {
        self.under_way.remove(kind);
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

    /// Refuses further requests from now on; returns the operations under way.
    pub(super) fn begin_closing(&mut self, operation: Key, mode: CloseMode) -> Vec<Key> {
        self.closing = Some(Closing { operation, mode });
        let streaming = [self.receiving, self.sending, self.hanging_up];
        let streaming = streaming.into_iter().flatten();
        streaming.chain(self.others.iter().copied()).collect()
    }
}
