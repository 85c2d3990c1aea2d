//! Datagrams to send.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;

use bytes::Bytes;

use super::super::memory::Chunks;
use super::error::DatagramError;
use crate::os::Address;
use crate::panics;

/// Copied bytes that were sent are removed from the front once there are this many of them.
const CONSUMED_MAX: usize = 64 * 1024;

/// A queue of datagrams to send, each with its destination.
///
/// It is also what a [`Request::SendDatagrams`](crate::port::Request::SendDatagrams) completes with: it then holds the
/// datagrams that are still to be sent, and the errors of those that could not be.
///
/// ```
/// use tidewaiter::Address;
/// use tidewaiter::port::{DatagramBatch, DatagramOptions, Port, PortOptions, Request, Token};
///
/// let mut port = Port::open(&PortOptions::default())?;
/// let socket = port.open_datagrams(&DatagramOptions::bound(([127, 0, 0, 1], 0)))?;
/// let to: Address = port.local_addr(socket)?; // itself
/// let mut batch = DatagramBatch::new();
/// batch.push(b"one", Some(&to));
/// batch.push(b"another", Some(&to));
/// assert_eq!((batch.len(), batch.bytes()), (2, 10));
/// port.submit(socket, Request::SendDatagrams(batch), Token(1))?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Default)]
pub struct DatagramBatch {
    /// Boxed: requests and completions often move a batch.
    inner: Option<Box<Inner>>,
}

#[derive(Default)]
struct Inner {
    runs: VecDeque<Entry>,
    /// The copied bytes. Those of an entry begin at its `start`, counted from the first byte ever copied.
    copied: Vec<u8>,
    /// The number of bytes that were removed from the front of `copied`.
    removed: usize,
    datagrams: usize,
    bytes: usize,
    failures: Vec<DatagramError>,
    /// The program's memory that was sent. It is dropped at a point where the program's code may run.
    sent: Vec<Bytes>,
    /// See [`DatagramBatch::mark_unawaited`].
    unawaited: bool,
}

/// Datagrams to one peer, of the same size but for the last one, which may be smaller.
struct Entry {
    to: Option<Address>,
    /// The bytes' range in the copied ones, or in `shared`.
    range: Range<usize>,
    segment: usize,
    shared: Option<Bytes>,
}

/// Datagrams to one peer, at the front of a batch: the bytes of one after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run<'a> {
    /// Where they go; `None`: to the peer that the socket is connected to.
    pub(crate) to: Option<&'a Address>,
    pub(crate) bytes: &'a [u8],
    /// The size of each datagram, but for the last one, which may be smaller; 0 for a single empty datagram.
    pub(crate) segment: usize,
}

impl<'a> Run<'a> {
    /// The number of datagrams.
    pub(crate) fn count(&self) -> usize {
        count(self.bytes.len(), self.segment)
    }

    /// The first `count` datagrams, or all if there are fewer.
    pub(crate) fn first(self, count: usize) -> Run<'a> {
        let end = self.bytes.len().min(count.saturating_mul(self.segment));
        Run {
            bytes: &self.bytes[..end],
            ..self
        }
    }
}

/// The number of datagrams in so many bytes.
fn count(bytes: usize, segment: usize) -> usize {
    bytes.div_ceil(segment.max(1)).max(1)
}

impl Entry {
    fn count(&self) -> usize {
        count(self.range.len(), self.segment)
    }

    /// Whether a datagram of `len` bytes that is copied behind this entry's bytes continues it.
    fn is_continued_by(&self, len: usize, to: Option<&Address>) -> bool {
        let is_full = self.range.len().is_multiple_of(self.segment.max(1));
        self.shared.is_none()
            && is_full
            && (1..=self.segment).contains(&len)
            && self.to.as_ref() == to
    }
}

impl Inner {
    fn run<'a>(&'a self, entry: &'a Entry) -> Run<'a> {
        let bytes = match &entry.shared {
            Some(shared) => &shared[entry.range.clone()],
            None => &self.copied[entry.range.start - self.removed..entry.range.end - self.removed],
        };
        Run {
            to: entry.to.as_ref(),
            bytes,
            segment: entry.segment,
        }
    }

    fn push_copy(&mut self, data: &[u8], to: Option<&Address>) {
        let start = self.removed + self.copied.len();
        self.copied.extend_from_slice(data);
        self.datagrams += 1;
        self.bytes += data.len();
        if let Some(last) = self.runs.back_mut()
            && last.is_continued_by(data.len(), to)
        {
            last.range.end += data.len();
            return;
        }
        self.runs.push_back(Entry {
            to: to.cloned(),
            range: start..start + data.len(),
            segment: data.len(),
            shared: None,
        });
    }

    fn push_shared(&mut self, data: Bytes, segment: usize, to: Option<Address>) {
        let range = 0..data.len();
        self.datagrams += count(data.len(), segment);
        self.bytes += data.len();
        self.runs.push_back(Entry {
            to,
            range,
            segment,
            shared: Some(data),
        });
    }

    /// Takes the first `count` datagrams off the queue, and keeps the program's memory among them.
    fn take_off(&mut self, mut count: usize) {
        self.datagrams -= count;
        while count > 0
            && let Some(first) = self.runs.front_mut()
        {
            let here = first.count().min(count);
            count -= here;
            let bytes = first.range.len().min(here * first.segment);
            let is_over = here == first.count();
            first.range.start += bytes;
            self.bytes -= bytes;
            if is_over {
                let over = self.runs.pop_front();
                self.sent.extend(over.and_then(|entry| entry.shared));
            }
        }
        self.remove_consumed();
    }

    /// Removes copied bytes that were sent, once it is worth moving the others.
    fn remove_consumed(&mut self) {
        match self.runs.front() {
            None => {
                self.removed = 0;
                self.copied.clear();
            }
            Some(first) if first.shared.is_none() => {
                let consumed = first.range.start - self.removed;
                if consumed >= CONSUMED_MAX && consumed >= self.copied.len() / 2 {
                    self.removed = first.range.start;
                    self.copied.drain(..consumed);
                }
            }
            Some(_) => {}
        }
    }
}

impl Drop for Inner {
    /// Drops the program's memory piece by piece, so that a panic in one drop goes no further.
    fn drop(&mut self) {
        let queued = self.runs.drain(..).filter_map(|entry| entry.shared);
        for memory in self.sent.drain(..).chain(queued) {
            panics::drop_caught("the drop of a datagram to send", memory);
        }
    }
}

impl DatagramBatch {
    /// Makes an empty batch, without allocating.
    #[must_use]
    pub fn new() -> DatagramBatch {
        DatagramBatch::default()
    }

    /// Appends a copy of `data` as one datagram, to `to` or, if that is `None`, to the peer that the socket is connected
    /// to.
    pub fn push(&mut self, data: &[u8], to: Option<&Address>) {
        self.inner.get_or_insert_default().push_copy(data, to);
    }

    /// Appends `data` as one datagram without copying it. Otherwise as [`push`](DatagramBatch::push).
    pub fn push_bytes(&mut self, data: impl Into<Bytes>, to: Option<&Address>) {
        let data = data.into();
        let segment = data.len();
        let inner = self.inner.get_or_insert_default();
        inner.push_shared(data, segment, to.cloned());
    }

    /// Appends `data` as a run of datagrams of `segment` bytes each, but for the last one, which may be smaller, without
    /// copying it. Where the OS can, it cuts them itself.
    ///
    /// # Panics
    ///
    /// When `segment` is 0, or `data` is empty.
    pub fn push_run(&mut self, data: impl Into<Bytes>, segment: usize, to: Option<&Address>) {
        let data = data.into();
        assert!(
            segment > 0 && !data.is_empty(),
            "a run has datagrams, and they have bytes"
        );
        let inner = self.inner.get_or_insert_default();
        inner.push_shared(data, segment, to.cloned());
    }

    /// The number of datagrams that are to be sent.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inner.as_ref().map_or(0, |inner| inner.datagrams)
    }

    /// Whether there are no datagrams to send.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of bytes that are to be sent.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.inner.as_ref().map_or(0, |inner| inner.bytes)
    }

    /// The errors of the datagrams that could not be sent, in their order. Those datagrams are gone.
    #[must_use]
    pub fn failures(&self) -> &[DatagramError] {
        self.inner.as_ref().map_or(&[], |inner| &inner.failures)
    }

    /// Takes the [`failures`](DatagramBatch::failures) out.
    pub fn take_failures(&mut self) -> Vec<DatagramError> {
        let inner = self.inner.as_mut();
        inner.map_or_else(Vec::new, |inner| std::mem::take(&mut inner.failures))
    }

    /// The datagrams to send, as runs to one peer, from the front.
    pub(crate) fn runs(&self) -> impl Iterator<Item = Run<'_>> {
        let inner = self.inner.iter();
        inner.flat_map(|inner| inner.runs.iter().map(|entry| inner.run(entry)))
    }

    /// Takes the first `count` datagrams, which were sent, off the queue. The program's memory among them is kept until
    /// [`move_sent_to`](DatagramBatch::move_sent_to), because dropping it may run the program's code.
    ///
    /// # Panics
    ///
    /// When there are fewer datagrams.
    pub(crate) fn note_sent(&mut self, count: usize) {
        assert!(count <= self.len(), "only queued datagrams are sent");
        if let Some(inner) = &mut self.inner {
            inner.take_off(count);
        }
    }

    /// Takes the first datagram, which could not be sent, off the queue, and keeps the error.
    pub(crate) fn note_failed(&mut self, error: DatagramError) {
        self.note_sent(1);
        if let Some(inner) = &mut self.inner {
            inner.failures.push(error);
        }
    }

    /// Says that nobody waits until these datagrams are sent: see [`Chunks::mark_unawaited`].
    pub(crate) fn mark_unawaited(&mut self) {
        if let Some(inner) = &mut self.inner {
            inner.unawaited = inner.runs.iter().all(|entry| entry.shared.is_none());
        }
    }

    /// Whether the batch was marked; it is not any more.
    #[allow(dead_code, reason = "only io_uring heeds it")]
    pub(crate) fn take_unawaited(&mut self) -> bool {
        let inner = self.inner.as_mut();
        inner.is_some_and(|inner| std::mem::take(&mut inner.unawaited))
    }

    /// Whether the batch holds the program's memory that was sent.
    pub(crate) fn holds_sent(&self) -> bool {
        self.inner
            .as_ref()
            .is_some_and(|inner| !inner.sent.is_empty())
    }

    /// Moves the program's memory that was sent to that of `queue`.
    pub(crate) fn move_sent_to(&mut self, queue: &mut Chunks) {
        if let Some(inner) = &mut self.inner {
            queue.hold_sent(inner.sent.drain(..));
        }
    }
}

impl fmt::Debug for DatagramBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (datagrams, bytes) = (self.len(), self.bytes());
        write!(f, "DatagramBatch({datagrams} datagrams, {bytes} bytes)")
    }
}
