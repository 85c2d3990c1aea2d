//! An operation under way, in our own memory.

use super::super::chunks::Chunks;
use super::super::{Completion, Failure, Operation, Request, RequestKind, Token};
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
    Exit,
    HangUp,
    Connect(Box<Address>),
    /// A connect that the OS has begun: the socket becomes writable when it ends.
    Connecting,
    Send(Chunks),
}

impl Pending {
    pub(super) fn new(operation: Operation, token: Token, request: Request) -> Pending {
        Pending {
            operation,
            token,
            work: match request {
                Request::Accept => Work::Accept,
                Request::AcceptOne => Work::AcceptOne,
                Request::Receive => Work::Receive,
                Request::Exit => Work::Exit,
                Request::HangUp => Work::HangUp,
                Request::Connect(peer) => Work::Connect(Box::new(peer)),
                Request::Send(chunks) => Work::Send(chunks),
            },
        }
    }

    pub(super) fn kind(&self) -> RequestKind {
        match self.work {
            Work::Accept | Work::AcceptOne => RequestKind::Accept,
            Work::Receive => RequestKind::Receive,
            Work::Exit => RequestKind::Exit,
            Work::HangUp => RequestKind::HangUp,
            Work::Connect(_) | Work::Connecting => RequestKind::Connect,
            Work::Send(_) => RequestKind::Send,
        }
    }

    /// The unsent rest of a send.
    pub(super) fn into_unsent(self) -> Chunks {
        match self.work {
            Work::Send(chunks) => chunks,
            _ => Chunks::new(),
        }
    }

    /// The completion of a cancelled operation.
    pub(super) fn into_cancelled(self) -> Completion {
        Completion {
            token: self.token,
            operation: self.operation,
            kind: self.kind(),
            result: Err(Failure::Cancelled),
            more: false,
            unsent: self.into_unsent(),
        }
    }
}
