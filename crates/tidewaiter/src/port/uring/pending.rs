//! Operations under way, and the memory that the kernel may access for them.

use std::net::SocketAddr;
use std::os::fd::RawFd;
use std::ptr::NonNull;

use io_uring::{opcode, squeue, types};
use socket2::SockAddr;

use super::super::chunks::Chunks;
use super::super::poll::Legacy;
use super::super::surge::Surge;
use super::super::table::Key;
use super::super::{Completion, Failure, Operation, Outcome, Request, RequestKind, Token};
use super::buffers::GROUP;
use super::sigpipe::WriteFlags;
use crate::process::Mark;

/// The most pieces of memory in one send.
const PIECES_MAX: usize = 64;

/// The most bytes in one call: the kernel's limit for any transfer.
const TRANSFER_MAX: usize = 0x7fff_f000;

/// Reads and writes at the file's current position; pipes have none.
const AT_POSITION: u64 = u64::MAX;

/// Memory that keeps its address until it is dropped, wherever its owner moves.
///
/// Stored as a raw pointer, because moving a `Box` would assert unique access to memory that the
/// kernel uses.
#[derive(Debug)]
pub(super) struct Pinned<T>(NonNull<T>);

impl<T> Pinned<T> {
    pub(super) fn new(value: T) -> Pinned<T> {
        Pinned(NonNull::from(Box::leak(Box::new(value))))
    }

    fn as_ptr(&self) -> *mut T {
        self.0.as_ptr()
    }
}

impl<T> Drop for Pinned<T> {
    fn drop(&mut self) {
        // SAFETY: `new` leaked this very box. An operation drops it only after its last completion,
        // so the kernel is done with it.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

/// The list of pieces for a vectored send.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Gather {
    header: libc::msghdr,
    pieces: [libc::iovec; PIECES_MAX],
}

// The kernel gets the address of the whole as that of the header.
const _: () = assert!(std::mem::offset_of!(Gather, header) == 0);

impl Gather {
    pub(super) fn new() -> Gather {
        let none = libc::iovec {
            iov_base: std::ptr::null_mut(),
            iov_len: 0,
        };
        Gather {
            // SAFETY: a msghdr of zeros is a valid one: null pointers and lengths of zero.
            header: unsafe { std::mem::zeroed() },
            pieces: [none; PIECES_MAX],
        }
    }
}

impl Pinned<SockAddr> {
    fn peer(&self) -> SocketAddr {
        // SAFETY: the pointer is `new`'s, and addresses are only ever read.
        let address = unsafe { self.0.as_ref() };
        address.as_socket().expect("it was made of one")
    }
}

impl Pinned<Gather> {
    /// Lists the first pieces of `chunks` and returns their number. Do not call it while the kernel
    /// has the address.
    fn list(&mut self, chunks: &Chunks) -> usize {
        // SAFETY: the pointer is `new`'s, and `self`, borrowed mutably, is its only user on our side;
        // the kernel gets the address only after this, from an entry built by the same operation.
        let gather = unsafe { self.0.as_mut() };
        let mut count = 0;
        for (piece, slice) in gather.pieces.iter_mut().zip(chunks.slices()) {
            piece.iov_base = slice.as_ptr().cast_mut().cast();
            piece.iov_len = slice.len();
            count += 1;
        }
        gather.header.msg_iov = gather.pieces.as_mut_ptr();
        gather.header.msg_iovlen = count;
        count
    }

    fn pieces(&self) -> *const libc::iovec {
        // SAFETY: the pointer is `new`'s, and the field lies within what it points to.
        unsafe { &raw const (*self.0.as_ptr()).pieces }.cast()
    }
}

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
            Work::Connect(address) => Request::Connect(address.peer()),
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
            return poll(descriptor, events);
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
                // SAFETY: the pointer is `Pinned::new`'s, and addresses are only ever read.
                let address = unsafe { &*address.as_ptr() };
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
            Work::Exit(Mark::Descriptor) => poll(descriptor, libc::POLLIN),
            Work::Exit(Mark::Number(number)) => await_end(*number),
            Work::Exit(Mark::None) => opcode::Nop::new().build(),
            // The kernel always polls for the peer's end-of-file too, so once the peer has ended, a
            // single poll would complete at once, over and over. A multishot poll reports changes
            // only.
            Work::HangUp { .. } => opcode::PollAdd::new(descriptor, 0).multi(true).build(),
            Work::Watch | Work::Close => unreachable!("the ring never gets such work"),
        }
    }
}

fn poll(descriptor: types::Fd, events: i16) -> squeue::Entry {
    let events = u32::try_from(events).expect("the events are small flags");
    opcode::PollAdd::new(descriptor, events).build()
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

#[cfg(test)]
mod tests {
    use super::super::super::table::Table;
    use super::{Chunks, Gather, Key, Pending, Pinned, SockAddr, Stage, Token, Work, squeue};
    use std::net::SocketAddr;

    /// A submission entry as the kernel sees it: numbers and addresses, and no other access to our
    /// memory.
    struct Submission {
        address: usize,
        length: usize,
        offset: usize,
    }

    impl Submission {
        fn of(entry: squeue::Entry) -> Submission {
            // SAFETY: an entry is 64 bytes of plain numbers, as the kernel's interface has it.
            let words: [u64; 8] = unsafe { std::mem::transmute(entry) };
            let word = |value| usize::try_from(value).expect("words are words");
            Submission {
                offset: word(words[1]),
                address: word(words[2]),
                length: word(words[3] & u64::from(u32::MAX)),
            }
        }

        fn gathered(&self) -> Vec<u8> {
            let header = std::ptr::with_exposed_provenance::<libc::msghdr>(self.address);
            // SAFETY: the operation is under way, so the memory that it owns is alive and not
            // written to.
            let header = unsafe { &*header };
            // SAFETY: as above: the header describes the list behind it.
            let pieces = unsafe { std::slice::from_raw_parts(header.msg_iov, header.msg_iovlen) };
            let bytes = pieces
                .iter()
                .map(|piece| read(piece.iov_base.cast(), piece.iov_len));
            bytes.flatten().collect()
        }
    }

    /// Reads what the kernel would find at an address while the operation is under way.
    fn read(start: *const u8, length: usize) -> Vec<u8> {
        // SAFETY: the operation owns these bytes and is under way: they are alive and not written to.
        unsafe { std::slice::from_raw_parts(start, length) }.to_vec()
    }

    fn pending(work: Work) -> Pending {
        Pending {
            handle: Key::from_u64(0),
            descriptor: 0,
            token: Token(0),
            stage: Stage::Started,
            cancelled: false,
            lent: true,
            work,
        }
    }

    fn three_pieces() -> Work {
        let mut chunks = Chunks::new();
        chunks.extend_from_slice(b"abc");
        chunks.push(b"defg".as_slice().to_vec());
        chunks.extend_from_slice(b"hi");
        Work::Send {
            pipe: None,
            chunks,
            gather: None,
        }
    }

    /// Goal: the memory of an operation keeps its address, whatever happens to the table that holds
    /// the operation.
    /// Miri checks every access.
    /// Method: stand in for the kernel, which has only the entry, while the table grows.
    #[test]
    fn a_gathering_send_stays_in_place_and_is_listed_again_after_a_short_one() {
        let mut spare: Vec<Pinned<Gather>> = Vec::new();
        let mut table = Table::default();
        let key = table.insert(pending(three_pieces()));
        let submitted = table
            .get_mut(key)
            .expect("it is there")
            .submission(&mut spare);
        let submitted = Submission::of(submitted);
        for _ in 0..100 {
            table.insert(pending(three_pieces()));
        }
        table.get_mut(key).expect("it is there").cancelled = true;
        assert_eq!(submitted.gathered(), b"abcdefghi");
        let operation = table.get_mut(key).expect("it is there");
        let Work::Send { chunks, .. } = &mut operation.work else {
            panic!("it sends");
        };
        chunks.advance(5);
        let again = Submission::of(operation.submission(&mut spare));
        assert_eq!(again.address, submitted.address, "the list is used again");
        assert_eq!(again.gathered(), b"fghi");
        let ended = table.remove(key).expect("it is there");
        assert_eq!(again.gathered(), b"fghi", "the operation has only moved");
        drop(ended);
    }

    #[test]
    fn a_send_of_one_piece_and_an_address_stay_in_place() {
        let mut spare = Vec::new();
        let mut sending = pending(Work::Send {
            pipe: None,
            chunks: Chunks::from(b"one piece".as_slice()),
            gather: None,
        });
        let entry = Submission::of(sending.submission(&mut spare));
        let peer: SocketAddr = "127.0.0.1:7000".parse().expect("an address");
        let address = SockAddr::from(peer);
        let expected = read(address.as_ptr().cast(), address.len() as usize);
        let mut connecting = pending(Work::Connect(Pinned::new(address)));
        let connect = Submission::of(connecting.submission(&mut spare));
        let moved = Box::new((connecting, sending));
        let found = read(
            std::ptr::with_exposed_provenance(entry.address),
            entry.length,
        );
        assert_eq!(found, b"one piece");
        // A connect entry has its length in the field that holds the offset of others.
        let found = read(
            std::ptr::with_exposed_provenance(connect.address),
            connect.offset,
        );
        assert_eq!(found, expected);
        drop(moved);
    }
}
