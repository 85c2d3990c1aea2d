//! An operation under way.

use std::time::Duration;

use crate::os::Address;
use crate::port::datagram::DatagramBatch;
use crate::port::{
    Chunks, CloseMode, Failure, FileRequest, FileToOpen, Handle, Outcome, RequestKind, Token,
};

/// The work of an operation.
#[derive(Debug)]
pub(super) enum Work {
    Accept,
    AcceptOne,
    Connect(Address),
    /// A connect that nobody answers.
    UnansweredConnect,
    Receive {
        with_descriptors: bool,
    },
    Send(Chunks),
    ReceiveDatagrams,
    SendDatagrams(DatagramBatch),
    OpenFile(Box<FileToOpen>),
    File(Box<FileRequest>),
    Exit,
    HangUp,
    Close(CloseMode),
}

/// An operation under way.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) handle: Handle,
    pub(super) token: Token,
    pub(super) kind: RequestKind,
    pub(super) work: Work,
    pub(super) cancelled: bool,
    /// The completion that is not delivered yet.
    pub(super) completion: Option<DueCompletion>,
}

/// A completion in transit.
#[derive(Debug)]
pub(super) struct DueCompletion {
    pub(super) due: Duration,
    pub(super) result: Result<Outcome, Failure>,
    pub(super) more: bool,
}
