//! The job that holds a child and all its descendants.

use std::io;
use std::os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle, FromRawHandle, OwnedHandle};
use std::ptr;

use windows_sys::Win32::System::JobObjects::{
    CreateJobObjectW, JOBOBJECT_BASIC_ACCOUNTING_INFORMATION, JobObjectBasicAccountingInformation,
    QueryInformationJobObject, TerminateJobObject,
};

use super::check;

/// A job. Closing it does not end its processes.
#[derive(Debug)]
pub(super) struct Job {
    handle: OwnedHandle,
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
        Ok(Job { handle })
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
}

impl AsHandle for Job {
    fn as_handle(&self) -> BorrowedHandle<'_> {
        self.handle.as_handle()
    }
}
