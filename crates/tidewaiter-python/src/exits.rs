//! Threads that Python ends in the middle of a callback.
//!
//! When the interpreter has ended, Python up to 3.13 calls `pthread_exit` in every other thread that asks for the
//! interpreter lock. On Linux that unwinds the thread's stack. In a thread that runs a loop, our frames lie below the
//! callback's, and a process in which Rust's frames are unwound so aborts. A cleanup handler that never returns
//! prevents it: the thread stays where it is, as every thread does from Python 3.14 on. On other systems `pthread_exit`
//! does not unwind.

#[cfg(target_os = "linux")]
pub(crate) use linux::Kept;
#[cfg(not(target_os = "linux"))]
pub(crate) use other::Kept;

#[cfg(target_os = "linux")]
#[expect(
    unsafe_code,
    reason = "the compiler does not know the C library's cleanup handlers"
)]
mod linux {
    use std::ffi::{CStr, c_int, c_void};
    use std::mem::transmute;
    use std::ptr::null_mut;
    use std::sync::OnceLock;

    use crate::endings::stay;

    /// What the C library notes of a handler: glibc takes four words, musl three.
    #[repr(C)]
    struct Note([*mut c_void; 4]);

    type Routine = extern "C" fn(*mut c_void);

    type Push = unsafe extern "C" fn(*mut Note, Routine, *mut c_void);
    type Pop = unsafe extern "C" fn(*mut Note, c_int);

    /// What the macros of `pthread.h` become in C.
    #[derive(Clone, Copy)]
    struct Calls {
        push: Push,
        pop: Pop,
    }

    extern "C" fn handler(_: *mut c_void) {
        stay();
    }

    /// `None` if the C library has no such functions: no thread is kept then.
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

    fn address(name: &CStr) -> *mut c_void {
        // SAFETY: the name is a string of C's, and the first argument one that the call knows.
        unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) }
    }

    /// While it lives, this thread is kept when Python ends it.
    pub(crate) struct Kept(Option<(*mut Note, Calls)>);

    impl Kept {
        /// Lasts until it is dropped, after those that were made later in the same thread.
        pub(crate) fn begin() -> Kept {
            Kept(calls().map(|calls| {
                // Before glibc unwinds a frame it calls the handlers whose notes lie in that frame or deeper in the
                // stack. A note outside of the stack counts as the deepest, so no frame at all is unwound.
                let note = Box::into_raw(Box::new(Note([null_mut(); 4])));
                // SAFETY: the note is ours, large enough, and stays where it is until `pop`; the handler
                // never returns to whoever ends the thread.
                unsafe { (calls.push)(note, handler, null_mut()) };
                (note, calls)
            }))
        }
    }

    impl Drop for Kept {
        fn drop(&mut self) {
            if let Some((note, calls)) = self.0 {
                // SAFETY: this thread pushed it, as the type is not `Send`; those pushed later are gone.
                unsafe { (calls.pop)(note, 0) };
                // SAFETY: it came from a box, and the C library knows it no more.
                drop(unsafe { Box::from_raw(note) });
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod other {
    /// Nothing is done to a thread's stack here.
    pub(crate) struct Kept;

    impl Kept {
        pub(crate) fn begin() -> Kept {
            Kept
        }
    }
}
