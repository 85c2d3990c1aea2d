//! The console of this process: its size and its mode.

use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::os::windows::io::AsRawHandle;
use std::sync::OnceLock;

use windows_sys::Win32::System::Console::{
    CONSOLE_MODE, CONSOLE_SCREEN_BUFFER_INFO, DISABLE_NEWLINE_AUTO_RETURN, ENABLE_ECHO_INPUT,
    ENABLE_LINE_INPUT, ENABLE_PROCESSED_INPUT, ENABLE_PROCESSED_OUTPUT,
    ENABLE_VIRTUAL_TERMINAL_INPUT, ENABLE_VIRTUAL_TERMINAL_PROCESSING, GetConsoleMode,
    GetConsoleScreenBufferInfo, GetStdHandle, STD_INPUT_HANDLE, STD_OUTPUT_HANDLE, SetConsoleMode,
};
use windows_sys::Win32::System::Threading::{FlsAlloc, FlsSetValue};

use super::check;
use crate::os::RawDescriptor;
use crate::process::TerminalSize;

/// The two sides of the console.
pub(crate) struct Terminal {
    input: File,
    output: File,
}

impl Terminal {
    pub(crate) fn find() -> Option<Terminal> {
        // SAFETY: the calls only return numbers.
        let standard =
            [STD_INPUT_HANDLE, STD_OUTPUT_HANDLE].map(|name| unsafe { GetStdHandle(name) });
        let is_console = standard.iter().any(|handle| {
            let mut mode = 0;
            // SAFETY: the call refuses what is no handle, and there is room for the mode.
            unsafe { GetConsoleMode(*handle, &raw mut mode) != 0 }
        });
        // By these names, both sides can be had even if one of the streams leads elsewhere.
        let open = |name: &str| File::options().read(true).write(true).open(name).ok();
        is_console.then(|| {
            Some(Terminal {
                input: open("CONIN$")?,
                output: open("CONOUT$")?,
            })
        })?
    }

    pub(crate) fn size(&self) -> io::Result<TerminalSize> {
        let mut info = CONSOLE_SCREEN_BUFFER_INFO::default();
        // SAFETY: the handle is open, and there is room for the answer.
        check(unsafe { GetConsoleScreenBufferInfo(self.output.as_raw_handle(), &raw mut info) })?;
        let window = info.srWindow;
        let length = |from: i16, to: i16| u16::try_from(i32::from(to) - i32::from(from) + 1);
        Ok(TerminalSize {
            rows: length(window.Top, window.Bottom).unwrap_or(0),
            columns: length(window.Left, window.Right).unwrap_or(0),
        })
    }

    pub(crate) fn mode(&self) -> io::Result<Mode> {
        Ok(Mode {
            before: [mode_of(&self.input)?, mode_of(&self.output)?],
            input: self.input.try_clone()?,
            output: self.output.try_clone()?,
        })
    }
}

/// The modes of both sides before they were made raw.
pub(crate) struct Mode {
    input: File,
    output: File,
    before: [CONSOLE_MODE; 2],
}

impl Mode {
    pub(crate) fn make_raw(&self) -> io::Result<()> {
        let [input, output] = self.before;
        let cooked = ENABLE_LINE_INPUT | ENABLE_ECHO_INPUT | ENABLE_PROCESSED_INPUT;
        set_mode(
            &self.input,
            (input & !cooked) | ENABLE_VIRTUAL_TERMINAL_INPUT,
        )?;
        let sequences = ENABLE_PROCESSED_OUTPUT | ENABLE_VIRTUAL_TERMINAL_PROCESSING;
        set_mode(
            &self.output,
            output | sequences | DISABLE_NEWLINE_AUTO_RETURN,
        )
    }

    pub(crate) fn restore(&self) -> io::Result<()> {
        let [input, output] = self.before;
        let restored = set_mode(&self.input, input);
        set_mode(&self.output, output).and(restored)
    }
}

fn mode_of(side: &File) -> io::Result<CONSOLE_MODE> {
    let mut mode = 0;
    // SAFETY: the handle is open, and there is room for the mode.
    check(unsafe { GetConsoleMode(side.as_raw_handle(), &raw mut mode) })?;
    Ok(mode)
}

fn set_mode(side: &File, mode: CONSOLE_MODE) -> io::Result<()> {
    // SAFETY: the handle is open.
    check(unsafe { SetConsoleMode(side.as_raw_handle(), mode) })
}

static RESTORE: OnceLock<fn()> = OnceLock::new();

#[link(name = "ntdll")]
unsafe extern "system" {
    /// Whether the process is exiting.
    safe fn RtlDllShutdownInProgress() -> u8;
}

/// Has `restore` called when this thread exits the process. Rust's `exit` runs nothing of the C runtime's.
pub(crate) fn at_exit(restore: fn()) {
    RESTORE.get_or_init(|| restore);
    // SAFETY: the function is never unloaded before the process ends, and unwinds nothing.
    let index = unsafe { FlsAlloc(Some(exiting)) };
    // Only what is not null is reported to have gone.
    let any = std::ptr::without_provenance(1);
    // SAFETY: the index is ours, or none, which the call refuses; the value is never used.
    if unsafe { FlsSetValue(index, any) } == 0 {
        log::warn!("the mode of the console will not be restored at exit");
    }
}

unsafe extern "system" fn exiting(_: *const c_void) {
    if RtlDllShutdownInProgress() != 0
        && let Some(restore) = RESTORE.get()
    {
        restore();
    }
}

/// Windows has no signal of a changed size.
pub(crate) enum Resizes {}

impl Resizes {
    #[expect(clippy::unnecessary_wraps, reason = "the same as on Unix")]
    pub(crate) fn listen() -> io::Result<Option<Resizes>> {
        Ok(None)
    }

    pub(crate) fn descriptor(&self) -> RawDescriptor {
        match *self {}
    }

    pub(crate) fn take(&self) {
        match *self {}
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    /// Names the file that the child leaves.
    const MARK: &str = "TIDEWAITER_TEST_MARK";

    fn leave_mark() {
        let mark = std::env::var_os(MARK).expect("this is the child");
        std::fs::write(mark, "restored").expect("the folder can be written");
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "an exit is what is tested")]
    fn what_is_to_be_restored_is_restored_at_exit() {
        if std::env::var_os(MARK).is_some() {
            super::at_exit(leave_mark);
            std::process::exit(0);
        }
        let name = format!("tidewaiter-{}-mark", std::process::id());
        let mark = std::env::temp_dir().join(name);
        let test =
            "process::windows::own_terminal::tests::what_is_to_be_restored_is_restored_at_exit";
        let mut again = Command::new(std::env::current_exe().expect("we are a program"));
        again.args(["--exact", test]).env(MARK, &mark);
        // Wine loses one process in some thousands at its start.
        let again = (0..3).find_map(|_| again.spawn().ok());
        let mut again = again.expect("it can be run again");
        assert!(again.wait().expect("it is our child").success());
        let text = std::fs::read_to_string(&mark).expect("the child left it");
        assert_eq!(text, "restored");
        std::fs::remove_file(mark).expect("it is there");
    }
}
