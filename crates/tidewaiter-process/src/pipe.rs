//! One pipe of a child.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tidewaiter::RemoteProcess;

use crate::waiting::Watched;

/// At this many bytes that were not read yet, no more are received until half of them were: several times as many as arrive
/// at once, so that a child that writes much and a reader that keeps up seldom wait for each other.
const HELD_MAX: usize = 256 * 1024;
/// At this many bytes on their way to the thread, a writer waits.
const SENDING_MAX: usize = 64 * 1024;

#[derive(Default)]
struct State {
    received: VecDeque<Bytes>,
    held: usize,
    /// Whether receiving is paused.
    paused: bool,
    /// How many written bytes the thread has not queued yet.
    sending: usize,
    /// Whether the thread's queue is so long that a writer is to wait.
    congested: bool,
    /// Whether the pipe is closed: nothing more arrives, and nothing can be written.
    closed: bool,
}

/// The state that a pipe shares with the thread.
pub(crate) struct Shared(Watched<State>);

impl Shared {
    pub(crate) fn new() -> Shared {
        Shared(Watched::new(State::default()))
    }

    // The thread's side.

    /// Keeps bytes that arrived. Returns whether to receive no more for now.
    pub(crate) fn received(&self, bytes: &[u8]) -> bool {
        let piece = Bytes::copy_from_slice(bytes);
        self.0.change(|state| {
            state.held += piece.len();
            state.received.push_back(piece);
            state.held >= HELD_MAX && !std::mem::replace(&mut state.paused, true)
        })
    }

    pub(crate) fn set_congested(&self, congested: bool) {
        self.0.change(|state| state.congested = congested);
    }

    pub(crate) fn close(&self) {
        self.0.change(|state| state.closed = true);
    }

    fn queued(&self, count: usize) {
        self.0.change(|state| state.sending -= count);
    }
}

impl State {
    /// Waits for bytes, and takes those that arrived together: none at the end. Returns also whether receiving is to go
    /// on.
    fn take(&mut self) -> Option<(Bytes, bool)> {
        let Some(piece) = self.received.pop_front() else {
            return self.closed.then(|| (Bytes::new(), false));
        };
        self.held -= piece.len();
        let resumes = self.held <= HELD_MAX / 2 && std::mem::replace(&mut self.paused, false);
        Some((piece, resumes))
    }

    /// Waits until the pipe takes bytes, and counts them.
    fn write(&mut self, count: usize) -> Option<io::Result<()>> {
        if self.closed {
            let message = "the child or this program has closed the pipe";
            return Some(Err(io::Error::new(io::ErrorKind::BrokenPipe, message)));
        }
        if self.congested || self.sending >= SENDING_MAX {
            return None;
        }
        self.sending += count;
        Some(Ok(()))
    }

    /// Waits until all that was written has left for the OS, but for what fits below the mark of congestion.
    fn is_flushed(&mut self) -> Option<()> {
        (self.closed || (self.sending == 0 && !self.congested)).then_some(())
    }
}

/// One pipe of a child: its standard input, output or error output, another descriptor, or its terminal.
///
/// It reads what the child writes and writes what the child reads, each as far as the pipe has that direction; the other
/// one ends at once. Tasks of any runtime read and write it, by the traits of `futures-io` and, with the feature `tokio`, of
/// tokio; code that blocks does so [`into_blocking`](ChildPipe::into_blocking). Dropping a future loses nothing.
///
/// The child's bytes are held up to 256 KiB; then the child waits. A writer waits while the child does not read.
/// Dropping the pipe closes it, once what was written is sent.
pub struct ChildPipe {
    shared: Arc<Shared>,
    remote: RemoteProcess,
    fd: u32,
    /// What was taken from the received bytes, and not read yet.
    current: Bytes,
}

impl ChildPipe {
    pub(crate) fn new(shared: Arc<Shared>, remote: RemoteProcess, fd: u32) -> ChildPipe {
        ChildPipe {
            shared,
            remote,
            fd,
            current: Bytes::new(),
        }
    }

    /// The number that the descriptor has in the child.
    #[must_use]
    pub fn fd(&self) -> u32 {
        self.fd
    }

    /// The pipe for code that blocks.
    #[must_use]
    pub fn into_blocking(self) -> BlockingPipe {
        BlockingPipe(self)
    }

    fn watched(&self) -> &Watched<State> {
        &self.shared.0
    }

    /// Goes on receiving.
    fn resume(&self) {
        let fd = self.fd;
        // An error means that the thread has ended, and all pipes with it.
        let _ = self.remote.call(move |process| {
            if let Some(pipe) = process.pipe(fd) {
                pipe.resume_producing();
            }
        });
    }

    /// Begins to read bytes that were taken.
    fn set_current(&mut self, (piece, resumes): (Bytes, bool)) {
        self.current = piece;
        if resumes {
            self.resume();
        }
    }

    fn send(&self, bytes: Bytes) {
        let (fd, count, shared) = (self.fd, bytes.len(), Arc::clone(&self.shared));
        let sent = self.remote.call(move |process| {
            if let Some(pipe) = process.pipe(fd) {
                pipe.write_bytes(bytes);
            }
            shared.queued(count);
        });
        if sent.is_err() {
            self.shared.close();
        }
    }

    /// Waits until there are bytes in `current`. It stays empty at the end.
    fn poll_current(&mut self, context: &Context<'_>) -> Poll<()> {
        if self.current.is_empty() {
            let taken = ready!(self.watched().poll(context, State::take));
            self.set_current(taken);
        }
        Poll::Ready(())
    }

    /// Waits for bytes, and takes those that arrived together: none at the end.
    pub(crate) fn poll_piece(&mut self, context: &Context<'_>) -> Poll<Bytes> {
        ready!(self.poll_current(context));
        Poll::Ready(std::mem::take(&mut self.current))
    }

    /// Moves bytes of `current` to `into`, as many as fit, and returns how many.
    fn read_current(&mut self, into: &mut [u8]) -> usize {
        let count = self.current.len().min(into.len());
        self.current.copy_to_slice(&mut into[..count]);
        count
    }

    fn poll_writing(&self, context: &Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(
            self.watched()
                .poll(context, |state| state.write(bytes.len()))
        )?;
        self.send(Bytes::copy_from_slice(bytes));
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flushing(&self, context: &Context<'_>) -> Poll<io::Result<()>> {
        self.watched().poll(context, State::is_flushed).map(Ok)
    }

    /// Closes the pipe, once what was written is sent.
    pub fn close(&self) {
        let fd = self.fd;
        // An error means that the thread has ended, and all pipes with it.
        let _ = self.remote.call(move |process| process.close_fd(fd));
    }
}

impl Drop for ChildPipe {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for ChildPipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChildPipe({} of {})", self.fd, self.remote.pid())
    }
}

/// A [`ChildPipe`] for code that blocks: it reads and writes by [`Read`] and [`Write`].
#[derive(Debug)]
pub struct BlockingPipe(ChildPipe);

impl BlockingPipe {
    /// The pipe, for tasks again.
    #[must_use]
    pub fn into_async(self) -> ChildPipe {
        self.0
    }
}

impl Read for BlockingPipe {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.0.current.is_empty() && !into.is_empty() {
            let taken = self.0.watched().wait(State::take);
            self.0.set_current(taken);
        }
        Ok(self.0.read_current(into))
    }
}

impl Write for BlockingPipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let watched = self.0.watched();
        watched.wait(|state| state.write(bytes.len()))?;
        self.0.send(Bytes::copy_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.watched().wait(State::is_flushed);
        Ok(())
    }
}

impl futures_io::AsyncRead for ChildPipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if !into.is_empty() {
            ready!(self.poll_current(context));
        }
        Poll::Ready(Ok(self.read_current(into)))
    }
}

impl futures_io::AsyncWrite for ChildPipe {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_writing(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flushing(context)
    }

    fn poll_close(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_flushing(context))?;
        self.close();
        Poll::Ready(Ok(()))
    }
}

#[cfg(feature = "tokio")]
impl tokio::io::AsyncRead for ChildPipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if into.remaining() > 0 {
            ready!(self.poll_current(context));
        }
        let count = self.current.len().min(into.remaining());
        into.put_slice(&self.current[..count]);
        self.current.advance(count);
        Poll::Ready(Ok(()))
    }
}

#[cfg(feature = "tokio")]
impl tokio::io::AsyncWrite for ChildPipe {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_writing(context, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flushing(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        futures_io::AsyncWrite::poll_close(self, context)
    }
}
