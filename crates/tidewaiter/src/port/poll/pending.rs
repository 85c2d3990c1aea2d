//! An operation under way, in our own memory.

use super::super::admission::HandleKind;
use super::super::chunks::Chunks;
use super::super::datagram::{DatagramBatch, DatagramError};
use super::super::file_sending::FileSending;
use super::super::memory::RareQueue;
use super::super::unix_socket::How;
use super::super::{Completion, Failure, Operation, Outcome, Request, RequestKind, Token};
use crate::os::Address;

/// An operation under way.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) operation: Operation,
    pub(super) token: Token,
    pub(super) work: Work,
}

#[derive(Debug)]
pub(super) enum Work {
    Accept,
    AcceptOne,
    Receive,
    /// Receives whole packets, or descriptors.
    ReceiveMessages(How),
    Exit,
    HangUp,
    Connect(Box<Address>),
    /// A connect that the OS has begun: the socket becomes writable when it ends.
    Connecting,
    Send(Chunks),
    SendFile(Box<FileSending>),
    /// Holds the errors that are still to be told.
    ReceiveDatagrams(RareQueue<DatagramError>),
    SendDatagrams(DatagramBatch),
    /// Sends messages apart from each other, and descriptors.
    SendMessages(Chunks),
}

impl Work {
    /// The work of a request that needs nothing else.
    pub(super) fn of(request: Request, handle: HandleKind) -> Work {
        let packets = handle == HandleKind::Packets;
        match request {
            Request::Accept => Work::Accept,
            Request::AcceptOne => Work::AcceptOne,
            Request::Receive if packets => Work::ReceiveMessages(How {
                packets,
                descriptors: false,
            }),
            Request::Receive => Work::Receive,
            Request::ReceiveWithDescriptors => Work::ReceiveMessages(How {
                packets,
                descriptors: true,
            }),
            Request::Exit => Work::Exit,
            Request::HangUp => Work::HangUp,
            Request::Connect(peer) => Work::Connect(peer),
            Request::Send(chunks) if packets || chunks.has_messages() => Work::SendMessages(chunks),
            Request::Send(chunks) => Work::Send(chunks),
            Request::ReceiveDatagrams => Work::ReceiveDatagrams(RareQueue::new()),
            Request::SendDatagrams(batch) => Work::SendDatagrams(batch),
            Request::OpenFile(_) | Request::File(_) | Request::SendFile(_) => {
                unreachable!("the port refuses it, or looks up the file")
            }
        }
    }
}

impl Pending {
    pub(super) fn kind(&self) -> RequestKind {
        match self.work {
            Work::Accept | Work::AcceptOne => RequestKind::Accept,
            Work::Receive | Work::ReceiveMessages(_) => RequestKind::Receive,
            Work::Exit => RequestKind::Exit,
            Work::HangUp => RequestKind::HangUp,
            Work::Connect(_) | Work::Connecting => RequestKind::Connect,
            Work::Send(_) | Work::SendMessages(_) => RequestKind::Send,
            Work::ReceiveDatagrams(_) => RequestKind::ReceiveDatagrams,
            Work::SendDatagrams(_) => RequestKind::SendDatagrams,
            Work::SendFile(_) => RequestKind::SendFile,
        }
    }

    /// The completion that reports `outcome` while the operation continues.
    #[inline(always)]
    pub(super) fn completion(&self, outcome: Outcome) -> Completion {
        Completion {
            token: self.token,
            operation: self.operation,
            kind: self.kind(),
            result: Ok(outcome),
            more: true,
            unsent: Chunks::new(),
        }
    }

    /// The operation's last completion. It returns the unsent rest of a send.
    pub(super) fn into_last(self, result: Result<Outcome, Failure>) -> Completion {
        let (token, operation, kind) = (self.token, self.operation, self.kind());
        let unsent = match self.work {
            Work::Send(chunks) | Work::SendMessages(chunks) => chunks,
            _ => Chunks::new(),
        };
        Completion {
            token,
            operation,
            kind,
            result,
            more: false,
            unsent,
        }
    }

    /// The completion of a cancelled operation.
    pub(super) fn into_cancelled(mut self) -> Completion {
        let result = match &mut self.work {
            Work::SendDatagrams(batch) => Ok(Outcome::DatagramsSent(std::mem::take(batch))),
            Work::SendFile(sending) => sending.result(Some(Failure::Cancelled)),
            _ => Err(Failure::Cancelled),
        };
        self.into_last(result)
    }
}
