//! Outgoing bytes: owned, in order, and never copied on their way to the OS.

use std::collections::VecDeque;

use bytes::Bytes;

use super::buffer::Buffer;
use super::messages::Messages;
use crate::os::OwnedDescriptor;
use crate::panics;

/// Small writes are gathered into a chunk of up to this many bytes, so that they leave in one call.
const GATHER_BYTES: usize = 16 * 1024;

#[derive(Debug)]
enum Chunk {
    /// Our own memory.
    Owned(Vec<u8>),
    /// Memory shared with the caller: passed on without copying.
    Shared(Bytes),
    /// A port's receive buffer.
    Received(Buffer),
}

impl Chunk {
    fn as_slice(&self) -> &[u8] {
        match self {
            Chunk::Owned(bytes) => bytes,
            Chunk::Shared(bytes) => bytes,
            Chunk::Received(buffer) => buffer,
        }
    }
}

/// A queue of bytes to send, made of pieces of memory.
///
/// Memory given as [`Bytes`] or `Vec<u8>` is never copied. Slices are copied: small ones are gathered into
/// pieces of up to 16 KiB, a larger one gets a piece of its own. No piece is empty.
#[derive(Debug, Default)]
pub struct Chunks {
    /// Boxed: requests and completions often move a queue.
    storage: Option<Box<Storage>>,
}

#[derive(Debug, Default)]
struct Storage {
    /// The pieces before `gathered`.
    list: VecDeque<Chunk>,
    /// The last piece, unless it is empty: small writes are appended while it has room. Most queues have no other one, so
    /// it is apart from the list, and its memory stays for the next write.
    gathered: Vec<u8>,
    /// The number of bytes of the first piece that have been taken.
    start: usize,
    len: usize,
    /// The program's memory whose bytes were sent. It is dropped at a point where the program's
    /// code may run.
    sent: VecDeque<Bytes>,
    /// The parts that are sent apart from each other; `None` if there is but one, without descriptors.
    messages: Option<Box<Messages>>,
    /// See [`Chunks::mark_unawaited`].
    unawaited: bool,
}

impl Storage {
    /// Takes the first `count` bytes off the queue, and keeps the program's memory among them in
    /// `sent`.
    fn take_off(&mut self, count: usize) {
        self.len -= count;
        if self.messages.is_some() {
            self.take_off_messages(count);
        }
        let mut taken = self.start + count;
        if !self.list.is_empty() {
            taken = self.take_off_list(taken);
        }
        if self.list.is_empty() && taken == self.gathered.len() {
            taken = 0;
            self.gathered.clear();
            if self.gathered.capacity() > GATHER_BYTES {
                // It is too large for a reserve.
                self.gathered = Vec::new();
            }
        }
        self.start = taken;
    }

    /// Drops the pieces of the list that lie within the first `taken` bytes. Returns how many of these are left.
    fn take_off_list(&mut self, mut taken: usize) -> usize {
        while let Some(first) = self.list.front()
            && first.as_slice().len() <= taken
        {
            taken -= first.as_slice().len();
            match self.list.pop_front() {
                Some(Chunk::Owned(memory)) => self.keep(memory),
                Some(Chunk::Shared(bytes)) => self.sent.push_back(bytes),
                Some(Chunk::Received(_)) | None => {}
            }
        }
        taken
    }

    /// Keeps `memory` for the next small write, unless there is some or it is too large for a reserve.
    fn keep(&mut self, mut memory: Vec<u8>) {
        if self.gathered.capacity() == 0 && memory.capacity() <= GATHER_BYTES {
            memory.clear();
            self.gathered = memory;
        }
    }

    /// Ends the piece that gathers small writes.
    fn end_gathered(&mut self) {
        if !self.gathered.is_empty() {
            let gathered = std::mem::take(&mut self.gathered);
            self.list.push_back(Chunk::Owned(gathered));
        }
    }

    /// Appends a copy of `data`, of which none fits into the piece that gathers small writes.
    #[inline(never)]
    fn begin_gathered(&mut self, data: &[u8]) {
        self.end_gathered();
        self.gathered.extend_from_slice(data);
    }

    #[cold]
    fn take_off_messages(&mut self, count: usize) {
        if let Some(messages) = &mut self.messages {
            messages.take_off(count);
        }
        if self.len == 0 {
            self.messages = None;
        }
    }

    /// Counts bytes that are appended.
    #[inline]
    fn grow(&mut self, len: usize) {
        self.len += len;
        if let Some(messages) = &mut self.messages {
            messages.grow(len);
        }
    }

    /// The messages, also if there is but one.
    fn take_messages(&mut self) -> Messages {
        match self.messages.take() {
            Some(messages) => *messages,
            None => Messages::plain(self.len),
        }
    }

    /// The pieces, the first one with the bytes that have been taken.
    fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let gathered = Some(&*self.gathered).filter(|gathered| !gathered.is_empty());
        self.list.iter().map(Chunk::as_slice).chain(gathered)
    }

    fn drop_sent(&mut self) {
        while let Some(bytes) = self.sent.pop_front() {
            drop(bytes);
        }
    }

    fn drop_sent_caught(&mut self) {
        // Once, and once more for each panic.
        while !self.sent.is_empty() {
            if let Err(message) = panics::catch(|| self.drop_sent()) {
                log::error!("{OWNER} panicked: {message}");
            }
        }
    }
}

impl Drop for Storage {
    /// Drops the pieces one by one. Otherwise a panic in one drop would leave this function, and a
    /// second panic would abort the process.
    fn drop(&mut self) {
        self.take_off(self.len);
        self.drop_sent_caught();
    }
}

impl Drop for Chunks {
    /// Inlined check: most queues that are dropped are empty.
    #[inline]
    fn drop(&mut self) {
        if let Some(storage) = self.storage.take() {
            drop_storage(storage);
        }
    }
}

#[inline(never)]
fn drop_storage(storage: Box<Storage>) {
    drop(storage);
}

/// The name of these drops in the log if one panics.
const OWNER: &str = "the drop of bytes to send";

impl Chunks {
    /// Makes an empty queue, without allocating.
    #[must_use]
    pub fn new() -> Chunks {
        Chunks::default()
    }

    /// The number of queued bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.storage.as_ref().map_or(0, |storage| storage.len)
    }

    /// Whether nothing is queued.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of separate pieces of memory that hold the bytes.
    #[must_use]
    pub fn count(&self) -> usize {
        self.storage.as_ref().map_or(0, |storage| {
            storage.list.len() + usize::from(!storage.gathered.is_empty())
        })
    }

    /// Says that nobody waits until these bytes are sent: a wait that begins before any code of the program runs need not end
    /// for the success of their send. Has no effect on the program's own memory, which is to be dropped once it is sent.
    pub(crate) fn mark_unawaited(&mut self) {
        if let Some(storage) = &mut self.storage {
            let shared = |chunk: &Chunk| matches!(chunk, Chunk::Shared(_));
            storage.unawaited = !storage.list.iter().any(shared);
        }
    }

    /// Whether the queue was marked; it is not any more.
    #[allow(dead_code, reason = "only io_uring heeds it")]
    pub(crate) fn take_unawaited(&mut self) -> bool {
        let storage = self.storage.as_mut();
        storage.is_some_and(|storage| std::mem::take(&mut storage.unawaited))
    }

    /// Appends a copy of `data`.
    pub fn extend_from_slice(&mut self, data: &[u8]) {
        if data.is_empty() {
            return;
        }
        let storage = self.storage.get_or_insert_default();
        storage.grow(data.len());
        let gathered = &mut storage.gathered;
        let room = GATHER_BYTES.saturating_sub(gathered.len());
        if !gathered.is_empty() && room < data.len() {
            gathered.extend_from_slice(&data[..room]);
            storage.begin_gathered(&data[room..]);
        } else {
            gathered.extend_from_slice(data);
        }
    }

    /// Appends `data` without copying it.
    pub fn push(&mut self, data: impl Into<Bytes>) {
        self.push_chunk(Chunk::Shared(data.into()));
    }

    /// Appends received bytes without copying them.
    pub(crate) fn push_received(&mut self, data: Buffer) {
        self.push_chunk(Chunk::Received(data));
    }

    fn push_chunk(&mut self, chunk: Chunk) {
        let len = chunk.as_slice().len();
        if len > 0 {
            let storage = self.storage.get_or_insert_default();
            storage.grow(len);
            storage.end_gathered();
            storage.list.push_back(chunk);
        }
    }

    /// Begins another message: the bytes appended from here on are sent apart from those before. On a socket of
    /// sequenced packets they are one packet, whatever their number; on a UNIX stream, the mark is lost on the way.
    ///
    /// The descriptors go with the first of these bytes, at most 253 of them: the receiver gets descriptors of its own
    /// for the same objects. Ours are closed once they are sent, or dropped with the bytes.
    ///
    /// Only the ports of Unix and of simulations send queues with several messages or descriptors, and only on UNIX sockets.
    pub fn begin_message(&mut self, descriptors: Vec<OwnedDescriptor>) {
        let storage = self.storage.get_or_insert_default();
        let mut messages = storage.take_messages();
        messages.begin(descriptors);
        storage.messages = Some(Box::new(messages));
    }

    /// Has descriptors go with the last byte. Gives them back if there is none, or if others go with it.
    pub(crate) fn attach(
        &mut self,
        descriptors: Vec<OwnedDescriptor>,
    ) -> Result<(), Vec<OwnedDescriptor>> {
        let Some(storage) = self.storage.as_mut().filter(|storage| storage.len > 0) else {
            return Err(descriptors);
        };
        let mut messages = storage.take_messages();
        let attached = messages.attach(descriptors);
        storage.messages = Some(Box::new(messages));
        attached
    }

    /// Whether the queue may have several messages, or descriptors.
    #[inline]
    pub(crate) fn has_messages(&self) -> bool {
        let storage = self.storage.as_ref();
        storage.is_some_and(|storage| storage.messages.is_some())
    }

    /// The length and the descriptors of the first message; `None` if the queue is empty.
    pub(crate) fn first_message(&self) -> Option<(usize, &[OwnedDescriptor])> {
        let storage = self.storage.as_ref().filter(|storage| storage.len > 0)?;
        match &storage.messages {
            Some(messages) => messages.first(),
            None => Some((storage.len, &[])),
        }
    }

    /// Takes the descriptors that go with the first byte.
    pub(crate) fn take_descriptors(&mut self) -> Vec<OwnedDescriptor> {
        let messages = self
            .storage
            .as_mut()
            .and_then(|storage| storage.messages.as_mut());
        messages.map_or_else(Vec::new, |messages| messages.take_descriptors())
    }

    /// The queued bytes, piece by piece from the front. No piece is empty.
    pub fn slices(&self) -> impl Iterator<Item = &[u8]> {
        let storage = self.storage.as_deref();
        let mut start = storage.map_or(0, |storage| storage.start);
        storage
            .into_iter()
            .flat_map(Storage::pieces)
            .map(move |piece| &piece[std::mem::take(&mut start)..])
    }

    /// The first piece of the queued bytes. Empty if there is none.
    pub(crate) fn first(&self) -> &[u8] {
        let Some(storage) = &self.storage else {
            return &[];
        };
        let first = match storage.list.front() {
            Some(chunk) => chunk.as_slice(),
            None => &storage.gathered,
        };
        &first[storage.start..]
    }

    /// Drops the first `count` bytes, or all if there are fewer.
    pub fn advance(&mut self, count: usize) {
        self.note_sent(count.min(self.len()));
        self.release_sent();
    }

    /// Takes the first `count` bytes, which were sent, off the queue. [`Bytes`] among them are kept
    /// until [`drop_sent`](Chunks::drop_sent), because dropping them may run the program's code.
    ///
    /// # Panics
    ///
    /// When fewer bytes are queued.
    pub(crate) fn note_sent(&mut self, count: usize) {
        assert!(
            count <= self.len(),
            "cannot drop {count} of {} queued bytes",
            self.len()
        );
        if let Some(storage) = &mut self.storage {
            storage.take_off(count);
        }
    }

    /// Whether the queue holds memory of sent bytes.
    pub(crate) fn holds_sent(&self) -> bool {
        let storage = self.storage.as_ref();
        storage.is_some_and(|storage| !storage.sent.is_empty())
    }

    /// Adds memory of bytes that were sent by other means.
    pub(crate) fn hold_sent(&mut self, memory: impl Iterator<Item = Bytes>) {
        self.storage.get_or_insert_default().sent.extend(memory);
    }

    /// Drops the memory of sent bytes, in the order of sending. If a drop panics, so does this; what is
    /// left is for the next call.
    pub(crate) fn drop_sent(&mut self) {
        if let Some(storage) = &mut self.storage {
            storage.drop_sent();
        }
    }

    /// Drops the memory of sent bytes, which a [completion](crate::port::Completion::unsent) returns.
    /// Logs a panic in the drop of [`Bytes`] and goes on.
    pub fn release_sent(&mut self) {
        if let Some(storage) = &mut self.storage {
            storage.drop_sent_caught();
        }
    }

    /// Moves whole pieces from the front of `source` into this queue, until this queue holds `max_count`
    /// pieces or at least `max_bytes` bytes. Copies nothing.
    ///
    /// # Panics
    ///
    /// When this queue is not empty.
    pub fn take_from(&mut self, source: &mut Chunks, max_count: usize, max_bytes: usize) {
        assert!(self.is_empty(), "pieces are moved into an empty queue only");
        let all = source.count() <= max_count && source.len() <= max_bytes;
        let Some(from) = source.storage.as_mut().filter(|_| !all) else {
            // The source gives away everything: exchange the storage as well, so that it gets ours.
            std::mem::swap(self, source);
            return;
        };
        let into = self.storage.get_or_insert_default();
        into.start = std::mem::take(&mut from.start);
        while into.list.len() < max_count && into.len < max_bytes {
            if from.list.is_empty() {
                from.end_gathered();
            }
            let Some(chunk) = from.list.pop_front() else {
                break;
            };
            let start = if into.list.is_empty() { into.start } else { 0 };
            into.len += chunk.as_slice().len() - start;
            into.list.push_back(chunk);
        }
        if let Some(messages) = &mut from.messages {
            into.messages = Some(Box::new(messages.split_front(into.len)));
        }
        from.len -= into.len;
        if into.list.is_empty() {
            // Nothing was taken: the first piece remains, partly sent.
            from.start = std::mem::take(&mut into.start);
        }
    }

    /// Moves the bytes of `unsent` back to the front of this queue, and leaves `unsent` empty.
    /// Copies nothing. The memory of sent bytes stays with `unsent`.
    ///
    /// Use it with [`Completion::unsent`](crate::port::Completion::unsent), whose bytes came from the
    /// front of this queue.
    pub fn put_back(&mut self, unsent: &mut Chunks) {
        if unsent.is_empty() {
            return;
        }
        if self.is_empty() {
            std::mem::swap(self, unsent);
            self.leave_sent_to(unsent);
            return;
        }
        let (Some(into), Some(from)) = (&mut self.storage, &mut unsent.storage) else {
            return;
        };
        debug_assert_eq!(into.start, 0, "what was queued behind it is whole");
        if into.messages.is_some() || from.messages.is_some() {
            let mut messages = into.take_messages();
            messages.put_back(from.take_messages());
            into.messages = Some(Box::new(messages));
        }
        into.len += std::mem::take(&mut from.len);
        into.start = std::mem::take(&mut from.start);
        from.end_gathered();
        while let Some(chunk) = from.list.pop_back() {
            into.list.push_front(chunk);
        }
    }

    /// Exchanges the memory of sent bytes with `other`.
    fn leave_sent_to(&mut self, other: &mut Chunks) {
        if self.holds_sent() || other.holds_sent() {
            let (own, other) = (&mut self.storage, &mut other.storage);
            let (own, other) = (own.get_or_insert_default(), other.get_or_insert_default());
            std::mem::swap(&mut own.sent, &mut other.sent);
        }
    }

    /// Whether the queue has storage, so that a new queue in its place would have to allocate.
    pub(crate) fn has_storage(&self) -> bool {
        self.storage.is_some()
    }

    /// Drops everything queued.
    pub fn clear(&mut self) {
        self.advance(self.len());
    }
}

impl From<Bytes> for Chunks {
    fn from(data: Bytes) -> Chunks {
        let mut chunks = Chunks::new();
        chunks.push(data);
        chunks
    }
}

impl From<Vec<u8>> for Chunks {
    fn from(data: Vec<u8>) -> Chunks {
        Chunks::from(Bytes::from(data))
    }
}

impl From<&[u8]> for Chunks {
    fn from(data: &[u8]) -> Chunks {
        let mut chunks = Chunks::new();
        chunks.extend_from_slice(data);
        chunks
    }
}

#[cfg(test)]
mod tests;
