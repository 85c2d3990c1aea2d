//! The operations under way.

use std::os::fd::RawFd;

use socket2::SockAddr;

use super::super::admission::HandleKind;
use super::super::chunks::Chunks;
use super::super::control;
use super::super::datagram::{DatagramBatch, DatagramError};
use super::super::file_sending::FileSending;
use super::super::memory::RareQueue;
use super::super::messages::Outgoing;
use super::super::poll::Legacy;
use super::super::surge::Surge;
use super::super::table::Key;
use super::super::unix_socket::How;
use super::super::{Completion, Failure, Operation, Outcome, Request, RequestKind, Token};
use super::entry::Entry;
use super::file_work::{FileWork, Opening};
use super::message_form;
use super::pinned::{Gather, Pinned};
use super::probe::Abilities;
use super::sigpipe::WriteFlags;
use crate::process::Mark;

/// The work of an operation, and the memory that it owns until its last completion.
#[derive(Debug)]
pub(super) enum Work {
    Accept {
        /// Accept a single connection instead of multishot.
        one: bool,
    },
    Connect(Pinned<SockAddr>),
    Receive {
        pipe: bool,
        multishot: bool,
        surge: Surge,
        /// The port has cancelled the multishot because of a surge.
        taken_back: bool,
    },
    Send {
        /// The flags for writing, if this is a pipe.
        pipe: Option<WriteFlags>,
        chunks: Chunks,
        gather: Option<Pinned<Gather>>,
    },
    ReceiveDatagrams {
        /// Whether the kernel receives into its buffers; if not, the port itself receives once there is something.
        into_buffers: bool,
        /// The errors that are still to be told.
        errors: RareQueue<DatagramError>,
    },
    SendDatagrams {
        batch: DatagramBatch,
        /// The message that the kernel has.
        message: Option<Pinned<Outgoing>>,
        /// The number of its datagrams.
        count: usize,
    },
    OpenFile(Box<Opening>),
    File(Box<FileWork>),
    /// Not the ring's work, which only reports room.
    SendFile(Box<FileSending>),
    /// Receives whole packets, or descriptors, once a poll tells that there are some.
    ReceiveMessages(How),
    /// Sends messages apart from each other, and descriptors, once a poll tells that there is room.
    SendMessages {
        packets: bool,
        chunks: Chunks,
    },
    Exit(Mark),
    HangUp {
        /// The kernel has reported the hang-up, so the multishot poll must be cancelled.
        seen: bool,
    },
    /// Not the ring's work: the epoll set of foreign descriptors watches it.
    Watch,
    /// Not the kernel's work: it waits for the handle's other operations.
    Close,
}

impl Work {
    /// Turns a request that the handle takes into work.
    pub(super) fn new(
        entry: &Entry,
        handle: HandleKind,
        request: Request,
        abilities: Abilities,
        write_flags: Option<WriteFlags>,
    ) -> Work {
        let packets = handle == HandleKind::Packets;
        match request {
            Request::Accept => Work::Accept { one: false },
            Request::AcceptOne => Work::Accept { one: true },
            Request::Connect(peer) => {
                let peer = control::os_address(&peer);
                Work::Connect(Pinned::new(peer.expect("`admit` refuses other addresses")))
            }
            Request::Receive if packets => Work::ReceiveMessages(How {
                packets,
                descriptors: false,
            }),
            Request::ReceiveWithDescriptors => Work::ReceiveMessages(How {
                packets,
                descriptors: true,
            }),
            Request::Receive => {
                let pipe = matches!(handle, HandleKind::PipeReader | HandleKind::SerialPort);
                let multishot = if pipe {
                    abilities.multishot_read
                } else {
                    abilities.multishot_receive
                };
                Work::Receive {
                    pipe,
                    multishot,
                    surge: Surge::resumed(entry.surging),
                    taken_back: entry.surging,
                }
            }
            Request::Send(chunks) if packets || chunks.has_messages() => {
                Work::SendMessages { packets, chunks }
            }
            Request::Send(chunks) => Work::Send {
                pipe: match handle {
                    HandleKind::PipeWriter | HandleKind::SerialPort => write_flags,
                    _ => None,
                },
                chunks,
                gather: None,
            },
            Request::ReceiveDatagrams => Work::ReceiveDatagrams {
                into_buffers: message_form::is_for(&entry.source, abilities),
                errors: RareQueue::new(),
            },
            Request::SendDatagrams(batch) => Work::SendDatagrams {
                batch,
                message: None,
                count: 0,
            },
            Request::Exit => Work::Exit(entry.process().mark()),
            Request::HangUp => Work::HangUp { seen: false },
            Request::OpenFile(file) => Work::OpenFile(Box::new(Opening::new(*file))),
            Request::File(_) | Request::SendFile(_) => {
                unreachable!("the port looks up the file first")
            }
        }
    }

    pub(super) fn first_stage(&mut self, abilities: Abilities) -> Stage {
        match self {
            Work::Send { pipe, chunks, .. } => match chunks.take_unawaited() {
                true if pipe.is_none() && abilities.immediate_sends => Stage::Immediate,
                _ => Stage::Started,
            },
            Work::SendDatagrams { batch, .. } => match batch.take_unawaited() {
                true if abilities.immediate_sends => Stage::Immediate,
                _ => Stage::Started,
            },
            Work::ReceiveMessages(_) | Work::SendMessages { .. } | Work::SendFile(_) => {
                Stage::Polling
            }
            Work::Receive { surge, .. } if surge.is_wide() => Stage::Polling,
            _ => Stage::Started,
        }
    }

    /// The name of the corresponding system call.
    pub(super) fn call(&self) -> &'static str {
        match self {
            Work::Accept { .. } => "accept4",
            Work::Connect(_) => "connect",
            Work::Receive { pipe: false, .. } => "recv",
            Work::Receive { pipe: true, .. } => "read",
            Work::ReceiveMessages(_) => "recvmsg",
            Work::SendMessages { .. } => "sendmsg",
            Work::Send { pipe: None, .. } => "send",
            Work::Send { pipe: Some(_), .. } => "write",
            Work::ReceiveDatagrams { .. } => "recvmsg",
            Work::SendDatagrams { .. } => "sendmsg",
            Work::OpenFile(_) => "openat",
            Work::File(work) => work.call(),
            Work::SendFile(_) => "sendfile",
            Work::Exit(Mark::Number(_)) => "waitid",
            Work::Exit(_) | Work::HangUp { .. } => "poll",
            Work::Watch => "epoll_wait",
            Work::Close => "close",
        }
    }
}

/// The request that the kernel gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The operation itself.
    Started,
    /// A send that shall complete while the kernel takes it, and whose success need not end a wait. It is then `Started`.
    Immediate,
    /// A poll that tells when the operation can be tried (again).
    Polling,
}

/// An operation from its submission to its last completion.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) handle: Key,
    /// The handle's descriptor, which stays open until its last operation has completed.
    pub(super) descriptor: RawFd,
    pub(super) token: Token,
    pub(super) stage: Stage,
    /// The caller has cancelled it: the port does not start it again.
    pub(super) cancelled: bool,
    /// The kernel has the operation, and its last completion is still to come.
    pub(super) lent: bool,
    pub(super) kind: RequestKind,
    pub(super) work: Work,
}

impl Pending {
    /// Whether it receives a surge, directly into large memory instead of the ring's buffers.
    pub(super) fn is_wide(&self) -> bool {
        matches!(&self.work, Work::Receive { surge, .. } if surge.is_wide())
    }

    /// Whether the port must cancel the operation, which the kernel would otherwise continue.
    /// Returns true once for each receive.
    pub(super) fn is_to_be_taken_back(&mut self) -> bool {
        let wide = self.is_wide();
        match &mut self.work {
            Work::HangUp { seen } => *seen,
            Work::Receive { taken_back, .. } => wide && !std::mem::replace(taken_back, true),
            _ => false,
        }
    }

    /// The completion that reports `outcome` while the operation continues.
    #[inline(always)]
    pub(super) fn completion(&self, key: Key, outcome: Outcome) -> Completion {
        Completion {
            token: self.token,
            operation: Operation(key),
            kind: self.kind,
            result: Ok(outcome),
            more: true,
            unsent: Chunks::new(),
        }
    }

    /// The operation's last completion. The kernel must be done with it.
    #[inline(always)]
    pub(super) fn last(&mut self, key: Key, mut result: Result<Outcome, Failure>) -> Completion {
        let unsent = match &mut self.work {
            Work::Send { chunks, .. } => std::mem::take(chunks),
            Work::SendMessages { .. }
            | Work::SendDatagrams { .. }
            | Work::File(_)
            | Work::SendFile(_) => self.take_unsent(&mut result),
            _ => Chunks::new(),
        };
        Completion {
            token: self.token,
            operation: Operation(key),
            kind: self.kind,
            result,
            more: false,
            unsent,
        }
    }

    /// The unsent bytes that the operation gives back. Some work also tells how far it came, even if it failed. Out of
    /// line, so that streams do not pay for it.
    #[inline(never)]
    fn take_unsent(&mut self, result: &mut Result<Outcome, Failure>) -> Chunks {
        match &mut self.work {
            Work::SendMessages { chunks, .. } => return std::mem::take(chunks),
            Work::File(work) => return work.take_unsent(),
            // A send of datagrams returns its batch, however it ends.
            Work::SendDatagrams { batch, .. } if result.is_err() => {
                *result = Ok(Outcome::DatagramsSent(std::mem::take(batch)));
            }
            Work::SendFile(sending) => {
                if let Err(failure) = result {
                    let failure = std::mem::replace(failure, Failure::Cancelled);
                    *result = sending.result(Some(failure));
                }
            }
            _ => {}
        }
        Chunks::new()
    }

    /// Converts the operation into the form that another port continues.
    pub(super) fn into_legacy(self) -> Legacy {
        Legacy::Request(match self.work {
            Work::Connect(_) if self.stage == Stage::Polling => return Legacy::Connecting,
            Work::Connect(address) => {
                Request::connect(control::address(address.get()).expect("it was made of one"))
            }
            Work::Watch => return Legacy::Watch,
            Work::Accept { one: false } => Request::Accept,
            Work::Accept { one: true } => Request::AcceptOne,
            Work::Receive { .. } => Request::Receive,
            Work::ReceiveMessages(how) if how.descriptors => Request::ReceiveWithDescriptors,
            Work::ReceiveMessages(_) => Request::Receive,
            Work::Send { chunks, .. } | Work::SendMessages { chunks, .. } => Request::Send(chunks),
            Work::ReceiveDatagrams { .. } => Request::ReceiveDatagrams,
            Work::SendDatagrams { batch, .. } => Request::SendDatagrams(batch),
            Work::SendFile(sending) => return Legacy::SendFile(sending),
            Work::Exit(_) => Request::Exit,
            Work::HangUp { .. } => Request::HangUp,
            Work::OpenFile(_) | Work::File(_) => unreachable!("they were ended before"),
            Work::Close => unreachable!("a handle without other operations is closed at once"),
        })
    }

    /// Notes that the kernel has returned the operation, which is to start again later.
    pub(super) fn park(&mut self) {
        if matches!(self.work, Work::Connect(_)) {
            // The kernel goes on connecting by itself, and refuses a second connect.
            self.stage = Stage::Polling;
        }
    }
}
