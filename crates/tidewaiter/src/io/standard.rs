//! Our own standard streams.

use std::io;
use std::rc::Rc;

use super::halves::ReadHalf;
use super::shared::{Inlet, Shared};
use super::stream::Stream;
use crate::port::RawDescriptor;
use crate::reactor::Reactor;

/// Opens standard input and output as one stream: what arrives at standard input is read, and what is written goes to
/// standard output. See [`Reactor::standard_io`] for what they may be.
///
/// Dropping the stream, or the half that writes, ends standard output once what was written has gone out: what `println!`
/// writes after that goes nowhere. [`stdin`] leaves standard output alone.
///
/// # Errors
///
/// As [`Reactor::standard_io`].
///
/// ```no_run
/// let reactor = tidewaiter::Reactor::new()?;
/// let mut stdio = tidewaiter::io::stdio(&reactor)?;
/// reactor.block_on(async {
///     loop {
///         let chunk = stdio.read_chunk().await?;
///         if chunk.is_empty() {
///             return stdio.shutdown().await; // the end of standard input
///         }
///         stdio.write_all(&chunk.to_ascii_uppercase()).await?;
///     }
/// })??;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias = "stdout")]
pub fn stdio(reactor: &Reactor) -> io::Result<Stream> {
    let shared = Rc::<Shared>::default();
    let transport = reactor.standard_io(Inlet::of(&shared))?;
    Ok(Stream::new(&transport, shared))
}

/// Opens standard input alone; standard output stays the program's, for `println!` and the like. See
/// [`Reactor::standard_input`].
///
/// # Errors
///
/// As [`Reactor::standard_input`].
///
/// ```no_run
/// use tidewaiter::frames::{FramedRead, Lines};
///
/// let reactor = tidewaiter::Reactor::new()?;
/// let mut lines = FramedRead::new(tidewaiter::io::stdin(&reactor)?, Lines::new());
/// reactor.block_on(async {
///     while let Some(line) = lines.next().await {
///         println!("{} bytes", line?.len());
///     }
///     Ok::<(), tidewaiter::frames::FrameError>(())
/// })??;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn stdin(reactor: &Reactor) -> io::Result<ReadHalf> {
    let shared = Rc::new(Shared::of_one_direction());
    let transport = reactor.standard_input(Inlet::of(&shared))?;
    Ok(ReadHalf::new(&transport, shared))
}

impl Stream {
    /// Reads what arrives at the descriptor `input`, and writes to `output`, either of which may be missing: see
    /// [`Reactor::open_descriptors`]. They stay the caller's; close them when the stream has ended, and not before.
    ///
    /// # Errors
    ///
    /// As [`Reactor::open_descriptors`].
    pub fn of_descriptors(
        reactor: &Reactor,
        input: Option<RawDescriptor>,
        output: Option<RawDescriptor>,
    ) -> io::Result<Stream> {
        let shared = Rc::<Shared>::default();
        let transport = reactor.open_descriptors(input, output, Inlet::of(&shared))?;
        Ok(Stream::new(&transport, shared))
    }
}
