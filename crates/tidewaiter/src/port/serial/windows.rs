//! Serial ports of Windows.

#![expect(unsafe_code, reason = "Windows calls")]

use std::ffi::OsStr;
use std::io;
use std::os::windows::fs::OpenOptionsExt;
use std::os::windows::io::{AsRawHandle, OwnedHandle};
use std::ptr;

use windows_sys::Win32::Devices::Communication::{
    CLRBREAK, CLRDTR, CLRRTS, COMMTIMEOUTS, COMSTAT, ClearCommError, DCB, EVENPARITY,
    EscapeCommFunction, GetCommModemStatus, GetCommState, MARKPARITY, MS_CTS_ON, MS_DSR_ON,
    MS_RING_ON, MS_RLSD_ON, NOPARITY, ODDPARITY, ONE5STOPBITS, ONESTOPBIT, PURGE_RXCLEAR,
    PURGE_TXCLEAR, PurgeComm, SETBREAK, SETDTR, SETRTS, SPACEPARITY, SetCommState, SetCommTimeouts,
    TWOSTOPBITS,
};
use windows_sys::Win32::Storage::FileSystem::FILE_FLAG_OVERLAPPED;
use windows_sys::core::BOOL;

use super::{FlowControl, ModemLines, Parity, SerialLine, SerialOptions, SerialQueue, StopBits};

/// How long a read waits before the port starts it again: Windows takes no limit only for reads that fill their memory.
const READ_MS: u32 = 3_600_000;

/// Bits of [`DCB::_bitfield`].
const BINARY: u32 = 1 << 0;
const CHECK_PARITY: u32 = 1 << 1;
const SEND_WHEN_CLEAR: u32 = 1 << 2;
const DTR_ON: u32 = 1 << 4;
const SEND_ON_AFTER_XOFF: u32 = 1 << 7;
const XON_XOFF: u32 = 1 << 8 | 1 << 9;
const RTS_ON: u32 = 1 << 12;
const RTS_HANDSHAKE: u32 = 2 << 12;

const XON: i8 = 0x11;
const XOFF: i8 = 0x13;

/// Opens a serial port for overlapped use.
pub(in crate::port) fn open(options: &SerialOptions) -> io::Result<OwnedHandle> {
    options.check()?;
    let mut how = std::fs::OpenOptions::new();
    how.read(true).write(true).share_mode(0);
    how.custom_flags(FILE_FLAG_OVERLAPPED);
    let port = OwnedHandle::from(how.open(full_name(&options.name))?);
    let mut state = state_of(&port)?;
    set_modes(&mut state, options);
    // SAFETY: the handle is open, and the call reads the state.
    done(unsafe { SetCommState(port.as_raw_handle(), &raw const state) })?;
    // These values make a read end with the bytes that are there, or with the first that arrive.
    let timeouts = COMMTIMEOUTS {
        ReadIntervalTimeout: u32::MAX,
        ReadTotalTimeoutMultiplier: u32::MAX,
        ReadTotalTimeoutConstant: READ_MS,
        WriteTotalTimeoutMultiplier: 0,
        WriteTotalTimeoutConstant: 0,
    };
    // SAFETY: the handle is open, and the call reads the timeouts.
    done(unsafe { SetCommTimeouts(port.as_raw_handle(), &raw const timeouts) })?;
    Ok(port)
}

/// The number of bytes for the next read: those that arrived, or one to wait for. Windows ends a read with the bytes that
/// are there, but Wine only with as many as it was asked for.
pub(in crate::port) fn next_read_bytes(port: &OwnedHandle) -> usize {
    let mut state = COMSTAT::default();
    // SAFETY: the handle is open, and the call writes the state. The null pointer asks for no errors.
    unsafe { ClearCommError(port.as_raw_handle(), ptr::null_mut(), &raw mut state) };
    usize::try_from(state.cbInQue).map_or(1, |count| count.max(1))
}

/// The name for `CreateFile`: only ports up to COM9 have short names there.
fn full_name(name: &OsStr) -> std::ffi::OsString {
    if name.as_encoded_bytes().contains(&b'\\') {
        return name.to_owned();
    }
    let mut full = std::ffi::OsString::from(r"\\.\");
    full.push(name);
    full
}

fn state_of(port: &OwnedHandle) -> io::Result<DCB> {
    let mut state = DCB {
        DCBlength: u32::try_from(size_of::<DCB>()).expect("it is small"),
        ..DCB::default()
    };
    // SAFETY: the handle is open, and the call writes the state within its size.
    done(unsafe { GetCommState(port.as_raw_handle(), &raw mut state) })?;
    Ok(state)
}

fn set_modes(state: &mut DCB, options: &SerialOptions) {
    let mut bits = BINARY | DTR_ON | SEND_ON_AFTER_XOFF;
    bits |= match options.flow_control {
        FlowControl::None => RTS_ON,
        FlowControl::Software => RTS_ON | XON_XOFF,
        FlowControl::Hardware => RTS_HANDSHAKE | SEND_WHEN_CLEAR,
    };
    if options.parity != Parity::None {
        bits |= CHECK_PARITY;
    }
    state._bitfield = bits;
    state.BaudRate = options.baud_rate;
    state.ByteSize = options.data_bits;
    state.XonChar = XON;
    state.XoffChar = XOFF;
    state.Parity = match options.parity {
        Parity::None => NOPARITY,
        Parity::Odd => ODDPARITY,
        Parity::Even => EVENPARITY,
        Parity::Mark => MARKPARITY,
        Parity::Space => SPACEPARITY,
    };
    state.StopBits = match options.stop_bits {
        StopBits::One => ONESTOPBIT,
        StopBits::OneAndHalf => ONE5STOPBITS,
        StopBits::Two => TWOSTOPBITS,
    };
}

pub(in crate::port) fn set_baud_rate(port: &OwnedHandle, baud_rate: u32) -> io::Result<()> {
    let mut state = state_of(port)?;
    state.BaudRate = baud_rate;
    // SAFETY: the handle is open, and the call reads the state.
    done(unsafe { SetCommState(port.as_raw_handle(), &raw const state) })
}

pub(in crate::port) fn discard(port: &OwnedHandle, queue: SerialQueue) -> io::Result<()> {
    let queue = match queue {
        SerialQueue::Input => PURGE_RXCLEAR,
        SerialQueue::Output => PURGE_TXCLEAR,
    };
    // SAFETY: the handle is open.
    done(unsafe { PurgeComm(port.as_raw_handle(), queue) })
}

pub(in crate::port) fn set_line(port: &OwnedHandle, line: SerialLine, on: bool) -> io::Result<()> {
    let function = match (line, on) {
        (SerialLine::DataTerminalReady, true) => SETDTR,
        (SerialLine::DataTerminalReady, false) => CLRDTR,
        (SerialLine::RequestToSend, true) => SETRTS,
        (SerialLine::RequestToSend, false) => CLRRTS,
        (SerialLine::Break, true) => SETBREAK,
        (SerialLine::Break, false) => CLRBREAK,
    };
    // SAFETY: the handle is open.
    done(unsafe { EscapeCommFunction(port.as_raw_handle(), function) })
}

pub(in crate::port) fn lines(port: &OwnedHandle) -> io::Result<ModemLines> {
    let mut bits = 0;
    // SAFETY: the handle is open, and the call writes one number.
    done(unsafe { GetCommModemStatus(port.as_raw_handle(), &raw mut bits) })?;
    let has = |bit| bits & bit != 0;
    Ok(ModemLines {
        clear_to_send: has(MS_CTS_ON),
        data_set_ready: has(MS_DSR_ON),
        ring: has(MS_RING_ON),
        carrier: has(MS_RLSD_ON),
    })
}

fn done(succeeded: BOOL) -> io::Result<()> {
    match succeeded {
        0 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::full_name;

    #[test]
    fn short_names_become_full_ones() {
        assert_eq!(full_name("COM12".as_ref()), r"\\.\COM12");
        assert_eq!(full_name(r"\\.\COM12".as_ref()), r"\\.\COM12");
        assert_eq!(full_name(r"\\?\usb#vid_0403".as_ref()), r"\\?\usb#vid_0403");
    }
}
