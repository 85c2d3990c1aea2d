//! Serial ports as transports.

use std::fmt;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use super::stream::{Link, Protocol, Stream, Transport};
use crate::port::{ModemLines, SerialLine, SerialOptions, SerialQueue};
use crate::reactor::Reactor;

/// An open serial port. Clones refer to the same one.
///
/// Its bytes go over its [transport](SerialPort::transport); the calls here are about everything else. They fail with
/// [`NotFound`](io::ErrorKind::NotFound) once the transport is closed, and otherwise with the OS's error: some devices
/// do not have all lines and rates, and a pseudo-terminal has no lines.
///
/// ```
/// use tidewaiter::port::SerialOptions;
/// use tidewaiter::{Protocol, Reactor, Transport};
///
/// struct Modem;
///
/// impl Protocol for Modem {
///     fn connection_made(&mut self, transport: &Transport) {
///         transport.write(b"AT\r");
///     }
///
///     fn data_received(&mut self, _: &Transport, data: &[u8]) {
///         println!("{}", String::from_utf8_lossy(data));
///     }
/// }
///
/// let reactor = Reactor::new()?;
/// match reactor.open_serial(&SerialOptions::new("/dev/no-such-port", 9600), Modem) {
///     Ok(port) => println!("open: {:?}", port.transport()),
///     Err(error) => println!("{error}"),
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone)]
pub struct SerialPort {
    stream: Rc<Stream>,
}

impl Reactor {
    /// Opens a serial port as a transport. The protocol's calls come from the loop.
    ///
    /// A device that is unplugged ends the connection: as an end of file, or with the OS's error. A serial port has no
    /// half-close, so [`lose_write_connection`](Transport::lose_write_connection) closes it.
    ///
    /// [`connection_lost`](Protocol::connection_lost) comes once the OS has taken all that was written. The device may
    /// send some of it after that; until then, nobody can open the port again.
    /// [`abort_connection`](Transport::abort_connection) drops what is not sent.
    ///
    /// # Errors
    ///
    /// Those of [`Port::open_serial`](crate::port::Port::open_serial), and an error if the reactor has stopped.
    pub fn open_serial(
        &self,
        options: &SerialOptions,
        protocol: impl Protocol + 'static,
    ) -> io::Result<SerialPort> {
        self.check_open().map_err(io::Error::other)?;
        let handle = self.port_mut().open_serial(options)?;
        let protocol = Box::new(protocol);
        let stream = Stream::register(self, handle, Link::serial(), protocol);
        let stream = stream.map_err(io::Error::other)?;
        let begun = Rc::clone(&stream);
        self.soon(move |_| begun.begin());
        Ok(SerialPort { stream })
    }
}

impl SerialPort {
    /// The transport.
    #[must_use]
    pub fn transport(&self) -> Transport {
        Transport::of(&self.stream)
    }

    /// Sets or clears a line that is ours to set.
    ///
    /// # Errors
    ///
    /// As [above](SerialPort).
    pub fn set_line(&self, line: SerialLine, on: bool) -> io::Result<()> {
        let mut port = self.stream.reactor.port_mut();
        port.set_serial_line(self.stream.handle, line, on)
    }

    /// The lines that the other side sets.
    ///
    /// # Errors
    ///
    /// As [above](SerialPort).
    pub fn modem_lines(&self) -> io::Result<ModemLines> {
        self.stream.reactor.port().modem_lines(self.stream.handle)
    }

    /// Begins a break, and ends it after `duration`. A quarter of a second is usual. What is written meanwhile is sent
    /// after it.
    ///
    /// # Errors
    ///
    /// As [above](SerialPort).
    pub fn send_break(&self, duration: Duration) -> io::Result<()> {
        self.set_line(SerialLine::Break, true)?;
        let port = self.clone();
        self.stream.reactor.call_later(duration, move |_| {
            if let Err(error) = port.set_line(SerialLine::Break, false) {
                log::debug!("a break could not be ended: {error}");
            }
        });
        Ok(())
    }

    /// Sets the baud rate, at once: bytes that are on their way may be garbled.
    ///
    /// # Errors
    ///
    /// As [above](SerialPort), and [`Unsupported`](io::ErrorKind::Unsupported) for a rate that the device does not have.
    pub fn set_baud_rate(&self, baud_rate: u32) -> io::Result<()> {
        let mut port = self.stream.reactor.port_mut();
        port.set_baud_rate(self.stream.handle, baud_rate)
    }

    /// Drops the bytes in one of the OS's queues. Bytes that the transport has not given to the OS stay.
    ///
    /// # Errors
    ///
    /// As [above](SerialPort).
    pub fn discard(&self, queue: SerialQueue) -> io::Result<()> {
        let mut port = self.stream.reactor.port_mut();
        port.discard(self.stream.handle, queue)
    }
}

impl fmt::Debug for SerialPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SerialPort")
            .field("transport", &self.transport())
            .finish()
    }
}
