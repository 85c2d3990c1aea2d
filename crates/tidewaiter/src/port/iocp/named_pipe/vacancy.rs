//! Waiting until an instance of a named pipe is free, without a thread: by the request that `WaitNamedPipe` makes, on the
//! completion port.

use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr;

use windows_sys::Wdk::Storage::FileSystem::{FSCTL_PIPE_WAIT, NtFsControlFile};
use windows_sys::Win32::Foundation::{
    ERROR_IO_PENDING, ERROR_SUCCESS, INVALID_HANDLE_VALUE, NTSTATUS, RtlNtStatusToDosError,
    STATUS_PENDING,
};
use windows_sys::Win32::Storage::FileSystem::{
    CreateFileW, FILE_FLAG_OVERLAPPED, FILE_READ_ATTRIBUTES, FILE_SHARE_READ, FILE_SHARE_WRITE,
    OPEN_EXISTING, SYNCHRONIZE,
};
use windows_sys::Win32::System::IO::OVERLAPPED;

use crate::os::PipeName;
use crate::port::iocp::queue::Queue;
use crate::port::iocp::record::{LentRecord, OsResult, Record, Records, Started};
use crate::port::table::Key;

/// The longest time that Windows waits at a time, in units of 100 ns, negative as for all times that begin now. Not every
/// system lets such a wait be cancelled (Wine 8), and this bounds how long it keeps the record of one that nobody wants.
const TIMEOUT: i64 = -10_000_000;

/// The waits of this port.
#[derive(Debug, Default)]
pub(in super::super) struct Vacancies {
    /// The file system of the pipes; `None` before the first wait.
    file_system: Option<OwnedHandle>,
    lent: Vec<LentRecord>,
}

impl Vacancies {
    /// Has Windows post a packet once an instance of the pipe is free, the pipe is gone, or some time is over.
    pub(super) fn start(
        &mut self,
        queue: &Queue,
        name: &PipeName,
        operation: Key,
        records: &mut Records,
    ) -> io::Result<()> {
        let file_system = match self.file_system.take() {
            Some(file_system) => file_system,
            None => open(queue)?,
        };
        let file_system = self.file_system.insert(file_system);
        match call_wait(file_system, name, records.take(operation)) {
            Started::UnderWay(lent) => {
                self.lent.push(lent);
                Ok(())
            }
            Started::Finished(record, result) => {
                records.put(record);
                Err(error_of(result))
            }
        }
    }

    /// Asks Windows to cancel the wait for an operation. Its packet still arrives.
    pub(super) fn cancel(&self, operation: Key) {
        if let Some(file_system) = &self.file_system {
            for lent in &self.lent {
                if lent.operation() == operation {
                    lent.cancel(file_system.as_raw_handle());
                }
            }
        }
    }

    /// Takes back the packet's record, if it is one of these waits.
    pub(in super::super) fn take_back(
        &mut self,
        overlapped: *mut OVERLAPPED,
    ) -> Option<(Box<Record>, OsResult)> {
        // A call that failed at once may post a packet nevertheless (Wine 8), so only a finished wait counts.
        let ended = |lent: &LentRecord| lent.overlapped() == overlapped && lent.is_finished();
        let index = self.lent.iter().position(ended)?;
        let lent = self.lent.swap_remove(index);
        // SAFETY: the packet with this address, for this very handle, was dequeued just now.
        Some(unsafe { lent.finished() })
    }

    /// The number of records that Windows holds.
    pub(in super::super) fn lent(&self) -> usize {
        self.lent.len()
    }
}

/// The error of a wait that has failed.
pub(super) fn error_of(result: OsResult) -> io::Error {
    io::Error::from_raw_os_error(result.code.cast_signed())
}

/// Opens the root of the pipes' file system, on the port.
fn open(queue: &Queue) -> io::Result<OwnedHandle> {
    // SAFETY: the name is zero-terminated. The null pointers ask for default attributes, under which children do not
    // inherit the handle, and for no template.
    let root = unsafe {
        CreateFileW(
            windows_sys::w!(r"\\.\pipe\"),
            FILE_READ_ATTRIBUTES | SYNCHRONIZE,
            FILE_SHARE_READ | FILE_SHARE_WRITE,
            ptr::null(),
            OPEN_EXISTING,
            FILE_FLAG_OVERLAPPED,
            ptr::null_mut(),
        )
    };
    if root == INVALID_HANDLE_VALUE {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call opened this handle just now, and nothing else owns it.
    let root = unsafe { OwnedHandle::from_raw_handle(root) };
    queue.associate_vacancies(root.as_raw_handle())?;
    Ok(root)
}

fn call_wait(file_system: &OwnedHandle, name: &PipeName, record: Box<Record>) -> Started {
    let request = wait_request(name);
    let bytes = u32::try_from(request.len()).expect("names are short");
    let lent = record.lend_as_pending();
    // SAFETY: the handle stays open until the packet; the call copies the request, whose bytes it only reads; the status
    // goes to the front of the OVERLAPPED, which belongs to the lent record and whose address the packet carries.
    let status = unsafe {
        NtFsControlFile(
            file_system.as_raw_handle(),
            ptr::null_mut(),
            None,
            lent.overlapped().cast_const().cast(),
            lent.overlapped().cast(),
            FSCTL_PIPE_WAIT,
            request.as_ptr().cast(),
            bytes,
            ptr::null_mut(),
            0,
        )
    };
    // SAFETY: the code is that of the call just made with this record, and the handle posts a packet for each success.
    unsafe { lent.called(code(status), false) }
}

fn code(status: NTSTATUS) -> u32 {
    match status {
        0 => ERROR_SUCCESS,
        STATUS_PENDING => ERROR_IO_PENDING,
        // SAFETY: a table look-up, which takes any number.
        status => unsafe { RtlNtStatusToDosError(status) },
    }
}

/// A `FILE_PIPE_WAIT_FOR_BUFFER`: the timeout, the length of the name, whether there is a timeout, and the name without
/// the folder of all pipes.
fn wait_request(name: &PipeName) -> Vec<u8> {
    let name: Vec<u8> = (name
        .local_name()
        .unwrap_or_default()
        .replace('/', "\\")
        .encode_utf16())
    .flat_map(u16::to_le_bytes)
    .collect();
    let name_bytes = u32::try_from(name.len()).expect("names are short");
    let mut request = Vec::with_capacity(16 + name.len());
    request.extend(TIMEOUT.to_le_bytes());
    request.extend(name_bytes.to_le_bytes());
    request.extend([1, 0]);
    request.extend(name);
    request
}

#[cfg(test)]
mod tests {
    use super::wait_request;
    use crate::os::PipeName;

    #[test]
    fn a_request_has_the_systems_layout() {
        let name = PipeName::local("a/b").expect("a name");
        let request = wait_request(&name);
        assert_eq!(request[..8], (-10_000_000_i64).to_le_bytes());
        assert_eq!(request[8..], [6, 0, 0, 0, 1, 0, b'a', 0, b'\\', 0, b'b', 0]);
    }
}
