//! Relays between a shared handle and a pipe, and what becomes of the handle.
//!
//! All standard streams of Windows need one: those of its shells cannot be waited for at a completion port, and one
//! that could may belong to another port already.

#![expect(unsafe_code, reason = "calls of Windows")]

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::windows::io::{AsRawHandle, IntoRawHandle, OwnedHandle};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use windows_sys::Win32::Foundation::{
    CloseHandle, ERROR_BROKEN_PIPE, ERROR_HANDLE_EOF, ERROR_IO_PENDING, ERROR_NO_DATA,
    ERROR_OPERATION_ABORTED, ERROR_PIPE_NOT_CONNECTED, HANDLE, INVALID_HANDLE_VALUE, TRUE,
};
use windows_sys::Win32::Storage::FileSystem::{
    FILE_TYPE_CHAR, FILE_TYPE_PIPE, GetFileType, ReadFile, WriteFile,
};
use windows_sys::Win32::System::Console::{
    CONSOLE_MODE, ENABLE_LINE_INPUT, GetConsoleMode, GetStdHandle, ReadConsoleW, STD_HANDLE,
    STD_INPUT_HANDLE, STD_OUTPUT_HANDLE, SetStdHandle, WriteConsoleW,
};
use windows_sys::Win32::System::IO::{
    CancelIoEx, CancelSynchronousIo, GetOverlappedResult, OVERLAPPED,
};
use windows_sys::Win32::System::Threading::CreateEventW;
use windows_sys::core::BOOL;

use super::{RELAY_BYTES, StandardStream, Written, start};
use crate::os::{RawDescriptor, duplicate};
use crate::process::{PipeDirection, pipe};

/// The most bytes of one write to a console, and the most units of one read.
const CONSOLE_BYTES: usize = 8 * 1024;
const CONSOLE_UNITS: usize = 1024;
/// What a console's line begins with at its end: Ctrl-Z.
const END_OF_INPUT: u16 = 0x1a;

/// The thread of a relay that reads. Dropping this ends its read.
pub(super) struct Reading {
    thread: JoinHandle<()>,
    stream: Arc<Shared>,
    ends: Arc<AtomicBool>,
}

/// A handle of this process, and how it is to be read and written.
struct Shared {
    handle: File,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Console,
    /// A pipe or a socket. Others may have opened it for overlapped use.
    Pipe,
    /// A file or another device.
    File,
}

fn name(stream: StandardStream) -> STD_HANDLE {
    match stream {
        StandardStream::Input => STD_INPUT_HANDLE,
        StandardStream::Output => STD_OUTPUT_HANDLE,
    }
}

fn standard(stream: StandardStream) -> Option<HANDLE> {
    // SAFETY: the call only returns a number.
    let handle = unsafe { GetStdHandle(name(stream)) };
    (!handle.is_null() && handle != INVALID_HANDLE_VALUE).then_some(handle)
}

pub(super) fn number(stream: StandardStream) -> Option<RawDescriptor> {
    let address = standard(stream)?.expose_provenance();
    RawDescriptor::try_from(address).ok()
}

/// Copies the handle. Without one: the null device.
pub(super) fn copy_of(handle: Option<RawDescriptor>) -> io::Result<OwnedHandle> {
    match handle {
        Some(handle) => duplicate(handle),
        None => null(),
    }
}

fn null() -> io::Result<OwnedHandle> {
    let null = File::options().read(true).write(true).open("NUL")?;
    Ok(null.into())
}

/// Starts a thread that reads from the stream; returns the pipe that it writes to.
pub(super) fn relay_reads(theirs: OwnedHandle) -> io::Result<(OwnedHandle, Reading)> {
    let (ours, mut to) = pipe(PipeDirection::FromChild)?;
    let stream = Arc::new(Shared::new(theirs));
    let ends = Arc::new(AtomicBool::new(false));
    let (reads, until) = (Arc::clone(&stream), Arc::clone(&ends));
    let thread = start("tidewaiter-input", move || {
        if let Err(error) = reads.read_all(&mut to, &until) {
            log::warn!("a stream of this process cannot be read: {error}");
        }
    })?;
    let reading = Reading {
        thread,
        stream,
        ends,
    };
    Ok((ours, reading))
}

/// Starts a thread that writes to the stream; returns the pipe that it reads from.
pub(super) fn relay_writes(theirs: OwnedHandle, written: Written) -> io::Result<OwnedHandle> {
    let (ours, mut from) = pipe(PipeDirection::ToChild)?;
    start("tidewaiter-output", move || {
        let stream = Shared::new(theirs);
        let result = stream.write_all_of(&mut from);
        drop(stream);
        // Reported before the port finds that nobody reads the pipe.
        written(result);
        drop(from);
    })?;
    Ok(ours)
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::SeqCst);
        // A read that begins only now is not ended, and takes what arrives next.
        // SAFETY: the handle is open.
        unsafe { CancelIoEx(self.stream.handle.as_raw_handle(), ptr::null()) };
        // SAFETY: the thread's handle is open.
        unsafe { CancelSynchronousIo(self.thread.as_raw_handle()) };
    }
}

impl Shared {
    fn new(handle: OwnedHandle) -> Shared {
        let handle = File::from(handle);
        // SAFETY: the handle is open.
        let kind = match unsafe { GetFileType(handle.as_raw_handle()) } {
            FILE_TYPE_CHAR if console_mode(&handle).is_some() => Kind::Console,
            FILE_TYPE_PIPE => Kind::Pipe,
            _ => Kind::File,
        };
        Shared { handle, kind }
    }

    /// Moves all bytes from the stream, until there are no more, nobody reads them, or `ends` is set.
    fn read_all(&self, to: &mut File, ends: &AtomicBool) -> io::Result<()> {
        let mut memory = vec![0; RELAY_BYTES];
        let mut decoder = Utf16::default();
        while !ends.load(Ordering::SeqCst) {
            let read = match self.kind {
                Kind::Console => self.read_console(&mut memory, &mut decoder),
                Kind::Pipe => self.read_pipe(&mut memory),
                Kind::File => (&self.handle).read(&mut memory),
            };
            match read {
                Ok(0) => return Ok(()),
                Ok(count) if to.write_all(&memory[..count]).is_err() => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_end(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Moves all bytes to the stream.
    fn write_all_of(&self, from: &mut File) -> io::Result<()> {
        let mut memory = vec![0; RELAY_BYTES];
        // The beginning of a character whose rest has not arrived.
        let mut begun = 0;
        loop {
            let count = match from.read(&mut memory[begun..]) {
                Ok(0) => return Ok(()),
                Ok(count) => begun + count,
                Err(error) if is_end(&error) => return Ok(()),
                Err(error) => return Err(error),
            };
            let data = &memory[..count];
            let written = match self.kind {
                Kind::Console => self.write_console(data)?,
                Kind::Pipe => self.write_pipe(data)?,
                Kind::File => (&self.handle).write_all(data).map(|()| count)?,
            };
            memory.copy_within(written..count, 0);
            begun = count - written;
        }
    }

    fn read_pipe(&self, memory: &mut [u8]) -> io::Result<usize> {
        let length = u32::try_from(memory.len()).unwrap_or(u32::MAX);
        self.transfer(|handle, overlapped| {
            // SAFETY: `transfer` waits for the end, so the memory and the record outlive the call.
            unsafe {
                ReadFile(
                    handle,
                    memory.as_mut_ptr(),
                    length,
                    ptr::null_mut(),
                    overlapped,
                )
            }
        })
    }

    fn write_pipe(&self, data: &[u8]) -> io::Result<usize> {
        let mut written = 0;
        while written < data.len() {
            let rest = &data[written..];
            let length = u32::try_from(rest.len()).unwrap_or(u32::MAX);
            written += self.transfer(|handle, overlapped| {
                // SAFETY: as above.
                unsafe { WriteFile(handle, rest.as_ptr(), length, ptr::null_mut(), overlapped) }
            })?;
        }
        Ok(written)
    }

    /// Makes a call and waits for its end, whether or not the handle was opened for overlapped use.
    fn transfer(&self, call: impl FnOnce(HANDLE, *mut OVERLAPPED) -> BOOL) -> io::Result<usize> {
        // SAFETY: without a name and attributes, the call makes an event of our own.
        let event = unsafe { CreateEventW(ptr::null(), TRUE, 0, ptr::null()) };
        if event.is_null() {
            return Err(io::Error::last_os_error());
        }
        let mut overlapped = OVERLAPPED {
            hEvent: event,
            ..OVERLAPPED::default()
        };
        let handle = self.handle.as_raw_handle();
        let mut result = Ok(());
        if call(handle, &raw mut overlapped) == 0 {
            let error = io::Error::last_os_error();
            if error.raw_os_error() != Some(ERROR_IO_PENDING.cast_signed()) {
                result = Err(error);
            }
        }
        let mut bytes = 0;
        let result = result.and_then(|()| {
            // SAFETY: the record is the one of the call above; this waits for its end.
            match unsafe {
                GetOverlappedResult(handle, &raw const overlapped, &raw mut bytes, TRUE)
            } {
                0 => Err(io::Error::last_os_error()),
                _ => Ok(usize::try_from(bytes).unwrap_or(0)),
            }
        });
        // SAFETY: the event was made above, and its operation has ended.
        unsafe { CloseHandle(event) };
        result
    }

    fn read_console(&self, memory: &mut [u8], decoder: &mut Utf16) -> io::Result<usize> {
        let lines = console_mode(&self.handle).is_some_and(|mode| mode & ENABLE_LINE_INPUT != 0);
        let (mut units, mut count) = ([0_u16; CONSOLE_UNITS], 0);
        let length = u32::try_from(units.len()).unwrap_or(0);
        // SAFETY: there is room for the units and their number; the last argument is optional.
        let read = unsafe {
            ReadConsoleW(
                self.handle.as_raw_handle(),
                units.as_mut_ptr().cast(),
                length,
                &raw mut count,
                ptr::null(),
            )
        };
        if read == 0 {
            return Err(io::Error::last_os_error());
        }
        let typed = &units[..usize::try_from(count).unwrap_or(0)];
        if lines && typed.first() == Some(&END_OF_INPUT) {
            return Ok(0);
        }
        let text = decoder.decode(typed);
        if text.is_empty() {
            // Ctrl-C, or half a character.
            return Err(io::ErrorKind::Interrupted.into());
        }
        memory[..text.len()].copy_from_slice(text.as_bytes());
        Ok(text.len())
    }

    /// Writes text; returns how many bytes of it. The beginning of a character at its end is left.
    fn write_console(&self, data: &[u8]) -> io::Result<usize> {
        let mut written = 0;
        while written < data.len() {
            let part = &data[written..data.len().min(written + CONSOLE_BYTES)];
            let (text, taken) = text_of(part);
            if taken == 0 {
                break;
            }
            self.write_units(&text.encode_utf16().collect::<Vec<u16>>())?;
            written += taken;
        }
        Ok(written)
    }

    fn write_units(&self, mut units: &[u16]) -> io::Result<()> {
        while !units.is_empty() {
            let mut count = 0;
            let length = u32::try_from(units.len()).unwrap_or(u32::MAX);
            // SAFETY: the units are there, and room for the number of those written.
            let written = unsafe {
                WriteConsoleW(
                    self.handle.as_raw_handle(),
                    units.as_ptr(),
                    length,
                    &raw mut count,
                    ptr::null(),
                )
            };
            if written == 0 {
                return Err(io::Error::last_os_error());
            }
            units = &units[usize::try_from(count).unwrap_or(0)..];
        }
        Ok(())
    }
}

/// The text at the beginning of `data`, and how many bytes it took: all but a character that only begins. What is no
/// text is replaced.
fn text_of(data: &[u8]) -> (String, usize) {
    let begins = |count: &usize| {
        let end = std::str::from_utf8(&data[data.len() - count..]);
        end.is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
    };
    let begun = (1..=data.len().min(3)).find(begins).unwrap_or(0);
    let whole = data.len() - begun;
    (String::from_utf8_lossy(&data[..whole]).into_owned(), whole)
}

/// Decodes text that arrives in pieces.
#[derive(Default)]
struct Utf16 {
    /// The first half of a character whose second one has not arrived.
    begun: Option<u16>,
}

impl Utf16 {
    fn decode(&mut self, units: &[u16]) -> String {
        let mut all: Vec<u16> = self.begun.take().into_iter().collect();
        all.extend_from_slice(units);
        self.begun = all.pop_if(|last| matches!(last, 0xd800..=0xdbff));
        String::from_utf16_lossy(&all)
    }
}

fn console_mode(handle: &File) -> Option<CONSOLE_MODE> {
    let mut mode = 0;
    // SAFETY: the handle is open, and there is room for the mode.
    (unsafe { GetConsoleMode(handle.as_raw_handle(), &raw mut mode) } != 0).then_some(mode)
}

/// Whether a failed read means that there is no more to read, or that nobody wants it.
fn is_end(error: &io::Error) -> bool {
    const ENDS: [u32; 5] = [
        ERROR_BROKEN_PIPE,
        ERROR_HANDLE_EOF,
        ERROR_NO_DATA,
        ERROR_OPERATION_ABORTED,
        ERROR_PIPE_NOT_CONNECTED,
    ];
    let code = error.raw_os_error().map(i32::cast_unsigned);
    code.is_some_and(|code| ENDS.contains(&code))
}

pub(super) fn give_up(stream: StandardStream) -> io::Result<()> {
    let Some(theirs) = standard(stream) else {
        return Ok(());
    };
    // SAFETY: a standard handle is open as long as it is one.
    if unsafe { GetFileType(theirs) } != FILE_TYPE_PIPE {
        return Ok(());
    }
    let null = null()?.into_raw_handle();
    // SAFETY: the new handle is open, and nothing else closes it.
    if unsafe { SetStdHandle(name(stream), null) } == 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is no standard handle any more, so nobody uses it.
    unsafe { CloseHandle(theirs) };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Utf16, text_of};

    #[test]
    fn a_character_cut_in_two_waits_for_its_rest() {
        assert_eq!(text_of("aß".as_bytes()), ("aß".to_owned(), 3));
        assert_eq!(text_of(&"aß".as_bytes()[..2]), ("a".to_owned(), 1));
        assert_eq!(text_of(&"€".as_bytes()[..2]), (String::new(), 0));
        assert_eq!(text_of(b"a\xff"), ("a\u{fffd}".to_owned(), 2));
        assert_eq!(text_of(b""), (String::new(), 0));
    }

    #[test]
    fn a_surrogate_waits_for_its_second_half() {
        let units: Vec<u16> = "x\u{1f642}".encode_utf16().collect();
        let mut decoder = Utf16::default();
        assert_eq!(decoder.decode(&units[..2]), "x");
        assert_eq!(decoder.decode(&units[2..]), "\u{1f642}");
    }
}
