//! The operations under way.

use std::os::fd::RawFd;

use io_uring::{opcode, squeue, types};
use socket2::SockAddr;

use super::super::chunks::Chunks;
use super::super::poll::Legacy;
use super::super::surge::Surge;
use super::super::table::Key;
use super::super::{Completion, Failure, Operation, Outcome, Request, RequestKind, Token};
use super::buffers::GROUP;
use super::pinned::{Gather, Pinned};
use super::ring::{poll, poll_repeatedly};
use super::sigpipe::WriteFlags;
use crate::process::Mark;

/// The most bytes in one call: the kernel's limit for any transfer.
const TRANSFER_MAX: usize = 0x7fff_f000;

/// Reads and writes at the file's current position; pipes have none.
const AT_POSITION: u64 = u64::MAX;

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
    pub(super) fn kind(&self) -> RequestKind {
        match self {
            Work::Accept { .. } => RequestKind::Accept,
            Work::Connect(_) => RequestKind::Connect,
            Work::Receive { .. } => RequestKind::Receive,
            Work::Send { .. } => RequestKind::Send,
            Work::Exit(_) => RequestKind::Exit,
            Work::HangUp { .. } => RequestKind::HangUp,
            Work::Watch => RequestKind::Watch,
            Work::Close => RequestKind::Close,
        }
    }

    /// The name of the corresponding system call.
    pub(super) fn call(&self) -> &'static str {
        match self {
            Work::Accept { .. } => "accept4",
            Work::Connect(_) => "connect",
            Work::Receive { pipe: false, .. } => "recv",
            Work::Receive { pipe: true, .. } => "read",
            Work::Send { pipe: None, .. } => "send",
            Work::Send { pipe: Some(_), .. } => "write",
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
    pub(super) fn completion(&self, key: Key, outcome: Outcome) -> Completion {
        Completion {
            token: self.token,
            operation: Operation(key),
            kind: self.work.kind(),
            result: Ok(outcome),
            more: true,
            unsent: Chunks::new(),
        }
    }

    /// The operation's last completion. The kernel must be done with it.
    pub(super) fn last(&mut self, key: Key, result: Result<Outcome, Failure>) -> Completion {
        Completion {
            token: self.token,
            operation: Operation(key),
            kind: self.work.kind(),
            result,
            more: false,
            unsent: match &mut self.work {
                Work::Send { chunks, .. } => std::mem::take(chunks),
                _ => Chunks::new(),
            },
        }
    }

    /// Converts the operation into the form that another port continues.
    pub(super) fn into_legacy(self) -> Legacy {
        Legacy::Request(match self.work {
            Work::Connect(_) if self.stage == Stage::Polling => return Legacy::Connecting,
            Work::Connect(address) => {
                Request::Connect(address.get().as_socket().expect("it was made of one"))
            }
            Work::Watch => return Legacy::Watch,
            Work::Accept { one: false } => Request::Accept,
            Work::Accept { one: true } => Request::AcceptOne,
            Work::Receive { .. } => Request::Receive,
            Work::Send { chunks, .. } => Request::Send(chunks),
            Work::Exit(_) => Request::Exit,
            Work::HangUp { .. } => Request::HangUp,
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

    /// Builds the submission entry for the current `stage`.
    ///
    /// The entry points to memory that `self` owns on the heap, so `self` may move, but must be
    /// neither dropped nor changed until the completion. `spare` holds lists for vectored sends.
    pub(super) fn submission(&mut self, spare: &mut Vec<Pinned<Gather>>) -> squeue::Entry {
        let descriptor = types::Fd(self.descriptor);
        if self.stage == Stage::Polling {
            let events = match self.work {
                Work::Send { .. } | Work::Connect(_) => libc::POLLOUT,
                _ => libc::POLLIN,
            };
            return poll(self.descriptor, events);
        }
        match &mut self.work {
            Work::Accept { one: false } => opcode::AcceptMulti::new(descriptor)
                .flags(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK)
                .build(),
            // `getpeername` tells the peer's address later.
            Work::Accept { one: true } => {
                opcode::Accept::new(descriptor, std::ptr::null_mut(), std::ptr::null_mut())
                    .flags(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK)
                    .build()
            }
            Work::Connect(address) => {
                let address = address.get();
                opcode::Connect::new(descriptor, address.as_ptr().cast(), address.len()).build()
            }
            Work::Receive {
                pipe, multishot, ..
            } => receive(descriptor, *pipe, *multishot),
            Work::Send {
                pipe,
                chunks,
                gather,
            } => send(descriptor, *pipe, chunks, gather, spare),
            Work::Exit(Mark::Descriptor) => poll(self.descriptor, libc::POLLIN),
            Work::Exit(Mark::Number(number)) => await_end(*number),
            Work::Exit(Mark::None) => opcode::Nop::new().build(),
            // The kernel always polls for the peer's end-of-file too, so once the peer has ended, a
            // single poll would complete at once, over and over. A multishot poll reports changes
            // only.
            Work::HangUp { .. } => poll_repeatedly(self.descriptor, 0),
            Work::Watch | Work::Close => unreachable!("the ring never gets such work"),
        }
    }
}

/// Waits until the process exits, without reaping it.
fn await_end(number: u32) -> squeue::Entry {
    let options = libc::WEXITED | libc::WNOWAIT | libc::__WALL;
    opcode::WaitId::new(libc::P_PID, number, options).build()
}

fn receive(descriptor: types::Fd, pipe: bool, multishot: bool) -> squeue::Entry {
    // A length of zero means the whole of the buffer that the kernel selects.
    let nowhere = std::ptr::null_mut();
    match (pipe, multishot) {
        (false, true) => opcode::RecvMulti::new(descriptor, GROUP).build(),
        (true, true) => opcode::ReadMulti::new(descriptor, 0, GROUP)
            .offset(AT_POSITION)
            .build(),
        (false, false) => opcode::Recv::new(descriptor, nowhere, 0)
            .buf_group(GROUP)
            .build()
            .flags(squeue::Flags::BUFFER_SELECT),
        (true, false) => opcode::Read::new(descriptor, nowhere, 0)
            .offset(AT_POSITION)
            .buf_group(GROUP)
            .build()
            .flags(squeue::Flags::BUFFER_SELECT),
    }
}

fn send(
    descriptor: types::Fd,
    pipe: Option<WriteFlags>,
    chunks: &Chunks,
    gather: &mut Option<Pinned<Gather>>,
    spare: &mut Vec<Pinned<Gather>>,
) -> squeue::Entry {
    if chunks.count() == 1 {
        let piece = chunks.slices().next().expect("there is one piece");
        let len = u32::try_from(piece.len().min(TRANSFER_MAX)).expect("it is below 2^31");
        return match pipe {
            None => opcode::Send::new(descriptor, piece.as_ptr(), len)
                .flags(libc::MSG_NOSIGNAL)
                .build(),
            Some(flags) => opcode::Write::new(descriptor, piece.as_ptr(), len)
                .offset(AT_POSITION)
                .rw_flags(flags.0)
                .build(),
        };
    }
    let gather =
        gather.get_or_insert_with(|| spare.pop().unwrap_or_else(|| Pinned::new(Gather::new())));
    let count = gather.list(chunks);
    match pipe {
        None => opcode::SendMsg::new(descriptor, gather.as_ptr().cast::<libc::msghdr>())
            .flags(MSG_NOSIGNAL)
            .build(),
        Some(flags) => {
            let count = u32::try_from(count).expect("it is at most `PIECES_MAX`");
            opcode::Writev::new(descriptor, gather.pieces(), count)
                .offset(AT_POSITION)
                .rw_flags(flags.0)
                .build()
        }
    }
}

/// A closed peer is an error, not a signal.
const MSG_NOSIGNAL: u32 = libc::MSG_NOSIGNAL.cast_unsigned();
