//! The calls of a port that are about serial ports.

use std::io;

use super::{ModemLines, SerialChange, SerialLine, SerialOptions, SerialQueue};
use crate::port::calls::{Control, Open, Query};
use crate::port::gate::Call;
use crate::port::{Handle, Port};

impl Port {
    /// Opens a serial port, which receives and sends as a pipe that goes both ways.
    ///
    /// # Errors
    ///
    /// The OS's error, such as [`NotFound`](io::ErrorKind::NotFound) or
    /// [`PermissionDenied`](io::ErrorKind::PermissionDenied), also for a port that another program has open;
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for options that no serial port has;
    /// [`Unsupported`](io::ErrorKind::Unsupported) for those that the device or the OS does not have, and in
    /// simulations.
    pub fn open_serial(&mut self, options: &SerialOptions) -> io::Result<Handle> {
        self.gate.pass(Call::Act)?.open(Open::Serial(options))
    }

    /// Sets or clears a line of a serial port.
    ///
    /// # Errors
    ///
    /// [`NotFound`](io::ErrorKind::NotFound) for a closed handle;
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for a handle that is no serial port; otherwise the OS's error: some
    /// devices do not have all lines.
    pub fn set_serial_line(
        &mut self,
        handle: Handle,
        line: SerialLine,
        on: bool,
    ) -> io::Result<()> {
        let control = Control::Serial(SerialChange::Line(line, on));
        self.gate.pass(Call::Act)?.control(handle, control)
    }

    /// Sets the baud rate of a serial port, at once: bytes that are on their way may be garbled.
    ///
    /// # Errors
    ///
    /// As [`set_serial_line`](Port::set_serial_line), and [`Unsupported`](io::ErrorKind::Unsupported) for a rate that the
    /// device does not have.
    pub fn set_baud_rate(&mut self, handle: Handle, baud_rate: u32) -> io::Result<()> {
        let control = Control::Serial(SerialChange::BaudRate(baud_rate));
        self.gate.pass(Call::Act)?.control(handle, control)
    }

    /// Drops the bytes in one of the OS's queues of a serial port.
    ///
    /// # Errors
    ///
    /// As [`set_serial_line`](Port::set_serial_line).
    pub fn discard(&mut self, handle: Handle, queue: SerialQueue) -> io::Result<()> {
        let control = Control::Serial(SerialChange::Discard(queue));
        self.gate.pass(Call::Act)?.control(handle, control)
    }

    /// The lines of a serial port that the other side sets.
    ///
    /// # Errors
    ///
    /// As [`set_serial_line`](Port::set_serial_line).
    pub fn modem_lines(&self, handle: Handle) -> io::Result<ModemLines> {
        Ok(self.gate.query(handle, Query::ModemLines)?.modem_lines())
    }
}
