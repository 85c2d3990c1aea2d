//! The first steps of a child, from `clone` to `execve`.
//!
//! The child runs in our memory while this thread stands still, as after `vfork`: nothing is copied,
//! and it says what failed by writing it down. In turn it may do nothing but system calls on what was
//! prepared before, because any lock may be held by another thread, and it writes nothing but its stack
//! and [`Plan::failure`].

use std::ffi::{CString, c_char, c_int, c_void};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};

use rustix::io::Errno;
use rustix::process::{Pid, WaitId, WaitIdOptions};

use crate::process::SpawnStep;
use crate::process::unix::{Image, Source};

/// Room for the child's few calls, for the dynamic linker among them, and for a sanitizer's spacing.
const STACK_BYTES: usize = 64 * 1024;

/// The last signal's number, on all architectures that have no more than 64.
const SIGNAL_MAX: c_int = 64;

/// The steps that can fail in the child.
const NOTHING_FAILED: i32 = 0;
const NO_PIDFD: i32 = 1;
const STREAMS: i32 = 2;
const DIRECTORY: i32 = 3;
const EXECUTE: i32 = 4;

/// What the child does, prepared so that it need not think, and what came of it.
struct Plan {
    /// Each ends with a null pointer, as `execve` wants it.
    files: Vec<*const c_char>,
    arguments: Vec<*const c_char>,
    environment: Vec<*const c_char>,
    directory: *const c_char,
    own_group: bool,
    /// The descriptors that become 0, 1 and 2.
    streams: [RawFd; 3],
    /// Descriptors end before this number; for kernels that cannot close a range.
    descriptors_end: RawFd,
    /// Filled in by the kernel before the child runs.
    pidfd: AtomicI32,
    /// Which step failed, and why.
    failure: AtomicI32,
    errno: AtomicI32,
}

/// Starts the program; returns once it runs.
pub(super) fn start(
    image: &Image,
    sources: &[Source; 3],
    own_group: bool,
) -> Result<(Pid, OwnedFd), (SpawnStep, io::Error)> {
    if image.files.is_empty() {
        return Err((SpawnStep::Search, Errno::NOENT.into()));
    }
    let plan = Plan {
        files: pointers(&image.files),
        arguments: pointers(&image.arguments),
        environment: pointers(&image.environment),
        directory: image.directory.as_ref().map_or(ptr::null(), |d| d.as_ptr()),
        own_group,
        streams: stream_numbers(sources),
        descriptors_end: descriptors_end(),
        pidfd: AtomicI32::new(-1),
        failure: AtomicI32::new(NOTHING_FAILED),
        errno: AtomicI32::new(0),
    };
    let pid = clone_child(&plan).map_err(|error| (SpawnStep::Execute, error))?;
    let pidfd = match plan.pidfd.load(Ordering::Relaxed) {
        -1 => None,
        // SAFETY: the kernel opened this descriptor for us, and nobody else knows of it.
        number => Some(unsafe { OwnedFd::from_raw_fd(number) }),
    };
    match (plan.failure.load(Ordering::Relaxed), pidfd) {
        (NOTHING_FAILED, Some(pidfd)) => Ok((pid, out_of_the_way(pidfd))),
        (failure, pidfd) => {
            reap(pid, pidfd.as_ref());
            let errno = plan.errno.load(Ordering::Relaxed);
            Err(explain(image, failure, Errno::from_raw_os_error(errno)))
        }
    }
}

/// Moves a pidfd that got the number of a standard stream, in a program that closed its own.
fn out_of_the_way(pidfd: OwnedFd) -> OwnedFd {
    if pidfd.as_raw_fd() > 2 {
        return pidfd;
    }
    // Without a free number it works where it is: better than ending what has just been started.
    rustix::io::fcntl_dupfd_cloexec(&pidfd, 3).unwrap_or(pidfd)
}

/// Null-terminated, as `execve` wants its arguments.
fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings
        .iter()
        .map(|string| string.as_ptr())
        .chain([ptr::null()])
        .collect()
}

/// What becomes 0, 1 and 2. Descriptors made for the child are numbered above these, and 2 may be a
/// copy of 1: in this order, nothing is overwritten before it was used.
fn stream_numbers(sources: &[Source; 3]) -> [RawFd; 3] {
    let mut numbers = [0, 1, 2];
    for (number, source) in numbers.iter_mut().zip(sources) {
        match source {
            Source::Made(descriptor) => *number = descriptor.as_raw_fd(),
            Source::Inherited => {}
            Source::Output => *number = 1,
        }
    }
    numbers
}

fn descriptors_end() -> RawFd {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit
        .current
        .and_then(|limit| RawFd::try_from(limit).ok())
        .unwrap_or(RawFd::MAX)
}

/// Clones this process, without its memory, and waits until the child runs its program or has failed.
fn clone_child(plan: &Plan) -> io::Result<Pid> {
    // On the heap, where a sanitizer forgets what the child's frames left behind.
    let mut stack: Vec<MaybeUninit<u128>> = Vec::with_capacity(STACK_BYTES / size_of::<u128>());
    // SAFETY: one past the end of the allocation is a valid address of it.
    let top = unsafe { stack.as_mut_ptr().add(stack.capacity()) };
    // No handler of ours may run in the child, which has our memory.
    let mask = block_signals()?;
    // The exit signal is none until the program runs (`execve` makes it SIGCHLD): a child that fails
    // before is no concern of the host's, neither of its SIGCHLD handler nor of a loop that reaps all.
    // SAFETY: the child runs on a stack of its own, which lives longer than it shares our memory,
    // because CLONE_VFORK suspends this thread until then; `plan` lives as long, and is only read, but
    // for its atomics; `child` keeps to what such a child may do.
    let pid = unsafe {
        libc::clone(
            child,
            top.cast::<c_void>(),
            libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD,
            ptr::from_ref(plan).cast_mut().cast::<c_void>(),
            plan.pidfd.as_ptr(),
        )
    };
    let error = io::Error::last_os_error();
    set_signal_mask(&mask);
    if pid < 0 {
        return Err(error);
    }
    Pid::from_raw(pid).ok_or(error)
}

fn block_signals() -> io::Result<libc::sigset_t> {
    let mut all = MaybeUninit::<libc::sigset_t>::uninit();
    let mut before = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: there is room for a set.
    unsafe { libc::sigfillset(all.as_mut_ptr()) };
    // SAFETY: `all` was filled, and there is room for the set before.
    let result =
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr()) };
    if result != 0 {
        return Err(io::Error::from_raw_os_error(result));
    }
    // SAFETY: the call succeeded, and so has written it.
    Ok(unsafe { before.assume_init() })
}

fn set_signal_mask(mask: &libc::sigset_t) {
    // SAFETY: `mask` is a valid set. It cannot fail: the operation is known, and the set is readable.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, mask, ptr::null_mut()) };
}

/// Takes note of the end of a child that failed: it has ended or is about to, at once.
fn reap(pid: Pid, pidfd: Option<&OwnedFd>) {
    let all = WaitIdOptions::from_bits_retain(libc::__WALL.cast_unsigned());
    let options = WaitIdOptions::EXITED | all;
    let waited = rustix::io::retry_on_intr(|| match pidfd {
        Some(pidfd) => rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), options),
        None => rustix::process::waitid(WaitId::Pid(pid), options),
    });
    if let Err(error) = waited {
        log::warn!("process {pid:?}, which could not be started, cannot be reaped: {error}");
    }
}

/// What a failure means to the one who asked for the program.
fn explain(image: &Image, failure: i32, errno: Errno) -> (SpawnStep, io::Error) {
    match failure {
        NO_PIDFD => {
            let message = "this kernel has no pidfds: Linux 5.4 or later is needed";
            let error = io::Error::new(io::ErrorKind::Unsupported, message);
            (SpawnStep::Execute, error)
        }
        DIRECTORY => (SpawnStep::Directory, errno.into()),
        EXECUTE if errno == Errno::NOENT && image.any_file_exists() => {
            let message = "the interpreter that it names is not there";
            let error = io::Error::new(io::ErrorKind::NotFound, message);
            (SpawnStep::Execute, error)
        }
        EXECUTE if errno == Errno::NOENT => (SpawnStep::Search, errno.into()),
        _ => (SpawnStep::Execute, errno.into()),
    }
}

/// The child: runs the program, or writes down why not.
extern "C" fn child(plan: *mut c_void) -> c_int {
    // SAFETY: it is the `Plan` that `clone_child` borrowed, and its thread stands still.
    let plan = unsafe { &*plan.cast::<Plan>().cast_const() };
    let (step, errno) = become_program(plan);
    plan.errno.store(errno, Ordering::Relaxed);
    plan.failure.store(step, Ordering::Relaxed);
    127
}

/// Returns only when a step failed: which, and why.
fn become_program(plan: &Plan) -> (i32, i32) {
    if plan.pidfd.load(Ordering::Relaxed) == -1 {
        return (NO_PIDFD, libc::ENOSYS);
    }
    reset_signals();
    if plan.own_group {
        // SAFETY: changes this process's group; no memory is involved. A new child is no session
        // leader and has run no program: it cannot fail.
        unsafe { libc::setpgid(0, 0) };
    }
    if !plan.directory.is_null() {
        // SAFETY: `directory` is a C string that the parent keeps.
        let result = unsafe { libc::chdir(plan.directory) };
        if result != 0 {
            return (DIRECTORY, errno());
        }
    }
    for (&source, stream) in plan.streams.iter().zip(0..) {
        if !place(source, stream) {
            return (STREAMS, errno());
        }
    }
    close_all_but_streams(plan.descriptors_end);
    (EXECUTE, execute(plan))
}

/// Every signal does again what it does by default, and none is blocked.
fn reset_signals() {
    // As large as any architecture's `struct sigaction`, the kernel's, not the C library's: all zero is
    // the default action.
    let default = [0_u64; 8];
    let set_bytes = size_of::<u64>();
    for number in 1..=SIGNAL_MAX {
        // Not through the C library, which keeps some signals to itself. Two signals cannot be changed,
        // and need not be.
        // SAFETY: `default` is readable and larger than what the kernel reads; these are the child's own
        // signal handlers, as CLONE_SIGHAND was not asked for.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                number,
                default.as_ptr(),
                ptr::null_mut::<c_void>(),
                set_bytes,
            )
        };
    }
    let none = 0_u64;
    // SAFETY: `none` is a set of the size given.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const none,
            ptr::null_mut::<c_void>(),
            set_bytes,
        )
    };
}

/// Makes `source` the child's standard stream of that number.
fn place(source: RawFd, stream: RawFd) -> bool {
    if source != stream {
        // SAFETY: changes the child's own table of descriptors.
        return unsafe { libc::dup2(source, stream) } == stream;
    }
    // SAFETY: as above. One of ours that is closed stays closed.
    unsafe { libc::fcntl(stream, libc::F_SETFD, 0) };
    true
}

/// No other descriptor reaches the program, whether or not it is closed on execution.
fn close_all_but_streams(end: RawFd) {
    // SAFETY: these are the child's own descriptors, as CLONE_FILES was not asked for.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, 0_u32) };
    if closed == 0 {
        return;
    }
    for descriptor in 3..end {
        // SAFETY: as above.
        unsafe { libc::close(descriptor) };
    }
}

/// Tries each file; returns why the program could not be run.
fn execute(plan: &Plan) -> i32 {
    let mut reason = libc::ENOENT;
    for &file in plan.files.iter().filter(|file| !file.is_null()) {
        // SAFETY: the file is a C string, the others are null-terminated arrays of them; the parent
        // keeps them all.
        unsafe { libc::execve(file, plan.arguments.as_ptr(), plan.environment.as_ptr()) };
        match errno() {
            libc::ENOENT | libc::ENOTDIR | libc::ESTALE | libc::ENODEV | libc::ETIMEDOUT => {}
            // What is not allowed here may be so in a later directory.
            libc::EACCES => reason = libc::EACCES,
            other => return other,
        }
    }
    reason
}

fn errno() -> i32 {
    // SAFETY: the C library's address of it is valid in every thread; the child has its parent's, which
    // stands still.
    let address = unsafe { libc::__errno_location() };
    // SAFETY: as above.
    unsafe { *address }
}
