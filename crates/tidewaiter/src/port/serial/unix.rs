//! Serial ports of Unix: terminals without line editing.

#![expect(
    unsafe_code,
    reason = "rustix does not know the lines of a serial port"
)]

use std::ffi::c_int;
use std::io;
use std::ops::Deref;
use std::os::fd::{AsRawFd, OwnedFd};
use std::thread;

use rustix::fs::{Mode, OFlags};
use rustix::termios::{
    ControlModes, InputModes, OptionalActions, QueueSelector, SpecialCodeIndex, Termios,
    ioctl_tiocexcl, tcflush, tcgetattr, tcsetattr,
};

use super::{FlowControl, ModemLines, Parity, SerialLine, SerialOptions, SerialQueue, StopBits};

/// An open serial port.
#[derive(Debug)]
pub(in crate::port) struct SerialPort(Option<OwnedFd>);

impl Deref for SerialPort {
    type Target = OwnedFd;

    fn deref(&self) -> &OwnedFd {
        self.0.as_ref().expect("it is open until it is dropped")
    }
}

impl Drop for SerialPort {
    /// Closes the port. The OS first waits until the device has sent everything, for up to half a minute: if something is
    /// left, another thread closes it.
    fn drop(&mut self) {
        let Some(port) = self.0.take() else { return };
        if unsent(&port) > 0 {
            let thread = thread::Builder::new().name("serial close".to_owned());
            // Without a thread, the port is closed here and now.
            drop(thread.spawn(move || drop(port)));
        }
    }
}

/// The number of bytes that the OS took and the device has not sent.
fn unsent(port: &OwnedFd) -> c_int {
    let mut count: c_int = 0;
    // SAFETY: the descriptor is open, and the call writes one number of this type. If it fails, the number stays zero.
    let _ = unsafe { libc::ioctl(port.as_raw_fd(), libc::TIOCOUTQ, &raw mut count) };
    count
}

/// Opens a serial port, non-blocking.
pub(in crate::port) fn open(options: &SerialOptions) -> io::Result<SerialPort> {
    options.check()?;
    // Without O_NONBLOCK, this would wait for a carrier.
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let port = rustix::fs::open(&*options.name, flags, Mode::empty())?;
    let mut modes = tcgetattr(&port)?;
    if options.exclusive {
        ioctl_tiocexcl(&port)?;
    }
    set_modes(&mut modes, options)?;
    tcsetattr(&port, OptionalActions::Now, &modes)?;
    // The call above succeeds if it could do a part of what was asked.
    let done = tcgetattr(&port)?;
    let checked = ControlModes::CSIZE | ControlModes::PARENB | ControlModes::CSTOPB;
    if done.control_modes & checked != modes.control_modes & checked {
        return Err(unsupported(
            "the device does not have these bits of a character",
        ));
    }
    check_rate(&done, options.baud_rate)?;
    Ok(SerialPort(Some(port)))
}

fn set_modes(modes: &mut Termios, options: &SerialOptions) -> io::Result<()> {
    modes.make_raw();
    modes.special_codes[SpecialCodeIndex::VMIN] = 1;
    modes.special_codes[SpecialCodeIndex::VTIME] = 0;
    let flow = InputModes::IXON | InputModes::IXOFF;
    let software = options.flow_control == FlowControl::Software;
    modes.input_modes.set(flow, software);
    let control = &mut modes.control_modes;
    control.insert(ControlModes::CLOCAL | ControlModes::CREAD);
    control.remove(ControlModes::CSIZE | ControlModes::PARENB | ControlModes::PARODD);
    control.insert(match options.data_bits {
        5 => ControlModes::CS5,
        6 => ControlModes::CS6,
        7 => ControlModes::CS7,
        _ => ControlModes::CS8,
    });
    let hardware = options.flow_control == FlowControl::Hardware;
    control.set(ControlModes::CRTSCTS, hardware);
    let two = match options.stop_bits {
        StopBits::One => false,
        StopBits::Two => true,
        StopBits::OneAndHalf => return Err(unsupported("Unix has no one and a half stop bits")),
    };
    control.set(ControlModes::CSTOPB, two);
    let parity = options.parity;
    control.set(ControlModes::PARENB, parity != Parity::None);
    let odd = matches!(parity, Parity::Odd | Parity::Mark);
    control.set(ControlModes::PARODD, odd);
    set_fixed_parity(control, matches!(parity, Parity::Mark | Parity::Space))?;
    Ok(modes.set_speed(options.baud_rate)?)
}

/// Sets whether the parity bit is always the same.
#[cfg(target_os = "linux")]
fn set_fixed_parity(control: &mut ControlModes, fixed: bool) -> io::Result<()> {
    control.set(ControlModes::CMSPAR, fixed);
    Ok(())
}

/// Fails if the parity bit is to be always the same.
#[cfg(not(target_os = "linux"))]
fn set_fixed_parity(_control: &mut ControlModes, fixed: bool) -> io::Result<()> {
    match fixed {
        true => Err(unsupported("this system has no such parity")),
        false => Ok(()),
    }
}

/// Refuses a device that took another rate than the one asked for. Dividers of clocks miss rates a little.
fn check_rate(modes: &Termios, asked: u32) -> io::Result<()> {
    let (taken, asked) = (u64::from(modes.output_speed()), u64::from(asked));
    if taken.abs_diff(asked) * 100 > asked * 3 {
        return Err(unsupported("the device does not have this baud rate"));
    }
    Ok(())
}

pub(in crate::port) fn set_baud_rate(port: &OwnedFd, baud_rate: u32) -> io::Result<()> {
    if baud_rate == 0 {
        let message = "the baud rate must not be zero";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    let mut modes = tcgetattr(port)?;
    modes.set_speed(baud_rate)?;
    tcsetattr(port, OptionalActions::Now, &modes)?;
    check_rate(&tcgetattr(port)?, baud_rate)
}

pub(in crate::port) fn discard(port: &OwnedFd, queue: SerialQueue) -> io::Result<()> {
    let queue = match queue {
        SerialQueue::Input => QueueSelector::IFlush,
        SerialQueue::Output => QueueSelector::OFlush,
    };
    Ok(tcflush(port, queue)?)
}

pub(in crate::port) fn set_line(port: &OwnedFd, line: SerialLine, on: bool) -> io::Result<()> {
    let bit = match line {
        SerialLine::DataTerminalReady => libc::TIOCM_DTR,
        SerialLine::RequestToSend => libc::TIOCM_RTS,
        SerialLine::Break => return set_break(port, on),
    };
    let call = if on { libc::TIOCMBIS } else { libc::TIOCMBIC };
    // SAFETY: the descriptor is open, and the call reads one number of this type.
    done(unsafe { libc::ioctl(port.as_raw_fd(), call, &raw const bit) })
}

/// The calls that begin and end a break.
#[cfg(target_os = "linux")]
const BREAK: (libc::c_ulong, libc::c_ulong) = (libc::TIOCSBRK, libc::TIOCCBRK);
#[cfg(not(target_os = "linux"))]
const BREAK: (libc::c_ulong, libc::c_ulong) = (
    libc::TIOCSBRK as libc::c_ulong,
    libc::TIOCCBRK as libc::c_ulong,
);

fn set_break(port: &OwnedFd, on: bool) -> io::Result<()> {
    let call = if on { BREAK.0 } else { BREAK.1 };
    // SAFETY: the descriptor is open, and the call takes no memory.
    done(unsafe { libc::ioctl(port.as_raw_fd(), call) })
}

pub(in crate::port) fn lines(port: &OwnedFd) -> io::Result<ModemLines> {
    let mut bits: c_int = 0;
    // SAFETY: the descriptor is open, and the call writes one number of this type.
    done(unsafe { libc::ioctl(port.as_raw_fd(), libc::TIOCMGET, &raw mut bits) })?;
    let has = |bit| bits & bit != 0;
    Ok(ModemLines {
        clear_to_send: has(libc::TIOCM_CTS),
        data_set_ready: has(libc::TIOCM_DSR),
        ring: has(libc::TIOCM_RI),
        carrier: has(libc::TIOCM_CD),
    })
}

fn done(result: c_int) -> io::Result<()> {
    match result {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

fn unsupported(message: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, message)
}
