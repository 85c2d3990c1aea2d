//! Pseudo-consoles: the terminals of Windows.
//!
//! A pseudo-console is a process of the system (`conhost.exe`) between the programs that have it as their console and
//! two pipes: it turns what they do into text with control sequences, and such text into their input. Windows has it
//! since version 10 1809, so its functions are looked up at run time.

use std::ffi::{CStr, c_void};
use std::fs::File;
use std::io;
use std::os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::System::Console::{COORD, HPCON};
use windows_sys::Win32::System::LibraryLoader::{GetModuleHandleW, GetProcAddress};
use windows_sys::Win32::System::Threading::{
    CallbackMayRunLong, CloseThreadpoolWork, CreateThreadpoolWork, PTP_CALLBACK_INSTANCE, PTP_WORK,
    SubmitThreadpoolWork,
};
use windows_sys::core::HRESULT;

use super::streams::pipe;
use super::{invalid, unsupported};
use crate::process::{ChildPipe, PipeDirection, Terminal, TerminalSize};

/// A function pointer before its conversion to its real type.
type Untyped = unsafe extern "system" fn() -> isize;
type Create = unsafe extern "system" fn(COORD, HANDLE, HANDLE, u32, *mut HPCON) -> HRESULT;
type Resize = unsafe extern "system" fn(HPCON, COORD) -> HRESULT;
type Close = unsafe extern "system" fn(HPCON);
type Release = unsafe extern "system" fn(HPCON) -> HRESULT;

/// Windows's functions for pseudo-consoles.
#[derive(Clone, Copy, Debug)]
struct Functions {
    create: Create,
    resize: Resize,
    close: Close,
    /// Since Windows 11 24H2.
    release: Option<Release>,
}

impl Functions {
    /// Looks the functions up.
    ///
    /// # Errors
    ///
    /// `Unsupported`, with the name of the one that is missing.
    fn load(find: impl Fn(&CStr) -> Option<Untyped>) -> io::Result<Functions> {
        let needed = |name: &CStr| {
            find(name).ok_or_else(|| {
                unsupported(&format!(
                    "this system has no pseudo-consoles: it lacks {}, which came with Windows 10 1809",
                    name.to_string_lossy()
                ))
            })
        };
        let create = needed(c"CreatePseudoConsole")?;
        let resize = needed(c"ResizePseudoConsole")?;
        let close = needed(c"ClosePseudoConsole")?;
        let release = find(c"ReleasePseudoConsole");
        Ok(Functions {
            // SAFETY: this is the type of the function with that name.
            create: unsafe { std::mem::transmute::<Untyped, Create>(create) },
            // SAFETY: as above.
            resize: unsafe { std::mem::transmute::<Untyped, Resize>(resize) },
            // SAFETY: as above.
            close: unsafe { std::mem::transmute::<Untyped, Close>(close) },
            // SAFETY: as above.
            release: release
                .map(|release| unsafe { std::mem::transmute::<Untyped, Release>(release) }),
        })
    }
}

fn system_function(name: &CStr) -> Option<Untyped> {
    let library = windows_sys::w!("kernel32.dll");
    // SAFETY: the name is zero-terminated; this library is in every process and never unloaded.
    let library = unsafe { GetModuleHandleW(library) };
    if library.is_null() {
        return None;
    }
    // SAFETY: the library is loaded, and the name is zero-terminated.
    unsafe { GetProcAddress(library, name.as_ptr().cast()) }
}

/// The terminal of a child that is being started.
pub(super) struct Opened {
    pub(super) console: Arc<PseudoConsole>,
    /// Our ends of its pipes.
    pub(super) ours: [ChildPipe; 2],
    /// The pseudo-console's ends. They are to be closed once the child was started, so that our pipes end with its
    /// copies.
    _theirs: [File; 2],
}

/// Opens a new terminal.
pub(super) fn open(terminal: Terminal) -> io::Result<Opened> {
    if terminal.ends.is_some() {
        return Err(unsupported("this system has no descriptors of terminals"));
    }
    if terminal.echo == Some(false) {
        return Err(unsupported(
            "on this system, the program in a terminal decides whether it echoes",
        ));
    }
    let (writer, input) = pipe(PipeDirection::ToChild)?;
    let (reader, output) = pipe(PipeDirection::FromChild)?;
    let size = terminal.size.unwrap_or_default();
    let console = PseudoConsole::create(size, input.as_handle(), output.as_handle())?;
    let ends = [
        (0, PipeDirection::ToChild, writer),
        (1, PipeDirection::FromChild, reader),
    ];
    Ok(Opened {
        console: Arc::new(console),
        ours: ends.map(|(child_fd, direction, pipe)| ChildPipe {
            child_fd,
            direction,
            pipe,
        }),
        _theirs: [input, output],
    })
}

/// A pseudo-console. Dropping it closes it.
#[derive(Debug)]
pub(crate) struct PseudoConsole {
    functions: Functions,
    number: HPCON,
    /// The work that closes it. `None`: it was submitted.
    closing: Mutex<Option<ClosingWork>>,
    ended: Arc<AtomicBool>,
}

/// The work that closes a pseudo-console, which was not submitted yet, and the memory of that work.
#[derive(Debug)]
struct ClosingWork {
    work: PTP_WORK,
    memory: NonNull<Closing>,
}

// SAFETY: any thread may submit the work, and the memory is the work's own box, whose contents may go to any thread.
unsafe impl Send for ClosingWork {}

/// What a thread of Windows's pool needs to close a pseudo-console.
struct Closing {
    close: Close,
    number: HPCON,
    ended: Arc<AtomicBool>,
    /// Called when it was closed.
    report: Option<Report>,
}

type Report = Box<dyn FnOnce() + Send>;

impl PseudoConsole {
    /// Makes a pseudo-console, which reads what is typed from `input` and writes to `output`. It has its own copies of
    /// both, which must be synchronous.
    pub(super) fn create(
        size: TerminalSize,
        input: BorrowedHandle<'_>,
        output: BorrowedHandle<'_>,
    ) -> io::Result<PseudoConsole> {
        let size = coordinates(size)?;
        let functions = Functions::load(system_function)?;
        let mut number = 0;
        // SAFETY: both handles are open during the call, and `number` has room for the result.
        check(unsafe {
            (functions.create)(
                size,
                input.as_raw_handle(),
                output.as_raw_handle(),
                0,
                &raw mut number,
            )
        })?;
        let (close, ended) = (functions.close, Arc::default());
        let closing = NonNull::from(Box::leak(Box::new(Closing {
            close,
            number,
            ended: Arc::clone(&ended),
            report: None,
        })));
        let context = closing.as_ptr().cast();
        // SAFETY: the work runs at most once, so that it may take the box.
        let work = unsafe { CreateThreadpoolWork(Some(close_on_thread), context, ptr::null()) };
        if work == 0 {
            let error = io::Error::last_os_error();
            // SAFETY: there is no work that could take it.
            drop(unsafe { Box::from_raw(closing.as_ptr()) });
            // There is no output yet that it could wait for.
            // SAFETY: we just made it, and nobody uses it any more.
            unsafe { close(number) };
            return Err(error);
        }
        Ok(PseudoConsole {
            functions,
            number,
            closing: Mutex::new(Some(ClosingWork {
                work,
                memory: closing,
            })),
            ended,
        })
    }

    fn closing(&self) -> MutexGuard<'_, Option<ClosingWork>> {
        // Nothing that may panic changes the value.
        self.closing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number by which `CreateProcessW` knows it.
    pub(super) fn as_raw(&self) -> HPCON {
        self.number
    }

    /// Gives up our part in keeping it alive, so that its output ends once the last program has left it. Without
    /// this function of Windows, the output ends only when it is closed.
    pub(super) fn release(&self) {
        if let Some(release) = self.functions.release {
            // SAFETY: the pseudo-console is open.
            if let Err(error) = check(unsafe { release(self.number) }) {
                log::debug!("process: a pseudo-console cannot be released: {error}");
            }
        }
    }

    /// Sets its size.
    pub(crate) fn resize(&self, size: TerminalSize) -> io::Result<()> {
        let closing = self.closing();
        if closing.is_none() {
            let message = "the terminal is closed";
            return Err(io::Error::new(io::ErrorKind::NotFound, message));
        }
        let size = coordinates(size)?;
        // SAFETY: the pseudo-console is open.
        check(unsafe { (self.functions.resize)(self.number, size) }).map_err(|error| {
            match error.raw_os_error() {
                Some(E_NOTIMPL) => unsupported("this system lacks ResizePseudoConsole"),
                _ => error,
            }
        })
    }

    /// Has `report` called, on another thread, once it was closed. Has no effect if that has begun.
    pub(crate) fn report_closed(&self, report: Report) {
        if let Some(closing) = &mut *self.closing() {
            // SAFETY: the work has not been submitted, so only the holder of the lock uses its memory.
            unsafe { closing.memory.as_mut() }.report = Some(report);
        }
    }

    /// Whether its output ends by itself with the last program that has it.
    pub(crate) fn ends_by_itself(&self) -> bool {
        self.functions.release.is_some()
    }

    /// Whether it was closed and all of its output is in the pipe. Never true if it [ends by
    /// itself](PseudoConsole::ends_by_itself).
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire) && !self.ends_by_itself()
    }

    /// Closes it: its programs get `CTRL_CLOSE_EVENT`, what is left of its output comes, and then its pipes end. Has no
    /// effect after the first call.
    ///
    /// Never blocks. Before Windows 11 24H2, Windows's function waits until its programs have ended and its output was
    /// read, so a thread of Windows's pool calls it. The work was made with the pseudo-console: submitting it cannot
    /// fail.
    pub(crate) fn close(&self) {
        if let Some(closing) = self.closing().take() {
            // SAFETY: it was made in `create`, and only its own run, which this starts, closes it.
            unsafe { SubmitThreadpoolWork(closing.work) };
        }
    }
}

impl Drop for PseudoConsole {
    fn drop(&mut self) {
        self.close();
    }
}

/// Runs on a thread of Windows's pool, once for each pseudo-console.
unsafe extern "system" fn close_on_thread(
    instance: PTP_CALLBACK_INSTANCE,
    closing: *mut c_void,
    work: PTP_WORK,
) {
    // Lets the pool start another thread for other work. If it has none, that work waits.
    // SAFETY: the pool gave us the instance for the time of this call.
    unsafe { CallbackMayRunLong(instance) };
    // SAFETY: `create` made the box for this work, which runs once.
    let closing = *unsafe { Box::from_raw(closing.cast::<Closing>()) };
    // SAFETY: it is open, and `PseudoConsole::close` lets nobody use it any more.
    unsafe { (closing.close)(closing.number) };
    closing.ended.store(true, Ordering::Release);
    if let Some(report) = closing.report {
        report();
    }
    // SAFETY: nobody else closes it; the pool frees it after this call.
    unsafe { CloseThreadpoolWork(work) };
}

const E_NOTIMPL: i32 = 0x8000_4001_u32.cast_signed();

/// Turns a result into an `io::Result`. An error of Windows that is wrapped into it is unwrapped.
fn check(result: HRESULT) -> io::Result<()> {
    match result.cast_unsigned() {
        0..0x8000_0000 => Ok(()),
        code @ 0x8007_0000..=0x8007_ffff => {
            Err(io::Error::from_raw_os_error((code & 0xffff).cast_signed()))
        }
        code => Err(io::Error::from_raw_os_error(code.cast_signed())),
    }
}

fn coordinates(size: TerminalSize) -> io::Result<COORD> {
    match (size.columns.try_into(), size.rows.try_into()) {
        (Ok(columns @ 1..), Ok(rows @ 1..)) => Ok(COORD {
            X: columns,
            Y: rows,
        }),
        _ => Err(invalid(&format!(
            "Windows has no terminal of {} rows and {} columns",
            size.rows, size.columns
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_windows_does_not_have_are_refused() {
        for (rows, columns) in [(0, 80), (24, 0), (0x8000, 80), (24, 0xffff)] {
            let error = coordinates(TerminalSize { rows, columns });
            let error = error.err().map(|error| error.kind());
            assert_eq!(error, Some(io::ErrorKind::InvalidInput), "{rows} {columns}");
        }
        let size = TerminalSize {
            rows: 1,
            columns: 0x7fff,
        };
        let size = coordinates(size).expect("Windows has it");
        assert_eq!((size.X, size.Y), (0x7fff, 1));
    }

    #[test]
    fn a_system_without_pseudo_consoles_says_what_it_lacks() {
        let loaded = Functions::load(system_function).expect("this one has them");
        for missing in [c"CreatePseudoConsole", c"ResizePseudoConsole"] {
            let find = |name: &CStr| system_function(name).filter(|_| name != missing);
            let error = Functions::load(find).expect_err("one is missing");
            assert_eq!(error.kind(), io::ErrorKind::Unsupported);
            let name = missing.to_str().expect("it is ASCII");
            assert!(error.to_string().contains(name), "{error}");
        }
        // It has a substitute: the pseudo-console is closed when the tree has ended.
        let find = |name: &CStr| system_function(name).filter(|_| name != c"ReleasePseudoConsole");
        let without = Functions::load(find).expect("it is not needed");
        assert!(without.release.is_none());
        assert_eq!(loaded.create as usize, without.create as usize);
    }

    #[test]
    fn errors_of_windows_are_recognised_in_results() {
        assert!(check(0).is_ok() && check(1).is_ok());
        let code = |result: u32| check(result.cast_signed()).err()?.raw_os_error();
        assert_eq!(code(0x8007_0005), Some(5));
        assert_eq!(code(0x8000_4001), Some(E_NOTIMPL));
    }
}
