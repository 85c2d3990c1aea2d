//! Memory that the kernel may access for an operation under way: it stays where it is.

use std::ptr::NonNull;

use socket2::SockAddr;

use super::super::chunks::Chunks;
use super::super::datagram::DatagramBatch;
use super::super::messages::{DatagramSocket, Outgoing};

/// The most pieces of memory in one send.
const PIECES_MAX: usize = 64;

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

    pub(super) fn as_ptr(&self) -> *mut T {
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
    pub(super) fn get(&self) -> &SockAddr {
        // SAFETY: the pointer is `new`'s, and addresses are only ever read.
        unsafe { self.0.as_ref() }
    }
}

impl Pinned<Outgoing> {
    /// See [`Outgoing::list`]. Do not call it while the kernel has the address.
    pub(super) fn list(&mut self, socket: &DatagramSocket, batch: &DatagramBatch) -> Option<usize> {
        // SAFETY: the pointer is `new`'s, and `self`, borrowed mutably, is its only user on our side;
        // the kernel gets the address only after this, from an entry built by the same operation.
        let outgoing = unsafe { self.0.as_mut() };
        outgoing.list(socket, batch)
    }
}

impl Pinned<Gather> {
    /// Lists the first pieces of `chunks` and returns their number. Do not call it while the kernel
    /// has the address.
    pub(super) fn list(&mut self, chunks: &Chunks) -> usize {
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

    pub(super) fn pieces(&self) -> *const libc::iovec {
        // SAFETY: the pointer is `new`'s, and the field lies within what it points to.
        unsafe { &raw const (*self.0.as_ptr()).pieces }.cast()
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use io_uring::squeue;

    use super::super::super::table::{Key, Table};
    use super::super::super::{RequestKind, Token};
    use super::super::pending::{Pending, Stage, Work};
    use super::{Chunks, Gather, Pinned, SockAddr};

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
            kind: RequestKind::Send,
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
