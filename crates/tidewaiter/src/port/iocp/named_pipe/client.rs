//! Opening a named pipe as its client.

use std::ffi::c_void;
use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use windows_sys::Win32::Foundation::{ERROR_PIPE_BUSY, INVALID_HANDLE_VALUE};
use windows_sys::Win32::Storage::FileSystem::{
    CreateFileW, FILE_APPEND_DATA, FILE_FLAG_OVERLAPPED, FILE_GENERIC_READ, FILE_GENERIC_WRITE,
    OPEN_EXISTING, SECURITY_ANONYMOUS, SECURITY_DELEGATION, SECURITY_IDENTIFICATION,
    SECURITY_IMPERSONATION, SECURITY_SQOS_PRESENT,
};
use windows_sys::Win32::System::Pipes::{
    GetNamedPipeInfo, PIPE_READMODE_MESSAGE, PIPE_TYPE_MESSAGE, SetNamedPipeHandleState,
    WaitNamedPipeW,
};
use windows_sys::Win32::System::Threading::{
    CallbackMayRunLong, PTP_CALLBACK_INSTANCE, TrySubmitThreadpoolCallback,
};

use super::{End, NamedPipe};
use crate::os::PipeName;
use crate::port::admission::invalid;
use crate::port::iocp::queue::Queue;
use crate::port::table::Key;
use crate::port::{Impersonation, PipeConnectOptions};

/// The rights that a client asks for: those to read and to write, without the one to make instances, which for a pipe
/// has the number of the right to append.
const RIGHTS: u32 = (FILE_GENERIC_READ | FILE_GENERIC_WRITE) & !FILE_APPEND_DATA;

/// For how long a thread of the pool waits for an instance before it looks whether anybody still wants one.
const POOL_WAIT_MILLISECONDS: u32 = 500;

/// A client that is not connected yet.
#[derive(Debug)]
pub(in super::super) struct Unopened {
    pub(super) options: PipeConnectOptions,
    /// The pipe that is being opened.
    pub(super) target: Option<Target>,
    /// The attempt of a thread of the pool.
    pub(super) opening: Option<Arc<Opening>>,
}

/// The pipe to open, and how.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) name: PipeName,
    /// The same, as Windows takes it.
    wide: Vec<u16>,
    options: PipeConnectOptions,
}

impl Unopened {
    pub(in super::super) fn new(options: PipeConnectOptions) -> Unopened {
        Unopened {
            options,
            target: None,
            opening: None,
        }
    }
}

impl Target {
    pub(super) fn new(name: &PipeName, options: PipeConnectOptions) -> Target {
        Target {
            name: name.clone(),
            wide: name.as_str().encode_utf16().chain([0]).collect(),
            options,
        }
    }

    /// Opens the pipe, if an instance is free. Waits for nothing but another machine.
    pub(super) fn open(&self) -> io::Result<NamedPipe> {
        let level = match self.options.impersonation {
            Impersonation::Anonymous => SECURITY_ANONYMOUS,
            Impersonation::Identification => SECURITY_IDENTIFICATION,
            Impersonation::Impersonation => SECURITY_IMPERSONATION,
            Impersonation::Delegation => SECURITY_DELEGATION,
        };
        // SAFETY: the name is zero-terminated. The null pointers ask for default attributes, under which children do not
        // inherit the handle, and for no template.
        let pipe = unsafe {
            CreateFileW(
                self.wide.as_ptr(),
                RIGHTS,
                0,
                ptr::null(),
                OPEN_EXISTING,
                FILE_FLAG_OVERLAPPED | SECURITY_SQOS_PRESENT | level,
                ptr::null_mut(),
            )
        };
        if pipe == INVALID_HANDLE_VALUE {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call opened this handle just now, and nothing else owns it.
        let pipe = unsafe { OwnedHandle::from_raw_handle(pipe) };
        if self.options.mode.has_messages() {
            receive_messages(&pipe)?;
        }
        let (name, mode) = (self.name.clone(), self.options.mode);
        Ok(NamedPipe::new(pipe, name, End::Client, mode))
    }

    /// Opens the pipe, and waits for an instance until somebody gives up.
    fn open_patiently(&self, is_given_up: &AtomicBool) -> io::Result<NamedPipe> {
        loop {
            match self.open() {
                Err(error) if is_busy(&error) && !is_given_up.load(Ordering::Relaxed) => {}
                result => return result,
            }
            // Whatever comes of the wait, the next attempt to open tells what to do.
            // SAFETY: the name is zero-terminated.
            unsafe { WaitNamedPipeW(self.wide.as_ptr(), POOL_WAIT_MILLISECONDS) };
        }
    }
}

/// Whether all instances have clients.
pub(super) fn is_busy(error: &io::Error) -> bool {
    error.raw_os_error() == Some(ERROR_PIPE_BUSY.cast_signed())
}

fn receive_messages(pipe: &OwnedHandle) -> io::Result<()> {
    let mut flags = 0;
    // SAFETY: the handle is open, and the call writes the flags within their size. Null pointers ask for nothing else.
    let told = unsafe {
        GetNamedPipeInfo(
            pipe.as_raw_handle(),
            &raw mut flags,
            ptr::null_mut(),
            ptr::null_mut(),
            ptr::null_mut(),
        )
    };
    if told == 0 {
        return Err(io::Error::last_os_error());
    }
    if flags & PIPE_TYPE_MESSAGE == 0 {
        return Err(invalid("the pipe carries bytes, not messages"));
    }
    let mode = PIPE_READMODE_MESSAGE;
    // SAFETY: the handle is open, and the call reads the mode. Null pointers change nothing else.
    let set = unsafe {
        SetNamedPipeHandleState(
            pipe.as_raw_handle(),
            &raw const mode,
            ptr::null(),
            ptr::null(),
        )
    };
    match set {
        0 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// The opening of a pipe on another machine, whose answer a thread of Windows's pool awaits.
#[derive(Debug)]
pub(super) struct Opening {
    result: Mutex<Option<io::Result<NamedPipe>>>,
    is_given_up: AtomicBool,
}

/// The work of the thread.
struct Work {
    opening: Arc<Opening>,
    target: Target,
    queue: Arc<Queue>,
    operation: Key,
}

impl Opening {
    /// Has a thread open the pipe. It posts a packet of a wait for `operation` when it has the result.
    pub(super) fn start(
        target: &Target,
        queue: &Arc<Queue>,
        operation: Key,
    ) -> io::Result<Arc<Opening>> {
        let opening = Arc::new(Opening {
            result: Mutex::new(None),
            is_given_up: AtomicBool::new(false),
        });
        let work = Box::into_raw(Box::new(Work {
            opening: Arc::clone(&opening),
            target: target.clone(),
            queue: Arc::clone(queue),
            operation,
        }));
        // SAFETY: `perform` takes this very pointer, once. The null pointer means the pool of the process.
        let submitted =
            unsafe { TrySubmitThreadpoolCallback(Some(perform), work.cast(), ptr::null()) };
        if submitted == 0 {
            let error = io::Error::last_os_error();
            // SAFETY: the pool refused the work, so this is the only pointer to the box leaked above.
            drop(unsafe { Box::from_raw(work) });
            return Err(error);
        }
        Ok(opening)
    }

    pub(super) fn give_up(&self) {
        self.is_given_up.store(true, Ordering::Relaxed);
    }

    /// Takes the result, once its packet has come.
    pub(super) fn take(&self) -> Option<io::Result<NamedPipe>> {
        let mut result = self.result.lock().unwrap_or_else(PoisonError::into_inner);
        result.take()
    }
}

/// Called once, by a thread of the pool.
unsafe extern "system" fn perform(instance: PTP_CALLBACK_INSTANCE, context: *mut c_void) {
    // SAFETY: the pool passes the instance of this very call.
    unsafe { CallbackMayRunLong(instance) };
    // SAFETY: `Opening::start` leaked this box for this call, and the pool calls once.
    let work = unsafe { Box::from_raw(context.cast::<Work>()) };
    let result = work.target.open_patiently(&work.opening.is_given_up);
    let mut place = (work.opening.result.lock()).unwrap_or_else(PoisonError::into_inner);
    *place = Some(result);
    drop(place);
    if let Err(error) = work.queue.post_wait(work.operation) {
        log::error!("port: a client of a pipe cannot be told that it is open: {error}");
    }
}
