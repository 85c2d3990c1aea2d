//! Starts processes on Windows.

#![expect(unsafe_code, reason = "the OS's side of processes")]

mod environment;
mod job;
mod quote;
mod search;
mod start;
mod streams;

#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::ffi::{OsStr, OsString};
use std::io;
use std::num::NonZeroUsize;
use std::os::windows::ffi::OsStrExt;
use std::os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle, OwnedHandle};
use std::path::{Path, PathBuf};
use std::time::Duration;

use windows_sys::Win32::Foundation::{FILETIME, WAIT_OBJECT_0, WAIT_TIMEOUT};
use windows_sys::Win32::System::Console::{
    CTRL_BREAK_EVENT, GenerateConsoleCtrlEvent, GetConsoleCP,
};
use windows_sys::Win32::System::ProcessStatus::{K32GetProcessMemoryInfo, PROCESS_MEMORY_COUNTERS};
use windows_sys::Win32::System::Threading::{
    GetExitCodeProcess, GetProcessTimes, TerminateProcess, WaitForSingleObject,
};

use self::environment::Environment;
use self::job::Job;
use self::start::{Image, Started};
use self::streams::Streams;
use super::{Command, ExitStatus, OsChild, Signal, SignalTarget, SpawnError, SpawnStep, Usage};

/// A child process: its handle, which is signalled once it has ended, and the job that holds all its
/// descendants.
///
/// Closing the job does not end them.
#[derive(Debug)]
pub(crate) struct OsProcess {
    process: OwnedHandle,
    job: Job,
    pid: u32,
    own_group: bool,
    status: Cell<Option<ExitStatus>>,
}

/// Starts a process. After an error, nothing is left behind.
pub(crate) fn spawn(command: &Command) -> Result<OsChild, SpawnError> {
    let failed = |step| {
        move |source| SpawnError {
            program: command.program.clone(),
            step,
            source,
        }
    };
    let image = image(command).map_err(|(step, source)| failed(step)(source))?;
    let stdio = command
        .standard_streams()
        .map_err(|(step, source)| failed(step)(source))?;
    let streams = Streams::of(stdio).map_err(failed(SpawnStep::Pipes))?;
    let Started { pid, process, job } = start::start(&image, streams.numbers(), &streams.list())
        .map_err(|error| {
            let enterable = command.directory.as_deref().is_none_or(Path::is_dir);
            let step = if enterable {
                SpawnStep::Execute
            } else {
                SpawnStep::Directory
            };
            failed(step)(error)
        })?;
    Ok(OsChild {
        pid,
        process: OsProcess {
            process,
            job,
            pid,
            own_group: command.own_group,
            status: Cell::new(None),
        },
        pipes: streams.ours,
    })
}

fn image(command: &Command) -> Result<Image, (SpawnStep, io::Error)> {
    let refused = |error| (SpawnStep::Arguments, error);
    let environment = Environment::of(command).map_err(refused)?;
    wide(&command.program).map_err(refused)?;
    let arguments = command.args.iter().map(|argument| wide(argument));
    let arguments = arguments.collect::<io::Result<Vec<_>>>().map_err(refused)?;
    let name = wide(command.arg0.as_ref().unwrap_or(&command.program)).map_err(refused)?;
    let command_line = quote::command_line(&name, &arguments)
        .ok_or_else(|| refused(invalid("the program's own name contains a quotation mark")))?;
    let directory = command
        .directory
        .as_ref()
        .map(|directory| wide(directory.as_os_str()));
    let directory = directory.transpose().map_err(refused)?;
    let file = find(command, &environment)?;
    if search::is_batch_file(&file) {
        let message = "arguments cannot be passed safely to a batch file: run cmd.exe with /c";
        return Err(refused(invalid(message)));
    }
    let hidden = command.without_window && !has_console() && search::is_console_program(&file);
    let file = wide(file.as_os_str()).map_err(refused)?;
    Ok(Image {
        file: terminated(file),
        command_line: terminated(command_line),
        environment: environment.block(),
        directory: directory.map(terminated),
        own_group: command.own_group,
        hidden,
    })
}

/// Whether children inherit a console from us.
fn has_console() -> bool {
    // SAFETY: the call touches no memory.
    unsafe { GetConsoleCP() != 0 }
}

/// Returns the first of the candidates that is a file.
fn find(command: &Command, environment: &Environment) -> Result<PathBuf, (SpawnStep, io::Error)> {
    let path = environment
        .get("PATH")
        .map_or_else(system_directory, OsStr::to_owned);
    let candidates = search::candidates(&command.program, &path);
    if let Some(file) = candidates.iter().find(|file| search::is_file(file)) {
        return std::path::absolute(file).map_err(|error| (SpawnStep::Search, error));
    }
    if Path::new(&command.program).has_root() && Path::new(&command.program).is_dir() {
        let error = io::Error::new(io::ErrorKind::PermissionDenied, "it is a directory");
        return Err((SpawnStep::Execute, error));
    }
    let message = "the program does not exist";
    Err((
        SpawnStep::Search,
        io::Error::new(io::ErrorKind::NotFound, message),
    ))
}

/// The search path where no `PATH` is set: `System32`.
fn system_directory() -> OsString {
    let mut directory = std::env::var_os("SystemRoot").unwrap_or_else(|| r"C:\Windows".into());
    directory.push(r"\System32");
    directory
}

fn wide(text: &OsStr) -> io::Result<Vec<u16>> {
    let wide: Vec<u16> = text.encode_wide().collect();
    if wide.contains(&0) {
        return Err(invalid(&format!("it contains a NUL: {text:?}")));
    }
    Ok(wide)
}

fn terminated(mut text: Vec<u16>) -> Vec<u16> {
    text.push(0);
    text
}

fn invalid(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

/// Turns a Windows function's result into an `io::Result`: zero means failure.
fn check(result: i32) -> io::Result<()> {
    match result {
        0 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// A duration in Windows's unit, 100 ns.
fn duration(time: FILETIME) -> Duration {
    let count = u64::from(time.dwHighDateTime) << 32 | u64::from(time.dwLowDateTime);
    Duration::from_micros(count / 10) + Duration::from_nanos(count % 10 * 100)
}

impl OsProcess {
    /// Returns how the process ended, or `None` if it still runs. Never blocks.
    pub(crate) fn try_wait(&self) -> io::Result<Option<ExitStatus>> {
        if self.status.get().is_some() {
            return Ok(self.status.get());
        }
        // The exit code alone does not tell: a process can end with the code that stands for "still running".
        // SAFETY: the handle is open.
        match unsafe { WaitForSingleObject(self.process.as_raw_handle(), 0) } {
            WAIT_OBJECT_0 => {}
            WAIT_TIMEOUT => return Ok(None),
            _ => return Err(io::Error::last_os_error()),
        }
        self.ended().map(Some)
    }

    /// Returns how the process ended. Its handle must have been seen signalled.
    pub(crate) fn ended(&self) -> io::Result<ExitStatus> {
        let mut code = 0;
        // SAFETY: the handle is open, and `code` has room for the code.
        check(unsafe { GetExitCodeProcess(self.process.as_raw_handle(), &raw mut code) })?;
        let status = ExitStatus::Code(code);
        self.status.set(Some(status));
        Ok(status)
    }

    /// Returns what it used, once its status is known.
    pub(crate) fn usage(&self) -> io::Result<Option<Usage>> {
        if self.status.get().is_none() {
            return Ok(None);
        }
        let process = self.process.as_raw_handle();
        let [mut began, mut ended, mut system, mut user] = [FILETIME::default(); 4];
        // SAFETY: the handle is open, and each time has room.
        check(unsafe {
            GetProcessTimes(
                process,
                &raw mut began,
                &raw mut ended,
                &raw mut system,
                &raw mut user,
            )
        })?;
        let mut memory = PROCESS_MEMORY_COUNTERS::default();
        let bytes = u32::try_from(size_of_val(&memory)).unwrap_or(u32::MAX);
        // SAFETY: the handle is open, and `memory` has room for `bytes` bytes.
        check(unsafe { K32GetProcessMemoryInfo(process, &raw mut memory, bytes) })?;
        Ok(Some(Usage {
            user_time: duration(user),
            system_time: duration(system),
            // Wine reports none of a process that has ended.
            peak_memory: NonZeroUsize::new(memory.PeakWorkingSetSize)
                .map(|bytes| bytes.get() as u64),
        }))
    }

    /// Sends a signal. A tree outlives its root: the signal reaches it as long as any member is left.
    pub(crate) fn signal(&self, signal: Signal, target: SignalTarget) -> io::Result<()> {
        let ended = match target {
            SignalTarget::Process => self.try_wait()?.is_some(),
            SignalTarget::Tree => self.tree_has_ended()?,
        };
        if ended {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "the process has ended",
            ));
        }
        match (signal, target) {
            (Signal::Kill, SignalTarget::Process) => {
                // SAFETY: the handle is open.
                check(unsafe { TerminateProcess(self.process.as_raw_handle(), 1) })
            }
            (Signal::Kill, SignalTarget::Tree) => self.job.terminate(),
            (Signal::Interrupt | Signal::Terminate, _) if self.own_group => {
                // Windows gives the number to no other process while we hold the handle.
                // SAFETY: the call touches no memory.
                check(unsafe { GenerateConsoleCtrlEvent(CTRL_BREAK_EVENT, self.pid) })
            }
            (Signal::Interrupt | Signal::Terminate, _) => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "only a process that leads a group of its own can be interrupted",
            )),
            (Signal::Number(_), _) => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "Windows has no numbered signals",
            )),
        }
    }

    /// Whether the child and all its descendants have ended.
    pub(crate) fn tree_has_ended(&self) -> io::Result<bool> {
        Ok(self.job.active_processes()? == 0)
    }

    /// Makes the OS post a packet with `key` to the completion port `queue` whenever a process joins or leaves the
    /// tree, until this is dropped. Windows may omit packets, so a packet only means that it is time to ask
    /// [`tree_has_ended`](OsProcess::tree_has_ended).
    pub(crate) fn report_tree_to(&self, queue: BorrowedHandle<'_>, key: usize) -> io::Result<()> {
        self.job.report_to(queue, key)
    }
}

impl AsHandle for OsProcess {
    fn as_handle(&self) -> BorrowedHandle<'_> {
        self.process.as_handle()
    }
}
