//! The job that holds a child and all its descendants.

use std::cell::Cell;
use std::io;
use std::os::windows::io::{
    AsHandle, AsRawHandle, BorrowedHandle, FromRawHandle, IntoRawHandle, OwnedHandle,
};
use std::ptr;

use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::System::JobObjects::{
    CreateJobObjectW, JOB_OBJECT_LIMIT, JOB_OBJECT_LIMIT_ACTIVE_PROCESS,
    JOB_OBJECT_LIMIT_JOB_MEMORY, JOB_OBJECT_LIMIT_JOB_TIME, JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE,
    JOBOBJECT_ASSOCIATE_COMPLETION_PORT, JOBOBJECT_BASIC_ACCOUNTING_INFORMATION,
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION, JOBOBJECTINFOCLASS,
    JobObjectAssociateCompletionPortInformation, JobObjectBasicAccountingInformation,
    JobObjectExtendedLimitInformation, QueryInformationJobObject, SetInformationJobObject,
    TerminateJobObject,
};

use super::check;
use crate::process::Limits;
use crate::process::limits::not_enforced;

/// The fields of [`Limits`] that a job enforces.
pub(super) const ENFORCED: [&str; 3] = ["memory", "cpu_time", "processes"];

/// The flags of these fields.
const FLAGS: [(JOB_OBJECT_LIMIT, &str); 3] = [
    (JOB_OBJECT_LIMIT_JOB_MEMORY, "memory"),
    (JOB_OBJECT_LIMIT_JOB_TIME, "cpu_time"),
    (JOB_OBJECT_LIMIT_ACTIVE_PROCESS, "processes"),
];

/// A job. Dropping it does not end its processes.
#[derive(Debug)]
pub(super) struct Job {
    handle: OwnedHandle,
    /// Whether it posts messages to a completion port.
    reports: Cell<bool>,
    /// Whether its processes end when the last handle to it is closed.
    ends_when_closed: bool,
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
            ends_when_closed: false,
        })
    }

    /// Limits what its processes may use together, and sets whether they end with this process, which is when Windows
    /// closes the job.
    pub(super) fn limit(&mut self, limits: Limits, end_with_us: bool) -> io::Result<()> {
        let mut limits = extended(limits);
        if end_with_us {
            limits.BasicLimitInformation.LimitFlags |= JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE;
            self.ends_when_closed = true;
        }
        let asked = limits.BasicLimitInformation.LimitFlags;
        if asked == 0 {
            return Ok(());
        }
        // SAFETY: the type belongs to the kind of information.
        unsafe { self.set(JobObjectExtendedLimitInformation, &limits) }?;
        // Wine takes every limit and enforces none. It does not remember them either.
        // SAFETY: as above.
        let kept: JOBOBJECT_EXTENDED_LIMIT_INFORMATION =
            unsafe { self.query(JobObjectExtendedLimitInformation) }?;
        let missing = asked & !kept.BasicLimitInformation.LimitFlags;
        match FLAGS.iter().find(|(flag, _)| missing & flag != 0) {
            Some((_, field)) => Err(not_enforced(field)),
            None => Ok(()),
        }
    }

    /// Returns the number of processes that have not ended.
    pub(super) fn active_processes(&self) -> io::Result<u32> {
        // SAFETY: the type belongs to the kind of information.
        let information: JOBOBJECT_BASIC_ACCOUNTING_INFORMATION =
            unsafe { self.query(JobObjectBasicAccountingInformation) }?;
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
        // SAFETY: the type belongs to the kind of information. The port's handle is open, the key is only a number.
        unsafe { self.set(JobObjectAssociateCompletionPortInformation, &port) }
    }

    /// Asks Windows about the job.
    ///
    /// # Safety
    ///
    /// `T` must be the type of this kind of information: a plain structure, valid with any bytes.
    unsafe fn query<T: Default>(&self, kind: JOBOBJECTINFOCLASS) -> io::Result<T> {
        let mut information = T::default();
        let bytes = size_of::<T>().try_into().expect("it is small");
        // SAFETY: the handle is open, and `information` has room for that many bytes.
        check(unsafe {
            QueryInformationJobObject(
                self.handle.as_raw_handle(),
                kind,
                (&raw mut information).cast(),
                bytes,
                ptr::null_mut(),
            )
        })?;
        Ok(information)
    }

    /// Changes the job.
    ///
    /// # Safety
    ///
    /// `T` must be the type of this kind of information, and handles in it must be open.
    unsafe fn set<T>(&self, kind: JOBOBJECTINFOCLASS, information: &T) -> io::Result<()> {
        let bytes = size_of::<T>().try_into().expect("it is small");
        // SAFETY: the handle is open, and `information` has that many bytes.
        check(unsafe {
            SetInformationJobObject(
                self.handle.as_raw_handle(),
                kind,
                ptr::from_ref(information).cast(),
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
    /// Stops the messages: a tree that lives on would otherwise fill the queue of a port that nobody reads any more. If
    /// the tree is to end with this process, keeps a handle of the job open until then.
    fn drop(&mut self) {
        if self.reports.get()
            && let Err(error) = self.associate(ptr::null_mut(), 0)
        {
            log::debug!("process: a job that is closed still reports its processes: {error}");
        }
        let over = || self.active_processes().is_ok_and(|count| count == 0);
        if self.ends_when_closed && !over() {
            match self.handle.try_clone() {
                // Windows closes it when we end.
                Ok(handle) => _ = handle.into_raw_handle(),
                Err(error) => log::warn!("process: a tree ends before this process: {error}"),
            }
        }
    }
}

/// The limits as a job takes them. What is too large for Windows is as much as no limit, and becomes the largest value.
fn extended(limits: Limits) -> JOBOBJECT_EXTENDED_LIMIT_INFORMATION {
    let mut information = JOBOBJECT_EXTENDED_LIMIT_INFORMATION::default();
    let basic = &mut information.BasicLimitInformation;
    if let Some(bytes) = limits.memory {
        basic.LimitFlags |= JOB_OBJECT_LIMIT_JOB_MEMORY;
        information.JobMemoryLimit = bytes.try_into().unwrap_or(usize::MAX);
    }
    if let Some(time) = limits.cpu_time {
        basic.LimitFlags |= JOB_OBJECT_LIMIT_JOB_TIME;
        // Windows counts in units of 100 ns.
        basic.PerJobUserTimeLimit = (time.as_nanos() / 100)
            .try_into()
            .unwrap_or(i64::MAX)
            .max(1);
    }
    if let Some(count) = limits.processes {
        basic.LimitFlags |= JOB_OBJECT_LIMIT_ACTIVE_PROCESS;
        basic.ActiveProcessLimit = count;
    }
    information
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn limits_are_given_in_the_units_of_windows() {
        let mut limits = Limits::default();
        assert_eq!(extended(limits).BasicLimitInformation.LimitFlags, 0);
        limits.memory = Some(1 << 20);
        limits.cpu_time = Some(Duration::from_millis(1500));
        limits.processes = Some(7);
        let information = extended(limits);
        let basic = information.BasicLimitInformation;
        let all = FLAGS.iter().fold(0, |all, (flag, _)| all | flag);
        assert_eq!(basic.LimitFlags, all);
        assert_eq!(information.JobMemoryLimit, 1 << 20);
        assert_eq!(basic.PerJobUserTimeLimit, 15_000_000);
        assert_eq!(basic.ActiveProcessLimit, 7);
        limits.cpu_time = Some(Duration::MAX);
        let basic = extended(limits).BasicLimitInformation;
        assert_eq!(basic.PerJobUserTimeLimit, i64::MAX);
        limits.cpu_time = Some(Duration::ZERO);
        let basic = extended(limits).BasicLimitInformation;
        assert_eq!(basic.PerJobUserTimeLimit, 1);
    }
}
