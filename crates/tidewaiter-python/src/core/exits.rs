//! Threads that Python ends in the middle of a callback.
//!
//! When the interpreter has ended, Python up to 3.13 calls `pthread_exit` in every other thread that asks for the
//! interpreter lock. On Linux that unwinds the thread's stack. In a thread that runs a loop, our frames lie below the
//! callback's, and unwinding Rust's frames in this way aborts the process. A cleanup handler that never returns
//! prevents this: the thread hangs, as every such thread does from Python 3.14 on. On other systems, `pthread_exit`
//! does not unwind.

#[cfg(target_os = "linux")]
pub(crate) use linux::UnwindGuard;
#[cfg(not(target_os = "linux"))]
pub(crate) use other::UnwindGuard;

#[cfg(target_os = "linux")]
#[expect(
    unsafe_code,
    reason = "calls the C library's functions for cleanup handlers, whose rules the compiler cannot check"
)]
mod linux {
    use std::ffi::{c_int, c_void};
    use std::mem::transmute;
    use std::ptr::null_mut;
    use std::sync::OnceLock;

    use crate::core::endings::stay;
    use crate::core::symbols::address;

    /// The C library's record of a cleanup handler: four words in glibc, three in musl.
    #[repr(C)]
    struct CleanupRecord([*mut c_void; 4]);

    type Routine = extern "C" fn(*mut c_void);

    type Push = unsafe extern "C" fn(*mut CleanupRecord, Routine, *mut c_void);
    type Pop = unsafe extern "C" fn(*mut CleanupRecord, c_int);

    /// The functions behind `pthread.h`'s macros `pthread_cleanup_push` and `pthread_cleanup_pop`.
    #[derive(Clone, Copy)]
    struct Calls {
        push: Push,
        pop: Pop,
    }

    extern "C" fn handler(_: *mut c_void) {
        stay();
    }

    /// Looks the functions up. Returns `None` if the C library lacks them; threads are then not protected.
    fn calls() -> Option<Calls> {
        static CALLS: OnceLock<Option<Calls>> = OnceLock::new();
        *CALLS.get_or_init(|| {
            let push = address(c"_pthread_cleanup_push");
            let pop = address(c"_pthread_cleanup_pop");
            if push.is_null() || pop.is_null() {
                return None;
            }
            Some(Calls {
                // SAFETY: glibc and musl both give the function of that name this signature.
                push: unsafe { transmute::<*mut c_void, Push>(push) },
                // SAFETY: as above.
                pop: unsafe { transmute::<*mut c_void, Pop>(pop) },
            })
        })
    }

    /// While this exists, the thread hangs instead of unwinding if Python ends it.
    pub(crate) struct UnwindGuard(Option<(*mut CleanupRecord, Calls)>);

    impl UnwindGuard {
        /// Pushes the handler. A thread must drop these values in the reverse order of their creation.
        pub(crate) fn begin() -> UnwindGuard {
            UnwindGuard(calls().map(|calls| {
                // Before glibc unwinds a frame, it calls the handlers whose records lie in that frame or in those that
                // it called. It counts a record outside of the stack among the latter, so it unwinds no frame at all.
                let record = Box::into_raw(Box::new(CleanupRecord([null_mut(); 4])));
                // SAFETY: the record is ours, is large enough, and is not moved before `pop`. The handler never
                // returns.
                unsafe { (calls.push)(record, handler, null_mut()) };
                (record, calls)
            }))
        }
    }

    impl Drop for UnwindGuard {
        fn drop(&mut self) {
            if let Some((record, calls)) = self.0 {
                // SAFETY: this thread pushed the record, because the type is not `Send`, and has popped later ones.
                unsafe { (calls.pop)(record, 0) };
                // SAFETY: the pointer came from a box, and the C library no longer refers to it.
                drop(unsafe { Box::from_raw(record) });
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod other {
    /// Does nothing: this system does not unwind the stack of a thread that ends.
    pub(crate) struct UnwindGuard;

    impl UnwindGuard {
        pub(crate) fn begin() -> UnwindGuard {
            UnwindGuard
        }
    }
}
