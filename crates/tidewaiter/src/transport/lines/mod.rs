//! Splits received bytes into lines.

mod splitter;

use std::collections::BTreeMap;

use super::child::{ChildFd, Process, ProcessProtocol};
use super::stream::{Protocol, Transport};
use crate::error::Reason;
use crate::process::ExitStatus;
use splitter::LINE_LIMIT;
pub use splitter::{Line, LineEnd, LineSplitter};

/// The program's side of a connection that speaks in lines: see [`Lines`]. The methods are those of a [`Protocol`],
/// with lines in the place of data.
pub trait LineProtocol {
    /// As [`Protocol::connection_made`].
    fn connection_made(&mut self, transport: &Transport) {
        let _ = transport;
    }

    /// A line arrived. The lines that arrived with it follow at once, even if this one pauses the transport; none
    /// follows after [`Transport::lose_connection`].
    fn line_received(&mut self, transport: &Transport, line: Line<'_>);

    /// As [`Protocol::read_connection_lost`]. The last line was told before.
    fn read_connection_lost(&mut self, transport: &Transport) {
        transport.lose_without_producer();
    }

    /// As [`Protocol::write_connection_lost`].
    fn write_connection_lost(&mut self, transport: &Transport) {
        let _ = transport;
    }

    /// As [`Protocol::connection_lost`]. A line that had no end yet, when the connection ended otherwise than by the
    /// peer's end of file, is dropped.
    fn connection_lost(&mut self, transport: &Transport, reason: Reason) {
        let _ = (transport, reason);
    }
}

/// Makes a [`Protocol`] of a [`LineProtocol`]: splits what a connection receives into lines.
///
/// ```
/// use tidewaiter::{Line, LineProtocol, Lines, Reactor, Transport};
///
/// struct Shout;
///
/// impl LineProtocol for Shout {
///     fn line_received(&mut self, transport: &Transport, line: Line<'_>) {
///         transport.write(&line.bytes.to_ascii_uppercase());
///         transport.write(b"\n");
///     }
/// }
///
/// let reactor = Reactor::new()?;
/// let address: std::net::SocketAddr = "127.0.0.1:0".parse()?;
/// reactor.listen_tcp(address, |_peer| Lines::new(Shout).limit(1024))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Lines<P> {
    splitter: LineSplitter,
    protocol: P,
}

impl<P> Lines<P> {
    /// Lines of up to 64 KiB.
    pub fn new(protocol: P) -> Lines<P> {
        Lines {
            splitter: LineSplitter::default(),
            protocol,
        }
    }

    /// Sets how many bytes a line may have, without its end: 64 KiB by default.
    #[must_use]
    pub fn limit(mut self, bytes: usize) -> Lines<P> {
        self.splitter = LineSplitter::new(bytes);
        self
    }
}

impl<P: LineProtocol + 'static> Protocol for Lines<P> {
    fn connection_made(&mut self, transport: &Transport) {
        self.protocol.connection_made(transport);
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        let protocol = &mut self.protocol;
        self.splitter.feed(data, |line| {
            if transport.still_receives() {
                protocol.line_received(transport, line);
            }
        });
    }

    fn read_connection_lost(&mut self, transport: &Transport) {
        let protocol = &mut self.protocol;
        self.splitter
            .finish(|line| protocol.line_received(transport, line));
        self.protocol.read_connection_lost(transport);
    }

    fn write_connection_lost(&mut self, transport: &Transport) {
        self.protocol.write_connection_lost(transport);
    }

    fn connection_lost(&mut self, transport: &Transport, reason: Reason) {
        self.protocol.connection_lost(transport, reason);
    }
}

/// The program's side of a child that speaks in lines: see [`ChildLines`]. The methods are those of a
/// [`ProcessProtocol`], with lines in the place of data.
pub trait ChildLineProtocol {
    /// As [`ProcessProtocol::connection_made`].
    fn connection_made(&mut self, process: &Process) {
        let _ = process;
    }

    /// The child wrote a line to its descriptor `child_fd`. The lines that arrived with it follow at once, even if this
    /// one pauses the pipe; none follows once the pipe is closed.
    fn line_received(&mut self, process: &Process, child_fd: ChildFd, line: Line<'_>);

    /// As [`ProcessProtocol::child_connection_lost`]. The last line was told before.
    fn child_connection_lost(&mut self, process: &Process, child_fd: ChildFd) {
        let _ = (process, child_fd);
    }

    /// As [`ProcessProtocol::process_exited`].
    fn process_exited(&mut self, process: &Process, status: ExitStatus) {
        let _ = (process, status);
    }

    /// As [`ProcessProtocol::process_ended`].
    fn process_ended(&mut self, process: &Process, status: ExitStatus) {
        let _ = (process, status);
    }
}

/// Makes a [`ProcessProtocol`] of a [`ChildLineProtocol`]: splits what a child writes into lines, for each of its
/// descriptors apart.
///
/// ```
/// use tidewaiter::process::{Command, ExitStatus};
/// use tidewaiter::{ChildFd, ChildLineProtocol, ChildLines, Line, Process, Reactor};
///
/// struct Print;
///
/// impl ChildLineProtocol for Print {
///     fn line_received(&mut self, _: &Process, child_fd: ChildFd, line: Line<'_>) {
///         println!("{child_fd}: {}", String::from_utf8_lossy(line.bytes));
///     }
///
///     fn process_ended(&mut self, process: &Process, _: ExitStatus) {
///         process.reactor().stop();
///     }
/// }
///
/// let reactor = Reactor::new()?;
/// let command = Command::new("cargo").arg("--version");
/// reactor.spawn_process(&command, ChildLines::new(Print))?;
/// reactor.run()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ChildLines<P> {
    limit: usize,
    splitters: BTreeMap<ChildFd, LineSplitter>,
    protocol: P,
}

impl<P> ChildLines<P> {
    /// Lines of up to 64 KiB.
    pub fn new(protocol: P) -> ChildLines<P> {
        ChildLines {
            limit: LINE_LIMIT,
            splitters: BTreeMap::new(),
            protocol,
        }
    }

    /// Sets how many bytes a line may have, without its end: 64 KiB by default.
    #[must_use]
    pub fn limit(mut self, bytes: usize) -> ChildLines<P> {
        self.limit = bytes;
        self
    }
}

impl<P: ChildLineProtocol> ProcessProtocol for ChildLines<P> {
    fn connection_made(&mut self, process: &Process) {
        self.protocol.connection_made(process);
    }

    fn child_data_received(&mut self, process: &Process, child_fd: ChildFd, data: &[u8]) {
        let (limit, protocol) = (self.limit, &mut self.protocol);
        let splitter = self.splitters.entry(child_fd);
        let splitter = splitter.or_insert_with(|| LineSplitter::new(limit));
        let pipe = process.pipe(child_fd);
        let still_receives = || pipe.as_ref().is_some_and(Transport::still_receives);
        splitter.feed(data, |line| {
            if still_receives() {
                protocol.line_received(process, child_fd, line);
            }
        });
        if !still_receives() {
            // The program closed the pipe: the beginning of a line is not told either.
            self.splitters.remove(&child_fd);
        }
    }

    fn child_connection_lost(&mut self, process: &Process, child_fd: ChildFd) {
        if let Some(mut splitter) = self.splitters.remove(&child_fd) {
            let protocol = &mut self.protocol;
            splitter.finish(|line| protocol.line_received(process, child_fd, line));
        }
        self.protocol.child_connection_lost(process, child_fd);
    }

    fn process_exited(&mut self, process: &Process, status: ExitStatus) {
        self.protocol.process_exited(process, status);
    }

    fn process_ended(&mut self, process: &Process, status: ExitStatus) {
        self.protocol.process_ended(process, status);
    }
}
