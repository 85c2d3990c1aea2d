//! One pipe of a child.

mod traits;

use std::fmt;
use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tidewaiter::{Producer, ProducerKind, Reason, RemoteProcess, Transport};

use crate::waiting::Watched;

/// At this many bytes that the reader has not taken yet, no more are received until it takes them: several times as many as
/// arrive at once, so that a child that writes much and a reader that keeps up seldom wait for each other.
const RECEIVED_MAX: usize = 256 * 1024;
/// A pipe that waits for bytes keeps the memory of the last ones, for the next ones, if it is no more than this.
const SPARE_MAX: usize = 4 * 1024;
/// At this many bytes on their way to the thread, a writer waits.
const SENDING_MAX: usize = 64 * 1024;

#[derive(Default)]
struct State {
    /// The bytes that arrived and that the reader has not taken yet.
    received: Vec<u8>,
    /// Whether the reader takes all bytes together, once the pipe is closed.
    gathers: bool,
    /// Whether receiving is paused.
    paused: bool,
    /// How many written bytes the thread has not queued yet.
    sending: usize,
    /// Whether the thread has queued bytes that the OS may not have taken yet.
    queued: bool,
    /// Whether the thread was asked to tell when the OS has taken them.
    flushing: bool,
    /// Whether bytes that were written are lost.
    lost: bool,
    /// Whether the thread's queue is so long that a writer is to wait.
    congested: bool,
    /// Whether the program has closed the pipe, and it takes no more bytes.
    closing: bool,
    /// Set once the pipe is closed: nothing more arrives, and nothing can be written.
    end: Option<End>,
}

/// How a pipe ended.
enum End {
    /// Everything that the thread queued was sent.
    InOrder,
    /// The reason, in words.
    Broken(String),
}

/// The state that a pipe shares with the thread.
#[derive(Default)]
pub(crate) struct Shared(Watched<State>);

impl Shared {
    // The thread's side.

    /// Keeps bytes that arrived. Returns whether to receive no more for now.
    pub(crate) fn received(&self, bytes: &[u8]) -> bool {
        self.0.change_and_wake_if(|state| {
            state.received.extend_from_slice(bytes);
            let full = !state.gathers && state.received.len() >= RECEIVED_MAX;
            let pauses = full && !std::mem::replace(&mut state.paused, true);
            (pauses, !state.gathers)
        })
    }

    pub(crate) fn set_congested(&self, congested: bool) {
        self.0.change(|state| state.congested = congested);
    }

    pub(crate) fn close(&self, reason: &Reason) {
        self.0.change(|state| {
            state.queued &= !reason.is_done();
            state.end.get_or_insert_with(|| match reason {
                Reason::Done => End::InOrder,
                _ => End::Broken(reason.to_string()),
            });
        });
    }

    /// `count` bytes have arrived at the thread, which has queued or dropped them.
    fn arrived(&self, count: usize, queued: bool) {
        self.0.change(|state| {
            state.sending -= count;
            state.queued |= queued;
            state.lost |= !queued;
        });
    }

    /// The OS has taken everything that the thread had queued.
    fn taken(&self) {
        self.0
            .change(|state| (state.queued, state.flushing) = (false, false));
    }
}

impl State {
    /// Waits for bytes, and exchanges them for the reader's memory, which is empty: none arrive after the end. Returns
    /// whether receiving is to go on.
    fn take(&mut self, memory: &mut Vec<u8>) -> Option<bool> {
        if self.received.is_empty() {
            free_if_large(&mut self.received);
            free_if_large(memory);
            return self.end.is_some().then_some(false);
        }
        std::mem::swap(&mut self.received, memory);
        Some(std::mem::replace(&mut self.paused, false))
    }

    /// Waits for the end, and takes all bytes.
    fn take_all(&mut self) -> Option<Vec<u8>> {
        let ended = self.end.is_some();
        ended.then(|| std::mem::take(&mut self.received))
    }

    /// Waits until the pipe takes bytes, and counts them. An error is the cause, in words.
    fn write(&mut self, count: usize) -> Option<Result<(), String>> {
        if self.closing || self.lost || self.end.is_some() {
            return Some(Err(self.cause()));
        }
        if self.congested || self.sending >= SENDING_MAX {
            return None;
        }
        self.sending += count;
        Some(Ok(()))
    }

    /// Whether the OS may not have taken all that was written.
    fn is_unsent(&self) -> bool {
        self.sending > 0 || self.queued
    }

    /// Whether to ask the thread to tell when the OS has taken everything.
    fn asks_when_taken(&mut self) -> bool {
        let waits = self.is_unsent() && self.end.is_none();
        waits && !std::mem::replace(&mut self.flushing, true)
    }

    /// Waits until the OS has taken all that was written. An error is the cause, in words.
    fn flush(&mut self) -> Option<Result<(), String>> {
        self.lost |= self.end.is_some() && self.is_unsent();
        if self.lost {
            let cause = self.cause();
            return Some(Err(format!("not all that was written was sent: {cause}")));
        }
        (!self.is_unsent()).then_some(Ok(()))
    }

    /// Why the pipe takes no more bytes.
    fn cause(&self) -> String {
        match &self.end {
            Some(End::Broken(reason)) => reason.clone(),
            Some(End::InOrder) => "the child or this program has closed the pipe".to_owned(),
            None if self.lost => "nobody reads the pipe any more".to_owned(),
            None => "this program has closed the pipe".to_owned(),
        }
    }
}

/// Registered with a pipe on the thread, which resumes it once the OS has taken everything.
struct Taken {
    shared: Arc<Shared>,
    pipe: Transport,
}

impl Producer for Taken {
    fn pause_producing(&mut self) {}

    fn resume_producing(&mut self) {
        self.pipe.unregister_producer();
        self.shared.taken();
    }

    /// The pipe ends, and then its protocol tells why; or it goes both ways, and still receives.
    fn stop_producing(&mut self) {
        if self.pipe.is_open() && self.pipe.unsent() > 0 {
            self.shared.0.change(|state| state.lost = true);
        }
    }
}

fn free_if_large(memory: &mut Vec<u8>) {
    if memory.capacity() > SPARE_MAX {
        *memory = Vec::new();
    }
}

/// One pipe of a child: its standard input, output or error output, another descriptor, or its terminal.
///
/// It reads what the child writes and writes what the child reads, each as far as the pipe has that direction; the other
/// one ends at once. Tasks of any runtime read and write it, by the traits of `futures-io` and, with the feature `tokio`, of
/// tokio; code that blocks does so [`into_blocking`](ChildPipe::into_blocking). Dropping a future loses nothing.
///
/// The child's bytes are held up to 512 KiB; then the child waits. A writer waits while the child does not read. A flush waits
/// until the OS has taken all that was written: if the pipe breaks before, it fails with
/// [`BrokenPipe`](io::ErrorKind::BrokenPipe), and the error names the pipe and the cause. Dropping the pipe closes it, once what
/// was written is sent.
///
/// ```
/// use futures_io::AsyncRead;
/// use std::future::poll_fn;
/// use std::pin::Pin;
/// use tidewaiter_process::ChildPipe;
///
/// /// As `AsyncReadExt::read` of tokio or `futures` does it.
/// async fn read(pipe: &mut ChildPipe, into: &mut [u8]) -> std::io::Result<usize> {
///     poll_fn(|context| Pin::new(&mut *pipe).poll_read(context, into)).await
/// }
/// ```
pub struct ChildPipe {
    shared: Arc<Shared>,
    remote: RemoteProcess,
    fd: u32,
    /// The bytes that were taken of those that arrived, and how many of them were read.
    taken: Vec<u8>,
    read: usize,
}

impl ChildPipe {
    pub(crate) fn new(shared: Arc<Shared>, remote: RemoteProcess, fd: u32) -> ChildPipe {
        ChildPipe {
            shared,
            remote,
            fd,
            taken: Vec::new(),
            read: 0,
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

    fn send(&self, bytes: Bytes) {
        let (fd, count, shared) = (self.fd, bytes.len(), Arc::clone(&self.shared));
        let sent = self.remote.call(move |process| {
            let pipe = process.pipe(fd).filter(Transport::takes_data);
            if let Some(pipe) = &pipe {
                pipe.write_bytes(bytes);
            }
            shared.arrived(count, pipe.is_some());
        });
        if sent.is_err() {
            self.shared.close(&Reason::Stopped);
        }
    }

    /// Has the thread tell when the OS has taken all that was written.
    fn begin_flush(&self) {
        let asks = |state: &mut State| (state.asks_when_taken(), false);
        if !self.watched().change_and_wake_if(asks) {
            return;
        }
        let (fd, shared) = (self.fd, Arc::clone(&self.shared));
        let sent = self.remote.call(move |process| {
            // A pipe that is closed or about to end tells of its end instead.
            if let Some(pipe) = process.pipe(fd).filter(Transport::takes_data) {
                match pipe.queued() {
                    0 => shared.taken(),
                    _ => {
                        let taken = Taken {
                            shared,
                            pipe: pipe.clone(),
                        };
                        pipe.register_producer(taken, ProducerKind::Pull);
                    }
                }
            }
        });
        if sent.is_err() {
            self.shared.close(&Reason::Stopped);
        }
    }

    fn broken(&self, cause: &str) -> io::Error {
        let (fd, pid) = (self.fd, self.remote.pid());
        let message = format!("descriptor {fd} of child {pid}: {cause}");
        io::Error::new(io::ErrorKind::BrokenPipe, message)
    }

    /// The bytes that were taken and not read.
    fn unread(&self) -> &[u8] {
        &self.taken[self.read..]
    }

    /// Takes the bytes that have arrived, once all that were taken before are read. Returns what `wait` does, which waits
    /// for a state of the pipe.
    fn take_next(
        &mut self,
        wait: impl FnOnce(&Watched<State>, &mut Vec<u8>) -> Poll<bool>,
    ) -> Poll<()> {
        if self.unread().is_empty() {
            self.taken.clear();
            self.read = 0;
            if ready!(wait(&self.shared.0, &mut self.taken)) {
                self.resume();
            }
        }
        Poll::Ready(())
    }

    /// Waits until there are unread bytes. There are none at the end.
    fn poll_unread(&mut self, context: &Context<'_>) -> Poll<()> {
        self.take_next(|watched, memory| watched.poll(context, |state| state.take(memory)))
    }

    /// Moves unread bytes to `into`, as many as fit, and returns how many.
    fn read_unread(&mut self, into: &mut [u8]) -> usize {
        let count = self.unread().len().min(into.len());
        into[..count].copy_from_slice(&self.unread()[..count]);
        self.read += count;
        count
    }

    /// Has all bytes kept for [`gathered`](ChildPipe::gathered), without waking anybody before the end.
    pub(crate) fn gather(&self) {
        let resumes = self.watched().change(|state| {
            state.gathers = true;
            std::mem::replace(&mut state.paused, false)
        });
        if resumes {
            self.resume();
        }
    }

    /// After [`gather`](ChildPipe::gather): waits for the end, and returns all bytes.
    pub(crate) async fn gathered(mut self) -> Vec<u8> {
        let rest = poll_fn(|context| self.watched().poll(context, State::take_all)).await;
        if self.unread().is_empty() {
            return rest;
        }
        let mut all = std::mem::take(&mut self.taken).split_off(self.read);
        self.read = 0;
        all.extend_from_slice(&rest);
        all
    }

    fn poll_writing(&self, context: &Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let taken = self
            .watched()
            .poll(context, |state| state.write(bytes.len()));
        ready!(taken).map_err(|cause| self.broken(&cause))?;
        self.send(Bytes::copy_from_slice(bytes));
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flushing(&self, context: &Context<'_>) -> Poll<io::Result<()>> {
        self.begin_flush();
        let flushed = self.watched().poll(context, State::flush);
        flushed.map_err(|cause| self.broken(&cause))
    }

    /// Closes the pipe, once what was written is sent. Flush it before to learn whether it was.
    pub fn close(&self) {
        let closes = |state: &mut State| {
            let closed = std::mem::replace(&mut state.closing, true);
            (!closed && state.end.is_none(), false)
        };
        if !self.watched().change_and_wake_if(closes) {
            return;
        }
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
///
/// ```
/// use std::io::{Read, Write};
/// use tidewaiter_process::{BlockingPipe, Child, Command, Stdio};
///
/// # if cfg!(unix) {
/// let cat = Command::new("cat").stdin(Stdio::Pipe);
/// let mut child = Child::spawn(&cat)?;
/// let mut input: BlockingPipe = child.stdin.take().expect("it is a pipe").into_blocking();
/// input.write_all(b"hello")?;
/// drop(input);
/// let mut output = String::new();
/// child.stdout.take().expect("it is a pipe").into_blocking().read_to_string(&mut output)?;
/// assert_eq!(output, "hello");
/// assert!(child.wait_blocking().success());
/// # }
/// # Ok::<(), std::io::Error>(())
/// ```
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
        if !into.is_empty() {
            let _ = self
                .0
                .take_next(|watched, memory| Poll::Ready(watched.wait(|state| state.take(memory))));
        }
        Ok(self.0.read_unread(into))
    }
}

impl Write for BlockingPipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = self.0.watched().wait(|state| state.write(bytes.len()));
        taken.map_err(|cause| self.0.broken(&cause))?;
        self.0.send(Bytes::copy_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.begin_flush();
        let flushed = self.0.watched().wait(State::flush);
        flushed.map_err(|cause| self.0.broken(&cause))
    }
}

#[cfg(test)]
mod tests;
