//! Calls `CreateProcessW`, with exactly the handles meant for the child, in a job of its own.

use std::ffi::c_void;
use std::io;
use std::mem::MaybeUninit;
use std::os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle, FromRawHandle, OwnedHandle};
use std::ptr;
use std::sync::Arc;

use windows_sys::Win32::System::Console::HPCON;
use windows_sys::Win32::System::JobObjects::AssignProcessToJobObject;
use windows_sys::Win32::System::Threading::{
    ABOVE_NORMAL_PRIORITY_CLASS, BELOW_NORMAL_PRIORITY_CLASS, CREATE_SUSPENDED,
    CREATE_UNICODE_ENVIRONMENT, CreateProcessW, DeleteProcThreadAttributeList,
    EXTENDED_STARTUPINFO_PRESENT, HIGH_PRIORITY_CLASS, IDLE_PRIORITY_CLASS,
    InitializeProcThreadAttributeList, NORMAL_PRIORITY_CLASS, PROC_THREAD_ATTRIBUTE_HANDLE_LIST,
    PROC_THREAD_ATTRIBUTE_JOB_LIST, PROC_THREAD_ATTRIBUTE_PSEUDOCONSOLE, PROCESS_CREATION_FLAGS,
    PROCESS_INFORMATION, ResumeThread, STARTF_USESHOWWINDOW, STARTF_USESTDHANDLES, STARTUPINFOEXW,
    SetPriorityClass, SetProcessAffinityMask, TerminateProcess, UpdateProcThreadAttribute,
};

use super::check;
use super::job::Job;
use super::program::Start;
use super::streams::{Inheritable, Streams};
use super::terminal::PseudoConsole;
use crate::process::Priority;

/// The program and what it gets, all texts null-terminated.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) start: Start,
    pub(super) environment: Vec<u16>,
    pub(super) directory: Option<Vec<u16>>,
    /// The flags for a group of its own and for another console than ours.
    pub(super) flags: PROCESS_CREATION_FLAGS,
    /// The child's console. `None`: ours.
    pub(super) terminal: Option<Arc<PseudoConsole>>,
    pub(super) priority: Option<Priority>,
    /// A bit for each CPU that the child may use.
    pub(super) cpus: Option<usize>,
}

/// A started process.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) pid: u32,
    pub(super) process: OwnedHandle,
}

/// Starts the program in the job, with these descriptors. It inherits their handles, and no others.
pub(super) fn start(image: &Image, job: &Job, streams: &Streams) -> io::Result<Started> {
    let jobs = [job.as_handle()];
    let flags = match (image.priority, image.cpus) {
        (None, None) => 0,
        _ => CREATE_SUSPENDED,
    };
    let (created, needs_job) = match create(image, streams, &jobs, flags) {
        Ok(created) => (created, None),
        // Packaged programs and old systems refuse the job. Any other error shows up again below.
        Err(_) => {
            let created = create(image, streams, &[], CREATE_SUSPENDED)?;
            (created, Some(job))
        }
    };
    let (process, thread, pid) = created;
    if (flags != 0 || needs_job.is_some())
        && let Err(error) = release(image, needs_job, &process, &thread)
    {
        // SAFETY: the handle is open.
        unsafe { TerminateProcess(process.as_raw_handle(), 1) };
        return Err(error);
    }
    Ok(Started { pid, process })
}

/// Gives a suspended process what it has not got yet, and lets it run.
fn release(
    image: &Image,
    job: Option<&Job>,
    process: &OwnedHandle,
    thread: &OwnedHandle,
) -> io::Result<()> {
    if let Some(job) = job {
        let job = job.as_handle();
        // SAFETY: both handles are open.
        check(unsafe { AssignProcessToJobObject(job.as_raw_handle(), process.as_raw_handle()) })?;
    }
    if let Some(priority) = image.priority {
        // `CreateProcessW` takes a class, too, but Wine ignores it there.
        // SAFETY: the handle is open.
        check(unsafe { SetPriorityClass(process.as_raw_handle(), class(priority)) })?;
    }
    if let Some(cpus) = image.cpus {
        // SAFETY: the handle is open.
        check(unsafe { SetProcessAffinityMask(process.as_raw_handle(), cpus) })?;
    }
    // SAFETY: the handle is open.
    match unsafe { ResumeThread(thread.as_raw_handle()) } {
        u32::MAX => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

fn create(
    image: &Image,
    streams: &Streams,
    jobs: &[BorrowedHandle<'_>],
    flags: u32,
) -> io::Result<(OwnedHandle, OwnedHandle, u32)> {
    let list = streams.list();
    let mut attributes = Attributes::new()?;
    attributes.set(PROC_THREAD_ATTRIBUTE_HANDLE_LIST, &list)?;
    attributes.set(PROC_THREAD_ATTRIBUTE_JOB_LIST, jobs)?;
    if let Some(terminal) = &image.terminal {
        attributes.set_terminal(terminal)?;
    }
    let mut startup = STARTUPINFOEXW::default();
    startup.StartupInfo.cb = size_of::<STARTUPINFOEXW>().try_into().expect("it is small");
    startup.StartupInfo.dwFlags = STARTF_USESTDHANDLES;
    [
        startup.StartupInfo.hStdInput,
        startup.StartupInfo.hStdOutput,
        startup.StartupInfo.hStdError,
    ] = streams.numbers();
    let mut block = streams.block();
    startup.StartupInfo.cbReserved2 = block.len().try_into().expect("descriptors are few");
    startup.StartupInfo.lpReserved2 = match block.as_mut_slice() {
        [] => ptr::null_mut(),
        block => block.as_mut_ptr(),
    };
    startup.lpAttributeList = attributes.as_mut_ptr();
    if image.start.hidden {
        // Without this flag, the field's zero would mean nothing; with it, zero means hidden.
        startup.StartupInfo.dwFlags |= STARTF_USESHOWWINDOW;
    }
    // `CreateProcessW` may write to it.
    let mut command_line = image.start.command_line.clone();
    let mut made = PROCESS_INFORMATION::default();
    let inheritable = Inheritable::make(&list)?;
    // SAFETY: all texts are null-terminated and the environment ends with two NULs. The startup information
    // gives its size and says that attributes follow. The attributes, the handles in them and the block live until
    // after the call.
    let done = unsafe {
        CreateProcessW(
            image.start.file.as_ptr(),
            command_line.as_mut_ptr(),
            ptr::null(),
            ptr::null(),
            i32::from(!list.is_empty()),
            EXTENDED_STARTUPINFO_PRESENT | CREATE_UNICODE_ENVIRONMENT | image.flags | flags,
            image.environment.as_ptr().cast(),
            image.directory.as_ref().map_or(ptr::null(), Vec::as_ptr),
            (&raw const startup).cast(),
            &raw mut made,
        )
    };
    let error = io::Error::last_os_error();
    drop(inheritable);
    if done == 0 {
        return Err(error);
    }
    // SAFETY: the call succeeded and gave us this handle.
    let process = unsafe { OwnedHandle::from_raw_handle(made.hProcess) };
    // SAFETY: as above.
    let thread = unsafe { OwnedHandle::from_raw_handle(made.hThread) };
    Ok((process, thread, made.dwProcessId))
}

/// Returns the class of a priority.
fn class(priority: Priority) -> PROCESS_CREATION_FLAGS {
    match priority.value() {
        19.. => IDLE_PRIORITY_CLASS,
        10.. => BELOW_NORMAL_PRIORITY_CLASS,
        0.. => NORMAL_PRIORITY_CLASS,
        -7.. => ABOVE_NORMAL_PRIORITY_CLASS,
        _ => HIGH_PRIORITY_CLASS,
    }
}

/// A list of process attributes. It borrows the values set.
struct Attributes<'a> {
    memory: Vec<MaybeUninit<usize>>,
    values: std::marker::PhantomData<&'a [BorrowedHandle<'a>]>,
}

impl<'a> Attributes<'a> {
    const COUNT: u32 = 3;

    fn new() -> io::Result<Attributes<'a>> {
        let mut bytes = 0;
        // SAFETY: without a list, the call only returns the size of one.
        unsafe {
            InitializeProcThreadAttributeList(ptr::null_mut(), Self::COUNT, 0, &raw mut bytes)
        };
        let mut memory = vec![MaybeUninit::uninit(); bytes.div_ceil(size_of::<usize>())];
        // SAFETY: the list has as many bytes as the call asked for, aligned for pointers.
        let done = unsafe {
            InitializeProcThreadAttributeList(
                memory.as_mut_ptr().cast(),
                Self::COUNT,
                0,
                &raw mut bytes,
            )
        };
        if done == 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Attributes {
            memory,
            values: std::marker::PhantomData,
        })
    }

    /// Sets the attribute, unless there are no handles: Windows refuses an empty list.
    fn set(&mut self, attribute: u32, handles: &'a [BorrowedHandle<'a>]) -> io::Result<()> {
        if handles.is_empty() {
            return Ok(());
        }
        // SAFETY: the handles live as long as the list.
        unsafe { self.update(attribute, handles.as_ptr().cast(), size_of_val(handles)) }
    }

    /// Makes the pseudo-console the process's console.
    fn set_terminal(&mut self, terminal: &'a PseudoConsole) -> io::Result<()> {
        let number = ptr::with_exposed_provenance(terminal.as_raw().cast_unsigned());
        let attribute = PROC_THREAD_ATTRIBUTE_PSEUDOCONSOLE;
        // SAFETY: this attribute's value is the pseudo-console itself, which stays open as long as the list.
        unsafe { self.update(attribute, number, size_of::<HPCON>()) }
    }

    /// Sets an attribute to `value`, which has `bytes` bytes.
    ///
    /// # Safety
    ///
    /// The value must be of the attribute's type, and live as long as the list.
    unsafe fn update(
        &mut self,
        attribute: u32,
        value: *const c_void,
        bytes: usize,
    ) -> io::Result<()> {
        let attribute = usize::try_from(attribute).expect("Windows has at least 32 bits");
        // SAFETY: the list was initialised with room for the attribute; the rest is as the caller promises.
        check(unsafe {
            UpdateProcThreadAttribute(
                self.as_mut_ptr(),
                0,
                attribute,
                value,
                bytes,
                ptr::null_mut(),
                ptr::null(),
            )
        })
    }

    fn as_mut_ptr(&mut self) -> *mut c_void {
        self.memory.as_mut_ptr().cast()
    }
}

impl Drop for Attributes<'_> {
    fn drop(&mut self) {
        // SAFETY: the list was initialised, and nothing uses it after this.
        unsafe { DeleteProcThreadAttributeList(self.as_mut_ptr()) };
    }
}
