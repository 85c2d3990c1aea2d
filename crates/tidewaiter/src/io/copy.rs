//! Two streams that are joined: what arrives at each is written to the other.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::halves::{ReadHalf, WriteHalf};
use super::stream::Stream;

/// One of the two sides that [`copy_bidirectional`] joins: a [`Stream`], or a half that reads and a half that writes, such as
/// the output and the input of a [`Child`](super::Child).
///
/// ```
/// use tidewaiter::io::{Duplex, ReadHalf, WriteHalf};
///
/// /// A connection that was split when its first request was read.
/// struct Session {
///     user: String,
///     reader: ReadHalf,
///     writer: WriteHalf,
/// }
///
/// impl Duplex for Session {
///     fn halves(&mut self) -> (&mut ReadHalf, &mut WriteHalf) {
///         (&mut self.reader, &mut self.writer)
///     }
/// }
/// ```
pub trait Duplex {
    /// The half that reads, and the half that writes.
    fn halves(&mut self) -> (&mut ReadHalf, &mut WriteHalf);
}

impl Duplex for Stream {
    fn halves(&mut self) -> (&mut ReadHalf, &mut WriteHalf) {
        self.both()
    }
}

impl Duplex for (ReadHalf, WriteHalf) {
    fn halves(&mut self) -> (&mut ReadHalf, &mut WriteHalf) {
        (&mut self.0, &mut self.1)
    }
}

impl<D: Duplex + ?Sized> Duplex for &mut D {
    fn halves(&mut self) -> (&mut ReadHalf, &mut WriteHalf) {
        (**self).halves()
    }
}

/// Writes to each of two streams what arrives at the other, until both have ended, and returns how many bytes went from `a`
/// to `b` and from `b` to `a`.
///
/// Where one ends, the other's sending side is ended once everything is sent ([`WriteHalf::shutdown`]), and the other direction
/// goes on. Pieces of 8 KiB and more are not copied as a rule: they are sent from the memory in which they were received.
/// Where the receiver is slow, its side queues up to 256 KiB ([`Transport::set_water_marks`] changes that), and the sender's
/// holds up to 64 KiB and a piece; then the sender is slowed down.
///
/// Dropping the future loses nothing: each byte stays in the stream where it arrived, or was written to the other one; another
/// call goes on from there. [`CopyBidirectional::copied`] says how many were written. For streams of other libraries,
/// such as those of TLS, there are the functions of their traits: see [`Stream`].
///
/// # Errors
///
/// The first error of a read or write of either stream, with how many bytes went each way before. Both streams are left as they are:
/// what can be read still can, and dropping them sends what is queued.
///
/// [`Transport::set_water_marks`]: crate::Transport::set_water_marks
///
/// ```
/// use tidewaiter::io::{Listener, Stream, copy_bidirectional};
///
/// let reactor = tidewaiter::Reactor::new()?;
/// let mut server = Listener::bind(&reactor, "127.0.0.1:0")?;
/// let mut proxy = Listener::bind(&reactor, "127.0.0.1:0")?;
/// let (behind, address) = (server.local_addr(), proxy.local_addr());
/// let passing = reactor.spawn({
///     let reactor = reactor.clone();
///     async move {
///         let (mut client, _peer) = proxy.accept().await?;
///         let mut server = Stream::connect(&reactor, behind).await?;
///         Ok::<_, std::io::Error>(copy_bidirectional(&mut client, &mut server).await?)
///     }
/// });
/// let copied = reactor.block_on(async {
///     let mut client = Stream::connect(&reactor, address).await?;
///     client.write_all(b"hello").await?;
///     client.shutdown().await?;
///     let (mut answering, _peer) = server.accept().await?;
///     let mut request = Vec::new();
///     answering.read_to_end(&mut request).await?;
///     answering.write_all(b"hello yourself").await?;
///     drop(answering);
///     Ok::<_, Box<dyn std::error::Error>>(passing.await??)
/// })??;
/// assert_eq!(copied, (5, 14));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn copy_bidirectional<'a, A: Duplex, B: Duplex>(
    a: &'a mut A,
    b: &'a mut B,
) -> CopyBidirectional<'a> {
    let (from_a, to_a) = a.halves();
    let (from_b, to_b) = b.halves();
    CopyBidirectional {
        a_to_b: Copying::new(from_a, to_b),
        b_to_a: Copying::new(from_b, to_a),
    }
}

/// The future of [`copy_bidirectional`].
///
/// ```
/// use std::time::Duration;
/// use tidewaiter::Reactor;
/// use tidewaiter::io::{Stream, copy_bidirectional};
///
/// /// Joins two streams for a minute at most, and tells how much went each way.
/// async fn join(reactor: &Reactor, mut a: Stream, mut b: Stream) -> std::io::Result<(u64, u64)> {
///     let mut copying = copy_bidirectional(&mut a, &mut b);
///     match reactor.timeout(Duration::from_secs(60), &mut copying).await {
///         Ok(copied) => Ok(copied?),
///         Err(_late) => Ok(copying.copied()),
///     }
/// }
/// ```
#[derive(Debug)]
#[must_use = "futures do nothing unless they are awaited"]
pub struct CopyBidirectional<'a> {
    a_to_b: Copying<'a>,
    b_to_a: Copying<'a>,
}

impl CopyBidirectional<'_> {
    /// How many bytes went each way so far. What the receiver has not taken yet is [queued](crate::Transport::queued) on its side.
    #[must_use]
    pub fn copied(&self) -> (u64, u64) {
        (self.a_to_b.copied, self.b_to_a.copied)
    }

    fn poll_both(&mut self, context: &Context<'_>) -> Poll<io::Result<()>> {
        let one = self.a_to_b.poll(context)?;
        let other = self.b_to_a.poll(context)?;
        match one.is_ready() && other.is_ready() {
            true => Poll::Ready(Ok(())),
            false => Poll::Pending,
        }
    }
}

impl Future for CopyBidirectional<'_> {
    type Output = Result<(u64, u64), CopyError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let result = ready!(self.poll_both(context));
        let copied = self.copied();
        Poll::Ready(match result {
            Ok(()) => Ok(copied),
            Err(source) => Err(CopyError { copied, source }),
        })
    }
}

/// Why [`copy_bidirectional`] ended before both streams had.
///
/// ```
/// use tidewaiter::io::{Stream, copy_bidirectional};
///
/// async fn join(mut a: Stream, mut b: Stream) {
///     if let Err(error) = copy_bidirectional(&mut a, &mut b).await {
///         let (sent, received) = error.copied;
///         eprintln!("after {sent} and {received} bytes: {}", error.source);
///     }
/// }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct CopyError {
    /// How many bytes went each way before. Those that were still [queued](crate::Transport::queued) may be lost with their
    /// connection: [`Transport::unsent`](crate::Transport::unsent) counts them.
    pub copied: (u64, u64),
    /// The error of the stream that failed.
    pub source: io::Error,
}

impl fmt::Display for CopyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (there, back) = self.copied;
        write!(f, "{} (after {there} and {back} bytes)", self.source)
    }
}

impl std::error::Error for CopyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

impl From<CopyError> for io::Error {
    fn from(error: CopyError) -> io::Error {
        error.source
    }
}

/// One direction.
#[derive(Debug)]
struct Copying<'a> {
    from: &'a mut ReadHalf,
    to: &'a mut WriteHalf,
    copied: u64,
    is_done: bool,
}

impl<'a> Copying<'a> {
    fn new(from: &'a mut ReadHalf, to: &'a mut WriteHalf) -> Copying<'a> {
        Copying {
            from,
            to,
            copied: 0,
            is_done: false,
        }
    }

    /// Passes on what there is, and then the end.
    fn poll(&mut self, context: &Context<'_>) -> Poll<io::Result<()>> {
        while !self.is_done {
            // A piece stays with the half that reads until it can be written: this future may be dropped at either wait.
            ready!(self.from.poll_current(context))?;
            let len = self.from.current().len();
            if len == 0 {
                ready!(self.to.poll_shut_down(context))?;
                self.is_done = true;
                break;
            }
            ready!(self.to.poll_writable(context))?;
            self.from.take_current().write_to(self.to.transport());
            self.copied += len as u64;
        }
        Poll::Ready(Ok(()))
    }
}
