//! Waits for any number of waitable objects; each ends with a packet on the port.

use std::ffi::c_void;
use std::io;
use std::os::windows::io::{AsRawHandle, BorrowedHandle, FromRawHandle, OwnedHandle};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use windows_sys::Win32::Foundation::{
    GENERIC_ALL, HANDLE, INVALID_HANDLE_VALUE, NTSTATUS, RtlNtStatusToDosError,
};
use windows_sys::Win32::System::Threading::{
    INFINITE, RegisterWaitForSingleObject, UnregisterWaitEx, WT_EXECUTEINWAITTHREAD,
    WT_EXECUTEONLYONCE,
};

use super::extension::PacketFunctions;
use super::queue::{Queue, wait_words};
use crate::port::table::Key;

/// A wait under way. Dropping it ends it; a packet that is already posted still arrives.
pub(super) enum Wait {
    /// The kernel posts the packet.
    Kernel(KernelWait),
    /// A thread of Windows's pool waits and posts the packet.
    Pool(PoolWait),
}

impl Wait {
    /// Posts one packet for `operation` once `object` is signalled.
    ///
    /// `object` must stay open until the wait is dropped.
    pub(super) fn start(
        functions: Option<PacketFunctions>,
        queue: &Arc<Queue>,
        object: BorrowedHandle<'_>,
        operation: Key,
    ) -> io::Result<Wait> {
        match functions {
            Some(functions) => {
                KernelWait::start(functions, queue, object, operation).map(Wait::Kernel)
            }
            None => PoolWait::start(queue, object, operation).map(Wait::Pool),
        }
    }

    /// Ends the wait. Returns true if no packet will arrive, false if one has been posted.
    pub(super) fn cancel(&mut self) -> bool {
        match self {
            Wait::Kernel(wait) => wait.cancel(),
            Wait::Pool(wait) => wait.cancel(),
        }
    }
}

/// A wait completion packet.
pub(super) struct KernelWait {
    packet: OwnedHandle,
    functions: PacketFunctions,
}

impl KernelWait {
    fn start(
        functions: PacketFunctions,
        queue: &Queue,
        object: BorrowedHandle<'_>,
        operation: Key,
    ) -> io::Result<KernelWait> {
        let mut packet: HANDLE = ptr::null_mut();
        // SAFETY: the call writes the handle within its size, and gets no attributes.
        check(unsafe { (functions.create)(&raw mut packet, GENERIC_ALL, ptr::null()) })?;
        // SAFETY: the call created this handle just now, and nothing else owns it.
        let packet = unsafe { OwnedHandle::from_raw_handle(packet) };
        let (key, context) = wait_words(operation);
        // SAFETY: all three handles are open; key and context are numbers that return in the
        // packet; the null pointer means that the caller does not ask whether the object is already
        // signalled.
        check(unsafe {
            (functions.associate)(
                packet.as_raw_handle(),
                queue.as_raw(),
                object.as_raw_handle(),
                key,
                context,
                0,
                0,
                ptr::null_mut(),
            )
        })?;
        Ok(KernelWait { packet, functions })
    }

    fn cancel(&mut self) -> bool {
        // SAFETY: the handle is open. The 1 means: remove the packet from the port if it is there.
        let status = unsafe { (self.functions.cancel)(self.packet.as_raw_handle(), 1) };
        status == 0
    }
}

/// Converts a failure to an error with the code that Win32 has for it.
pub(super) fn check(status: NTSTATUS) -> io::Result<()> {
    if status >= 0 {
        return Ok(());
    }
    // SAFETY: a table look-up, which takes any number.
    let code = unsafe { RtlNtStatusToDosError(status) };
    Err(io::Error::from_raw_os_error(code.cast_signed()))
}

/// The data with which a wait in the pool posts its packet.
struct Post {
    queue: Arc<Queue>,
    operation: Key,
    posted: AtomicBool,
}

/// A wait registered with Windows's thread pool.
pub(super) struct PoolWait {
    /// Null once the wait has ended.
    registration: HANDLE,
    /// Leaked while the pool knows its address.
    post: *mut Post,
}

impl PoolWait {
    fn start(queue: &Arc<Queue>, object: BorrowedHandle<'_>, operation: Key) -> io::Result<Self> {
        let post = Box::into_raw(Box::new(Post {
            queue: Arc::clone(queue),
            operation,
            posted: AtomicBool::new(false),
        }));
        let mut registration: HANDLE = ptr::null_mut();
        // SAFETY: the object stays open until this is dropped (caller); `post` stays allocated
        // until the wait is unregistered; `signalled` reads it as the same type.
        let registered = unsafe {
            RegisterWaitForSingleObject(
                &raw mut registration,
                object.as_raw_handle(),
                Some(signalled),
                post.cast(),
                INFINITE,
                WT_EXECUTEONLYONCE | WT_EXECUTEINWAITTHREAD,
            )
        };
        if registered == 0 {
            let error = io::Error::last_os_error();
            // SAFETY: the pool refused the wait, so this is the only pointer to the box leaked
            // above.
            drop(unsafe { Box::from_raw(post) });
            return Err(error);
        }
        Ok(PoolWait { registration, post })
    }

    /// Unregisters the wait, once; returns true if the callback has posted no packet.
    fn cancel(&mut self) -> bool {
        if self.registration.is_null() {
            return false;
        }
        let registration = std::mem::replace(&mut self.registration, ptr::null_mut());
        // With this constant as the event, the call returns only when the callback has ended or
        // will never run. It cannot hang: the callback posts, and waits for nothing.
        // SAFETY: the registration is live: it is unregistered here and nowhere else.
        let ended = unsafe { UnregisterWaitEx(registration, INVALID_HANDLE_VALUE) };
        if ended == 0 {
            // The pool may still know the address, so leak the memory rather than free it.
            return false;
        }
        // SAFETY: the callback is over, so this is the only pointer to the box that `start` leaked.
        let post = unsafe { Box::from_raw(self.post) };
        !post.posted.load(Ordering::Acquire)
    }
}

impl Drop for PoolWait {
    fn drop(&mut self) {
        self.cancel();
    }
}

/// Called once, by a thread of the pool.
unsafe extern "system" fn signalled(context: *mut c_void, _timed_out: bool) {
    // SAFETY: `PoolWait` registered this pointer, and frees it only after this call has ended.
    let post = unsafe { &*context.cast::<Post>() };
    // Nobody is left to report a failure to.
    let posted = post.queue.post_wait(post.operation).is_ok();
    post.posted.store(posted, Ordering::Release);
}
