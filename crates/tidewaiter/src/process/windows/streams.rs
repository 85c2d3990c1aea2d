//! The child's descriptors: which handles it gets, and our ends of its pipes.

use std::collections::BTreeMap;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle, FromRawHandle, OwnedHandle};
use std::path::Path;
use std::ptr;

use windows_sys::Win32::Foundation::{
    ERROR_ACCESS_DENIED, ERROR_PIPE_BUSY, HANDLE, HANDLE_FLAG_INHERIT, INVALID_HANDLE_VALUE,
    SetHandleInformation,
};
use windows_sys::Win32::Storage::FileSystem::{
    FILE_FLAG_FIRST_PIPE_INSTANCE, FILE_FLAG_OVERLAPPED, FILE_TYPE_CHAR, FILE_TYPE_PIPE,
    GetFileType, PIPE_ACCESS_DUPLEX, PIPE_ACCESS_INBOUND, PIPE_ACCESS_OUTBOUND,
};
use windows_sys::Win32::System::Console::{
    GetStdHandle, STD_ERROR_HANDLE, STD_INPUT_HANDLE, STD_OUTPUT_HANDLE,
};
use windows_sys::Win32::System::Pipes::{
    CreateNamedPipeW, CreatePipe, PIPE_READMODE_BYTE, PIPE_REJECT_REMOTE_CLIENTS, PIPE_TYPE_BYTE,
    PIPE_WAIT,
};

use super::{check, unsupported};
use crate::os::duplicate;
use crate::process::{ChildPipe, Command, FileAccess, PipeDirection, SpawnStep, Stdio, TakenEnd};

const PIPE_BYTES: u32 = 64 * 1024;

/// How many names to try for a pipe before giving up: more collisions than this are no coincidence.
const NAME_ATTEMPTS: usize = 16;

/// What the C runtimes of Windows have at least.
const DESCRIPTORS_MAX: u32 = 2048;

/// The flags of an open descriptor in the block for the C runtime.
const OPEN: u8 = 0x01;
const IS_PIPE: u8 = 0x08;
const IS_DEVICE: u8 = 0x40;

/// The child's descriptors, and our ends of the pipes among them.
#[derive(Debug)]
pub(super) struct Streams {
    /// The child's handles by its descriptors, not inheritable.
    handles: BTreeMap<u32, OwnedHandle>,
    /// Our ends, for overlapped use.
    pub(super) ours: Vec<ChildPipe>,
    /// Ends of pipes to other children, of which the child gets copies.
    shared: Vec<TakenEnd<OwnedHandle>>,
}

impl Streams {
    /// Opens the descriptors.
    ///
    /// # Errors
    ///
    /// The OS's error, or `Unsupported` for what a descriptor cannot be on Windows.
    pub(super) fn of(command: &Command) -> Result<Streams, (SpawnStep, io::Error)> {
        let mut streams = Streams {
            handles: BTreeMap::new(),
            ours: Vec::new(),
            shared: Vec::new(),
        };
        // The null handles of the first three make a terminal the standard streams.
        let first = command.first_asked();
        let followers = command.followers()?;
        for (&number, stdio) in command.descriptors.range(first..) {
            streams.open(number, stdio).map_err(|error| {
                let step = match (stdio.direction(number), error.kind()) {
                    (None, _) | (_, io::ErrorKind::Unsupported) => SpawnStep::Descriptor(number),
                    _ => SpawnStep::Pipes,
                };
                (step, error)
            })?;
        }
        for (number, other) in followers {
            if other < first {
                let error = unsupported("on Windows, a terminal is the standard streams alone");
                return Err((SpawnStep::Descriptor(number), error));
            }
            // A handle of its own, so that the child can close one of the two.
            let copy = streams.handles.get(&other).map(OwnedHandle::try_clone);
            let copy = copy.transpose();
            let copy = copy.map_err(|error| (SpawnStep::Descriptor(number), error))?;
            streams.handles.extend(copy.map(|copy| (number, copy)));
        }
        Ok(streams)
    }

    /// Returns our ends of the pipes, once the child has its handles.
    pub(super) fn given(self) -> Vec<ChildPipe> {
        for end in self.shared {
            end.given();
        }
        self.ours
    }

    fn open(&mut self, number: u32, stdio: &Stdio) -> io::Result<()> {
        if number >= DESCRIPTORS_MAX && *stdio != Stdio::Closed {
            return Err(unsupported("Windows has no descriptor of that number"));
        }
        let handle = match *stdio {
            Stdio::Null => File::options()
                .read(true)
                .write(true)
                .open("NUL")
                .map(|null| Some(null.into()))?,
            Stdio::Inherit => inherited(number)?,
            Stdio::Descriptor(ours) => Some(duplicate(ours)?),
            Stdio::SharedPipe(ref end) => {
                let end = end.take(shared_pipe)?;
                let copy = end.end().try_clone()?;
                self.shared.push(end);
                Some(copy)
            }
            Stdio::File { ref path, access } => Some(open_file(path, access)?),
            // Its handle is a copy of the other's.
            Stdio::SameAs(_) | Stdio::Closed => None,
            Stdio::Pipe
            | Stdio::Socket
            | Stdio::PipeToChild
            | Stdio::PipeFromChild
            | Stdio::Duplex => self.open_pipe(number, stdio)?,
        };
        self.handles.extend(handle.map(|handle| (number, handle)));
        Ok(())
    }

    /// Keeps our end, and returns the child's.
    fn open_pipe(&mut self, number: u32, stdio: &Stdio) -> io::Result<Option<OwnedHandle>> {
        let Some(direction) = stdio.direction(number) else {
            return Ok(None);
        };
        let (ours, theirs) = pipe(direction)?;
        self.ours.push(ChildPipe {
            child_fd: number,
            direction,
            pipe: ours,
        });
        Ok(Some(theirs.into()))
    }

    /// The handles that the child gets as standard input, output and error.
    pub(super) fn numbers(&self) -> [HANDLE; 3] {
        [0, 1, 2].map(|number| {
            let handle = self.handles.get(&number);
            handle.map_or(ptr::null_mut(), AsRawHandle::as_raw_handle)
        })
    }

    /// The handles that the child inherits, each of them once.
    pub(super) fn list(&self) -> Vec<BorrowedHandle<'_>> {
        self.handles.values().map(AsHandle::as_handle).collect()
    }

    /// The block by which the child's C runtime knows its descriptors: their count, a byte of flags for each, and a
    /// handle for each. Empty if there are none beside the standard streams.
    pub(super) fn block(&self) -> Vec<u8> {
        let Some((&last @ 3.., _)) = self.handles.last_key_value() else {
            return Vec::new();
        };
        let (mut flags, mut handles) = (Vec::new(), Vec::new());
        for number in 0..=last {
            // The runtime takes the standard streams from elsewhere, as text files.
            let handle = self.handles.get(&number).filter(|_| number > 2);
            flags.push(handle.map_or(0, |handle| OPEN | kind(handle)));
            let handle = handle.map_or(INVALID_HANDLE_VALUE, AsRawHandle::as_raw_handle);
            handles.extend(handle.expose_provenance().to_ne_bytes());
        }
        let count = last + 1;
        [count.to_ne_bytes().as_slice(), &flags, &handles].concat()
    }
}

/// The flag of the kind of object.
fn kind(handle: &OwnedHandle) -> u8 {
    // SAFETY: the handle is open.
    match unsafe { GetFileType(handle.as_raw_handle()) } {
        FILE_TYPE_PIPE => IS_PIPE,
        FILE_TYPE_CHAR => IS_DEVICE,
        _ => 0,
    }
}

/// Opens a file, shared with everybody.
fn open_file(path: &Path, access: FileAccess) -> io::Result<OwnedHandle> {
    let mut options = File::options();
    match access {
        FileAccess::Read => options.read(true),
        FileAccess::Write => options.write(true).create(true).truncate(true),
        FileAccess::Append => options.append(true).create(true),
    };
    Ok(options.open(path)?.into())
}

/// Copies our own standard stream, if we have one.
fn inherited(number: u32) -> io::Result<Option<OwnedHandle>> {
    let number = match number {
        0 => STD_INPUT_HANDLE,
        1 => STD_OUTPUT_HANDLE,
        2 => STD_ERROR_HANDLE,
        _ => return Err(unsupported("Windows has standard streams of our own alone")),
    };
    // SAFETY: the call only returns a number.
    let handle = unsafe { GetStdHandle(number) };
    if handle.is_null() || handle == INVALID_HANDLE_VALUE {
        return Ok(None);
    }
    // SAFETY: a standard handle of the process stays open as long as it is one, and the next line duplicates it
    // at once.
    let handle = unsafe { BorrowedHandle::borrow_raw(handle) };
    handle.try_clone_to_owned().map(Some)
}

/// Makes handles inheritable for as long as this lives. A process that another thread starts meanwhile, without
/// a list of handles, inherits them as well, so this must not live longer than the call that starts our child.
pub(super) struct Inheritable<'a>(&'a [BorrowedHandle<'a>]);

impl<'a> Inheritable<'a> {
    pub(super) fn make(handles: &'a [BorrowedHandle<'a>]) -> io::Result<Inheritable<'a>> {
        // Constructed first, so that its drop undoes a partial change after an error below.
        let inheritable = Inheritable(handles);
        for &handle in handles {
            set_inheritable(handle, true)?;
        }
        Ok(inheritable)
    }
}

impl Drop for Inheritable<'_> {
    fn drop(&mut self) {
        for &handle in self.0 {
            // Cannot fail: the handle is open, and setting the flag was allowed.
            let _ = set_inheritable(handle, false);
        }
    }
}

fn set_inheritable(handle: BorrowedHandle<'_>, inheritable: bool) -> io::Result<()> {
    let flags = match inheritable {
        true => HANDLE_FLAG_INHERIT,
        false => 0,
    };
    // SAFETY: the handle is open while it is borrowed.
    check(unsafe { SetHandleInformation(handle.as_raw_handle(), HANDLE_FLAG_INHERIT, flags) })
}

/// Makes a pipe: our end, overlapped, and the child's, synchronous as ordinary programs need it.
#[expect(
    clippy::disallowed_methods,
    reason = "random by design: no other process may guess the names"
)]
pub(crate) fn pipe(direction: PipeDirection) -> io::Result<(OwnedHandle, File)> {
    let mut attempts = NAME_ATTEMPTS;
    loop {
        attempts -= 1;
        let name = format!(
            r"\\.\pipe\tidewaiter-{}-{:016x}",
            std::process::id(),
            // Each `RandomState` hashes with new keys; the first of a thread has random ones.
            RandomState::new().hash_one(attempts)
        );
        let made = named_pipe(&name, direction).and_then(|ours| {
            let theirs = File::options()
                .read(direction != PipeDirection::FromChild)
                .write(direction != PipeDirection::ToChild)
                .open(&name)?;
            Ok((ours, theirs))
        });
        match made {
            Err(error) if attempts > 0 && is_taken(&error) => {}
            result => return result,
        }
    }
}

/// Makes a pipe between two children: the reader and the writer, both synchronous.
fn shared_pipe() -> io::Result<[OwnedHandle; 2]> {
    let (mut reader, mut writer) = (ptr::null_mut(), ptr::null_mut());
    // SAFETY: both handles have room; without security attributes they are not inherited.
    check(unsafe { CreatePipe(&raw mut reader, &raw mut writer, ptr::null(), PIPE_BYTES) })?;
    Ok([reader, writer].map(|handle| {
        // SAFETY: the call succeeded and gave us this handle.
        unsafe { OwnedHandle::from_raw_handle(handle) }
    }))
}

/// Whether another process has a pipe of that name, or opened ours before us.
fn is_taken(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(i32::cast_unsigned);
    matches!(code, Some(ERROR_ACCESS_DENIED | ERROR_PIPE_BUSY))
}

fn named_pipe(name: &str, direction: PipeDirection) -> io::Result<OwnedHandle> {
    let name: Vec<u16> = name.encode_utf16().chain([0]).collect();
    let access = match direction {
        PipeDirection::ToChild => PIPE_ACCESS_OUTBOUND,
        PipeDirection::FromChild => PIPE_ACCESS_INBOUND,
        PipeDirection::Both => PIPE_ACCESS_DUPLEX,
    };
    // SAFETY: `name` is null-terminated; without security attributes the handle is not inherited.
    let handle = unsafe {
        CreateNamedPipeW(
            name.as_ptr(),
            access | FILE_FLAG_OVERLAPPED | FILE_FLAG_FIRST_PIPE_INSTANCE,
            PIPE_TYPE_BYTE | PIPE_READMODE_BYTE | PIPE_WAIT | PIPE_REJECT_REMOTE_CLIENTS,
            1,
            PIPE_BYTES,
            PIPE_BYTES,
            0,
            ptr::null(),
        )
    };
    if handle == INVALID_HANDLE_VALUE {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: we just made the pipe, and own it.
    Ok(unsafe { OwnedHandle::from_raw_handle(handle) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn streams(descriptors: &[(u32, Stdio)]) -> Result<Streams, (SpawnStep, io::Error)> {
        let mut command = Command::new("any").stdin(Stdio::Closed);
        command = command.stdout(Stdio::Closed).stderr(Stdio::Closed);
        for (number, stdio) in descriptors {
            command = command.fd(*number, stdio.clone());
        }
        Streams::of(&command)
    }

    #[test]
    fn standard_streams_alone_need_no_block() {
        let streams = streams(&[(0, Stdio::Null), (1, Stdio::Pipe), (7, Stdio::Closed)]);
        assert!(streams.expect("they exist").block().is_empty());
    }

    #[test]
    fn the_block_tells_the_kind_and_handle_of_each_descriptor() {
        const SIZE: usize = size_of::<HANDLE>();
        let streams = streams(&[
            (1, Stdio::Pipe),
            (3, Stdio::PipeToChild),
            (5, Stdio::Null),
            (6, Stdio::SameAs(1)),
        ]);
        let streams = streams.expect("they exist");
        let block = streams.block();
        assert_eq!(block[..4], 7_u32.to_ne_bytes());
        let pipe = OPEN | IS_PIPE;
        assert_eq!(block[4..11], [0, 0, 0, pipe, 0, OPEN | IS_DEVICE, pipe]);
        let handle = |number: usize| {
            let bytes = &block[11 + SIZE * number..][..SIZE];
            usize::from_ne_bytes(bytes.try_into().expect("it is as long"))
        };
        assert_eq!(block.len(), 11 + SIZE * 7);
        for number in [0, 1, 2, 4] {
            assert_eq!(handle(number), usize::MAX, "{number}");
        }
        for number in [3_u32, 5, 6] {
            let expected = streams.handles[&number].as_raw_handle().addr();
            assert_eq!(handle(number as usize), expected, "{number}");
        }
        assert_eq!(streams.list().len(), 4, "each handle is inherited once");
    }

    #[test]
    fn what_no_descriptor_can_be_is_refused_by_its_number() {
        for (number, stdio, kind) in [
            (DESCRIPTORS_MAX, Stdio::Null, io::ErrorKind::Unsupported),
            (3, Stdio::Inherit, io::ErrorKind::Unsupported),
            (3, Stdio::SameAs(4), io::ErrorKind::InvalidInput),
        ] {
            let (step, error) = streams(&[(number, stdio)]).expect_err("it cannot be had");
            assert_eq!((step, error.kind()), (SpawnStep::Descriptor(number), kind));
        }
        streams(&[(DESCRIPTORS_MAX - 1, Stdio::Null)]).expect("it can be had");
    }
}
