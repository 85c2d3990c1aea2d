//! The job that holds a child and all its descendants.

use std::cell::Cell;
use std::io;
use std::os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle, FromRawHandle, OwnedHandle};
use std::ptr;

use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::System::JobObjects::{
    CreateJobObjectW, JOBOBJECT_ASSOCIATE_COMPLETION_PORT, JOBOBJECT_BASIC_ACCOUNTING_INFORMATION,
    JobObjectAssociateCompletionPortInformation, JobObjectBasicAccountingInformation,
    QueryInformationJobObject, SetInformationJobObject, TerminateJobObject,
};

use super::check;

/// A job. Closing it does not end its processes.
#[derive(Debug)]
pub(super) struct Job {
    handle: OwnedHandle,
    /// Whether it posts messages to a completion port.
    reports: Cell<bool>,
}

impl Job {
    pub(super) fn create() -> io::Result<Job> {
        // SAFETY: the job has no name and no attributes, so the handle is not inherited.
        let handle = unsafe { CreateJobObjectW(ptr::null(), ptr::null()) };
        if handle.is_null() {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: we just made the job, and own it.
        let handle = unsafe { OwnedHandle::from_raw_handle(handle) };
        Ok(Job {
            handle,
            reports: Cell::new(false),
        })
    }

    /// Returns the number of processes that have not ended.
    pub(super) fn active_processes(&self) -> io::Result<u32> {
        let mut information = JOBOBJECT_BASIC_ACCOUNTING_INFORMATION::default();
        let bytes = size_of_val(&information).try_into().expect("it is small");
        // SAFETY: the handle is open, and `information` has room for that many bytes.
        check(unsafe {
            QueryInformationJobObject(
                self.handle.as_raw_handle(),
                JobObjectBasicAccountingInformation,
                (&raw mut information).cast(),
                bytes,
                ptr::null_mut(),
            )
        })?;
        Ok(information.ActiveProcesses)
    }

    /// Ends all processes of the job.
    pub(super) fn terminate(&self) -> io::Result<()> {
        // SAFETY: the handle is open.
        check(unsafe { TerminateJobObject(self.handle.as_raw_handle(), 1) })
    }

    /// Makes the job post a message with `key` to the completion port `queue` whenever a process joins or leaves it.
    /// Windows may omit messages. Has no effect after the first call.
    pub(super) fn report_to(&self, queue: BorrowedHandle<'_>, key: usize) -> io::Result<()> {
        if !self.reports.get() {
            self.associate(queue.as_raw_handle(), key)?;
            self.reports.set(true);
        }
        Ok(())
    }

    /// Chooses the completion port. Null means none, from Windows 8 on.
    fn associate(&self, queue: HANDLE, key: usize) -> io::Result<()> {
        let port = JOBOBJECT_ASSOCIATE_COMPLETION_PORT {
            CompletionKey: ptr::without_provenance_mut(key),
            CompletionPort: queue,
        };
        let bytes = size_of_val(&port).try_into().expect("it is small");
        // SAFETY: the handles are open, and `port` has that many bytes. The key is only a number.
        check(unsafe {
            SetInformationJobObject(
                self.handle.as_raw_handle(),
                JobObjectAssociateCompletionPortInformation,
                (&raw const port).cast(),
                bytes,
            )
        })
    }
}

impl AsHandle for Job {
    fn as_handle(&self) -> BorrowedHandle<'_> {
        self.handle.as_handle()
    }
}

impl Drop for Job {
    /// Stops the messages: a tree that lives on would otherwise fill the queue of a port that nobody reads any more.
    fn drop(&mut self) {
        if self.reports.get()
            && let Err(error) = self.associate(ptr::null_mut(), 0)
        {
            log::debug!("process: a job that is closed still reports its processes: {error}");
        }
    }
}
