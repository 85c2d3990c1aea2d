//! Serial ports: how to open one, and its lines.

mod calls;
#[cfg(unix)]
mod unix;
#[cfg(windows)]
mod windows;

use std::ffi::OsString;
use std::io;

#[cfg(unix)]
use unix as os;
#[cfg(windows)]
use windows as os;

#[cfg(unix)]
pub(super) use os::SerialPort;
#[cfg(windows)]
pub(super) use os::next_read_bytes;
pub(super) use os::{discard, lines, open, set_baud_rate, set_line};

/// A serial port to open, and how: by default 8 data bits, no parity, one stop bit and no flow control.
///
/// ```
/// use tidewaiter::port::{FlowControl, Parity, SerialOptions};
///
/// let name = if cfg!(windows) { "COM3" } else { "/dev/ttyUSB0" };
/// let options = SerialOptions::new(name, 115_200)
///     .parity(Parity::Even)
///     .flow_control(FlowControl::Hardware);
/// ```
#[derive(Clone, Debug)]
pub struct SerialOptions {
    pub(super) name: OsString,
    pub(super) baud_rate: u32,
    pub(super) data_bits: u8,
    pub(super) parity: Parity,
    pub(super) stop_bits: StopBits,
    pub(super) flow_control: FlowControl,
    pub(super) exclusive: bool,
}

/// The parity bit of each character.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Parity {
    /// There is none.
    None,
    /// It makes the number of ones odd.
    Odd,
    /// It makes the number of ones even.
    Even,
    /// It is always one. Windows and Linux only.
    Mark,
    /// It is always zero. Windows and Linux only.
    Space,
}

/// The length of the pause after each character.
///
/// ```
/// use tidewaiter::port::{SerialOptions, StopBits};
///
/// let options = SerialOptions::new("COM3", 9600).data_bits(7).stop_bits(StopBits::Two);
/// # let _ = options;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StopBits {
    /// One bit.
    One,
    /// One and a half bits, with five data bits. Windows only.
    OneAndHalf,
    /// Two bits.
    Two,
}

/// How a receiver that cannot keep up stops the sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FlowControl {
    /// Not at all: bytes are lost.
    None,
    /// By the characters XOFF and XON among the bytes, which neither side can send as data then.
    Software,
    /// By the lines RTS and CTS.
    Hardware,
}

impl SerialOptions {
    /// The serial port `name`, at `baud_rate` bits per second.
    ///
    /// On Unix the name is the path of the device, such as `/dev/ttyUSB0`. On Windows it is a name such as `COM3` or
    /// `COM12`, or a full one such as `\\.\COM12`.
    ///
    /// Linux and Windows take any rate that the device can do, other systems the usual ones.
    #[must_use]
    pub fn new(name: impl Into<OsString>, baud_rate: u32) -> SerialOptions {
        SerialOptions {
            name: name.into(),
            baud_rate,
            data_bits: 8,
            parity: Parity::None,
            stop_bits: StopBits::One,
            flow_control: FlowControl::None,
            exclusive: true,
        }
    }

    /// Sets the number of data bits of a character: 5 to 8.
    #[must_use]
    pub fn data_bits(mut self, data_bits: u8) -> SerialOptions {
        self.data_bits = data_bits;
        self
    }

    /// Sets the parity.
    #[must_use]
    pub fn parity(mut self, parity: Parity) -> SerialOptions {
        self.parity = parity;
        self
    }

    /// Sets the number of stop bits.
    #[must_use]
    pub fn stop_bits(mut self, stop_bits: StopBits) -> SerialOptions {
        self.stop_bits = stop_bits;
        self
    }

    /// Sets the flow control.
    #[must_use]
    pub fn flow_control(mut self, flow_control: FlowControl) -> SerialOptions {
        self.flow_control = flow_control;
        self
    }

    /// Unix. Sets whether nobody else can open the port while we have it open (`TIOCEXCL`): true by default. The
    /// superuser can nevertheless. Windows never shares a serial port.
    #[must_use]
    pub fn exclusive(mut self, exclusive: bool) -> SerialOptions {
        self.exclusive = exclusive;
        self
    }

    /// Refuses what no serial port is.
    pub(super) fn check(&self) -> io::Result<()> {
        let problem = match self {
            _ if self.baud_rate == 0 => "the baud rate must not be zero",
            _ if !(5..=8).contains(&self.data_bits) => "there must be 5 to 8 data bits",
            _ => return Ok(()),
        };
        Err(io::Error::new(io::ErrorKind::InvalidInput, problem))
    }
}

/// A line of a serial port that we set.
///
/// ```
/// use tidewaiter::SerialPort;
/// use tidewaiter::port::{ModemLines, SerialLine, SerialQueue};
///
/// /// Resets the device, and waits until it is there.
/// fn reset(port: &SerialPort) -> std::io::Result<bool> {
///     port.set_line(SerialLine::DataTerminalReady, false)?;
///     port.discard(SerialQueue::Input)?;
///     port.set_line(SerialLine::DataTerminalReady, true)?;
///     let ModemLines { data_set_ready, .. } = port.modem_lines()?;
///     Ok(data_set_ready)
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SerialLine {
    /// DTR: we are there. Set when the port is opened.
    DataTerminalReady,
    /// RTS: the other side may send. Set when the port is opened; hardware flow control sets and clears it by itself.
    RequestToSend,
    /// While it is set, the other side sees a break: a character that does not end. Nothing is sent meanwhile.
    Break,
}

/// The lines of a serial port that the other side sets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ModemLines {
    /// CTS: we may send.
    pub clear_to_send: bool,
    /// DSR: the other side is there.
    pub data_set_ready: bool,
    /// RI: somebody calls.
    pub ring: bool,
    /// DCD: the modem has a connection.
    pub carrier: bool,
}

/// A queue of the OS between us and the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SerialQueue {
    /// The bytes that arrived and were not received yet.
    Input,
    /// The bytes that the OS took and has not sent yet.
    Output,
}

/// A change to a serial port.
#[derive(Clone, Copy, Debug)]
pub(super) enum SerialChange {
    Line(SerialLine, bool),
    BaudRate(u32),
    Discard(SerialQueue),
}
