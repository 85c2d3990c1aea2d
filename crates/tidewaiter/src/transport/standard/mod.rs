//! Streams that this process was given, as transports: above all its own standard input and output.

mod relayed;
mod resizing;

use std::cell::RefCell;
use std::io;
use std::rc::Rc;

use super::close_unawaited;
use super::stream::{ConnectionTimeout, Direction, Link, Protocol, Stream, Transport};
use crate::error::Reason;
use crate::port::standard::{self, Opened, Relay, Side, StandardStream};
use crate::port::{Handle, PortKind, RawDescriptor};
use crate::reactor::Reactor;
use relayed::Relayed;
pub use resizing::ResizeWatch;

impl Reactor {
    /// Opens standard input and output as one transport: what arrives at standard input is received, and what is
    /// written goes to standard output. They may be pipes, files, sockets, terminals, consoles, the null device, or
    /// closed, which counts as the null device. The protocol's calls come from the loop.
    ///
    /// The end of standard input is [`read_connection_lost`](Protocol::read_connection_lost), which by default closes
    /// the transport once everything is written. [`lose_write_connection`](Transport::lose_write_connection) ends
    /// standard output and goes on reading. Once nobody reads standard output any more, the next write loses the
    /// connection. [`connection_lost`](Protocol::connection_lost) comes once the OS has taken all that was written, at the
    /// object that standard output is.
    ///
    /// When the program or the other side ends the transport, the program at the other end of a pipe or socket learns
    /// of it: the null device takes the place of the process's own descriptor. A terminal and a file stay as they were, and
    /// so does everything when the reactor stops or is dropped. Other processes may share these streams. They notice
    /// nothing, save that [`lose_write_connection`](Transport::lose_write_connection) ends the output of a socket for
    /// all of them.
    ///
    /// On Linux, no thread is needed but for files on the readiness port, and where `/proc` is missing or the
    /// stream belongs to another user. On other systems, a thread each reads and writes. It does not keep the process
    /// from ending. It reads ahead, up to the size of a pipe; and bytes that it could not write when standard output
    /// failed are not among the [unsent](Transport::unsent) ones.
    ///
    /// Do not read standard input by other means at the same time, and open it once.
    ///
    /// # Errors
    ///
    /// The OS's error; [`Unsupported`](io::ErrorKind::Unsupported) in a simulation.
    pub fn standard_io(&self, protocol: impl Protocol + 'static) -> io::Result<Transport> {
        let input = standard::number(StandardStream::Input);
        let output = standard::number(StandardStream::Output);
        let ours = &[StandardStream::Input, StandardStream::Output];
        self.join(Some(input), Some(output), ours, Box::new(protocol))
    }

    /// As [`standard_io`](Reactor::standard_io), for standard input alone: nothing can be written, and standard output
    /// stays the program's, for `println!` and the like.
    ///
    /// # Errors
    ///
    /// As [`standard_io`](Reactor::standard_io).
    ///
    /// ```no_run
    /// use tidewaiter::{Protocol, Reactor, Reason, Transport};
    ///
    /// struct Count(usize);
    ///
    /// impl Protocol for Count {
    ///     fn data_received(&mut self, _: &Transport, data: &[u8]) {
    ///         self.0 += data.len();
    ///     }
    ///
    ///     fn connection_lost(&mut self, transport: &Transport, _: Reason) {
    ///         println!("{} bytes", self.0);
    ///         transport.reactor().stop();
    ///     }
    /// }
    ///
    /// let reactor = Reactor::new()?;
    /// reactor.standard_input(Count(0))?;
    /// reactor.run()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn standard_input(&self, protocol: impl Protocol + 'static) -> io::Result<Transport> {
        let input = standard::number(StandardStream::Input);
        let ours = &[StandardStream::Input];
        self.join(Some(input), None, ours, Box::new(protocol))
    }

    /// As [`standard_io`](Reactor::standard_io), for other descriptors of this process: what arrives at `input` is
    /// received, and what is written goes to `output`. One of them may be missing. Unlike the standard streams, they
    /// stay the caller's and open: close them when the transport has ended, and not before. Only then does the
    /// other end of a pipe learn of it.
    ///
    /// On Windows, these are handles.
    ///
    /// # Errors
    ///
    /// As [`standard_io`](Reactor::standard_io), and [`InvalidInput`](io::ErrorKind::InvalidInput) if both are missing.
    pub fn open_descriptors(
        &self,
        input: Option<RawDescriptor>,
        output: Option<RawDescriptor>,
        protocol: impl Protocol + 'static,
    ) -> io::Result<Transport> {
        self.join(input.map(Some), output.map(Some), &[], Box::new(protocol))
    }

    /// Joins two streams, each of which may be missing, or there and closed.
    fn join(
        &self,
        input: Option<Option<RawDescriptor>>,
        output: Option<Option<RawDescriptor>>,
        ours: &'static [StandardStream],
        protocol: Box<dyn Protocol>,
    ) -> io::Result<Transport> {
        self.check_open().map_err(io::Error::other)?;
        let port = self.port().info().kind;
        if port == PortKind::Sim {
            let message = "a simulated process has no standard streams";
            return Err(io::Error::new(io::ErrorKind::Unsupported, message));
        }
        let ends = Rc::new(Ends {
            protocol: RefCell::new(protocol),
            ours,
            transport: RefCell::new(None),
            reading: RefCell::new(None),
            relayed: RefCell::new(None),
        });
        let relayed = Relayed::register(self, &ends)?;
        let open = |descriptor, side| {
            let written = relayed.written(self);
            standard::open(descriptor, side, port, written)
        };
        let opened = input
            .map(|descriptor| open(descriptor, Side::Read))
            .transpose()
            .and_then(|input| {
                let output = output.map(|descriptor| open(descriptor, Side::Write));
                Ok((input, output.transpose()?))
            })
            .and_then(|opened| self.stream_over(opened, &ends, &relayed));
        if opened.is_err() {
            relayed.forget();
        }
        opened
    }

    fn stream_over(
        &self,
        (input, output): (Option<Opened>, Option<Opened>),
        ends: &Rc<Ends>,
        relayed: &Rc<Relayed>,
    ) -> io::Result<Transport> {
        let hangs_up = output.as_ref().is_some_and(|output| output.hangs_up);
        let (input, reading) = self.adopt_opened(input)?;
        let (output, writing) = self.adopt_opened(output).inspect_err(|_| {
            if let Some(input) = input {
                close_unawaited(self, input);
            }
        })?;
        let (handle, link) = match (input, output) {
            (Some(input), Some(output)) => (input, Link::pair(output)),
            (Some(input), None) => (input, Link::pipe(Direction::In)),
            (None, Some(output)) => (output, Link::writer(hangs_up)),
            (None, None) => {
                let message = "there is no descriptor to open";
                return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
            }
        };
        ends.reading.replace(reading);
        if writing.is_some() {
            ends.relayed.replace(Some(Rc::clone(relayed)));
        } else {
            relayed.forget();
        }
        let protocol = Box::new(Forwarding(Rc::clone(ends)));
        let stream = Stream::register(self, handle, link, protocol).map_err(io::Error::other)?;
        let transport = Transport::of(&stream);
        ends.transport.replace(Some(transport.clone()));
        self.soon(move |_| stream.begin());
        Ok(transport)
    }

    fn adopt_opened(&self, opened: Option<Opened>) -> io::Result<(Option<Handle>, Option<Relay>)> {
        let Some(Opened {
            resource, relay, ..
        }) = opened
        else {
            return Ok((None, None));
        };
        Ok((Some(self.port_mut().adopt(resource)?), relay))
    }
}

/// What the transport and the end of the relay share.
struct Ends {
    /// The program's protocol. Only the loop calls it, one call at a time.
    protocol: RefCell<Box<dyn Protocol>>,
    /// The standard streams of the process among them, which it is to give up at the end.
    ours: &'static [StandardStream],
    transport: RefCell<Option<Transport>>,
    /// The thread that reads, if there is one.
    reading: RefCell<Option<Relay>>,
    /// The thread that writes, if there is one that has not written everything.
    relayed: RefCell<Option<Rc<Relayed>>>,
}

impl Ends {
    fn write_lost(&self, transport: &Transport) {
        if self.ours.contains(&StandardStream::Output) {
            standard::give_up(StandardStream::Output);
        }
        self.protocol.borrow_mut().write_connection_lost(transport);
    }

    fn lost(&self, transport: &Transport, reason: Reason) {
        if !matches!(reason, Reason::Stopped) {
            self.ours.iter().copied().for_each(standard::give_up);
        }
        self.protocol
            .borrow_mut()
            .connection_lost(transport, reason);
    }
}

/// Takes the place of a protocol that was told of its end.
struct Gone;

impl Protocol for Gone {
    fn data_received(&mut self, _: &Transport, _: &[u8]) {}
}

/// The protocol of the stream: passes its events on to that of the program. The ends that follow on what was written
/// wait for the relay.
struct Forwarding(Rc<Ends>);

impl Forwarding {
    /// The relay that has not written everything yet.
    fn relayed(&self) -> Option<Rc<Relayed>> {
        self.0.relayed.borrow().clone()
    }
}

impl Protocol for Forwarding {
    fn connection_made(&mut self, transport: &Transport) {
        self.0.protocol.borrow_mut().connection_made(transport);
    }

    fn data_received(&mut self, transport: &Transport, data: &[u8]) {
        self.0.protocol.borrow_mut().data_received(transport, data);
    }

    fn read_connection_lost(&mut self, transport: &Transport) {
        self.0.protocol.borrow_mut().read_connection_lost(transport);
    }

    fn write_paused(&mut self, transport: &Transport) {
        self.0.protocol.borrow_mut().write_paused(transport);
    }

    fn write_resumed(&mut self, transport: &Transport) {
        self.0.protocol.borrow_mut().write_resumed(transport);
    }

    fn timed_out(&mut self, transport: &Transport, timeout: ConnectionTimeout) {
        self.0.protocol.borrow_mut().timed_out(transport, timeout);
    }

    fn write_connection_lost(&mut self, transport: &Transport) {
        match self.relayed() {
            Some(relayed) => relayed.tell_write_lost(),
            None => self.0.write_lost(transport),
        }
    }

    fn connection_lost(&mut self, transport: &Transport, reason: Reason) {
        // The thread may be reading, and nobody wants that any more.
        self.0.reading.take();
        let in_order = matches!(reason, Reason::Done | Reason::Stopped) && transport.unsent() == 0;
        match self.relayed() {
            Some(relayed) if in_order => relayed.tell_lost(reason),
            relayed => {
                if let Some(relayed) = relayed {
                    relayed.forget();
                }
                self.0.lost(transport, reason);
            }
        }
    }
}
