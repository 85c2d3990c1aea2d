//! Starts processes on Windows.

#![expect(unsafe_code, reason = "the OS's side of processes")]

mod batch;
mod environment;
mod job;
pub(crate) mod own_terminal;
mod program;
mod quote;
mod script;
mod search;
mod start;
mod streams;
mod terminal;

#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::ffi::OsStr;
use std::io;
use std::num::NonZeroUsize;
use std::os::windows::ffi::OsStrExt;
use std::os::windows::io::{AsHandle, AsRawHandle, BorrowedHandle, OwnedHandle};
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Duration;

use windows_sys::Win32::Foundation::{ERROR_BAD_EXE_FORMAT, FILETIME, WAIT_OBJECT_0, WAIT_TIMEOUT};
use windows_sys::Win32::System::Console::{
    CTRL_BREAK_EVENT, GenerateConsoleCtrlEvent, GetConsoleCP,
};
use windows_sys::Win32::System::ProcessStatus::{K32GetProcessMemoryInfo, PROCESS_MEMORY_COUNTERS};
use windows_sys::Win32::System::Threading::{
    CREATE_NEW_CONSOLE, CREATE_NEW_PROCESS_GROUP, DETACHED_PROCESS, GetCurrentProcess,
    GetExitCodeProcess, GetProcessAffinityMask, GetProcessTimes, PROCESS_CREATION_FLAGS,
    TerminateProcess, WaitForSingleObject,
};

use self::environment::Environment;
use self::job::Job;
use self::program::Program;
use self::start::{Image, Started};
use self::streams::Streams;
pub(crate) use self::streams::pipe;
pub(crate) use self::terminal::PseudoConsole;
use super::{
    Command, Console, ExitStatus, OsChild, Signal, SignalTarget, SpawnError, SpawnStep, Unreached,
    Usage,
};

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
    /// The pseudo-console that the child was started with.
    terminal: Option<Weak<PseudoConsole>>,
    status: Cell<Option<ExitStatus>>,
}

/// What is known about the processes of the machine: nothing, because a job knows its own.
#[derive(Debug, Default)]
pub(crate) struct Survey {}

/// Starts a process. After an error, nothing is left behind.
pub(crate) fn spawn(command: &Command) -> Result<OsChild, SpawnError> {
    let failed = |failure| command.failed(failure);
    let refused = |error| failed((SpawnStep::Arguments, error));
    let environment = Environment::of(command).map_err(refused)?;
    let program = Program::of(command, &environment).map_err(failed)?;
    let mut image = image(command, &environment, &program).map_err(refused)?;
    command.limits.check(&job::ENFORCED).map_err(failed)?;
    command.refuse_features_of_unix().map_err(failed)?;
    let cpus = command.cpus.as_deref().map(affinity).transpose();
    image.cpus = cpus.map_err(|error| failed((SpawnStep::Cpus, error)))?;
    let terminal = command.terminal.map(terminal::open).transpose();
    let terminal = terminal.map_err(|error| failed((SpawnStep::Terminal, error)))?;
    image.terminal = terminal
        .as_ref()
        .map(|terminal| Arc::clone(&terminal.console));
    let mut streams = Streams::of(command).map_err(failed)?;
    let mut job = Job::create().map_err(|error| failed((SpawnStep::Process, error)))?;
    job.limit(command.limits, command.tree.die_with_parent)
        .map_err(|error| failed((SpawnStep::Limits, error)))?;
    let mut started = start::start(&image, &job, &streams);
    if started.as_ref().is_err_and(is_no_program) {
        let execute = |error| failed((SpawnStep::Execute, error));
        if let Some(interpreter) = program.interpreter(&environment).map_err(execute)? {
            image.start = interpreter.start(hides_console(command)).map_err(refused)?;
            started = start::start(&image, &job, &streams).map_err(|error| {
                let message = format!("its interpreter is {:?}: {error}", interpreter.file());
                io::Error::new(error.kind(), message)
            });
        }
    }
    let Started { pid, process } = started.map_err(|error| {
        let enterable = command.directory.as_deref().is_none_or(Path::is_dir);
        let step = if enterable {
            SpawnStep::Execute
        } else {
            SpawnStep::Directory
        };
        failed((step, error))
    })?;
    let console = image.terminal;
    if let Some(terminal) = terminal {
        terminal.console.release();
        streams.ours.splice(0..0, terminal.ours);
    }
    Ok(OsChild {
        pid,
        process: OsProcess {
            process,
            job,
            pid,
            own_group: command.tree.own_group && !is_apart(command.console),
            terminal: console.as_ref().map(Arc::downgrade),
            status: Cell::new(None),
        },
        pipes: streams.given(),
        terminal: console,
    })
}

/// Kills a process with its tree, because nobody will await it.
pub(crate) fn abandon(process: &OsProcess) {
    let killed = process.signal(Signal::Kill, SignalTarget::Tree, &mut Survey::default());
    if let Err(error) = killed {
        log::warn!(
            "process: a child that could not be watched could not be killed either: {error}"
        );
    }
}

/// Whether the file exists but is not a program: it can be a script.
fn is_no_program(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(i32::cast_unsigned);
    code == Some(ERROR_BAD_EXE_FORMAT)
}

fn image(command: &Command, environment: &Environment, program: &Program) -> io::Result<Image> {
    let directory = command.directory.as_ref();
    let directory = directory.map(|directory| wide(directory.as_os_str()));
    Ok(Image {
        start: program.start(hides_console(command))?,
        environment: environment.block(),
        directory: directory.transpose()?.map(terminated),
        flags: flags(command),
        terminal: None,
        priority: command.priority,
        cpus: None,
    })
}

/// Returns the flags for a group of its own and for another console than ours.
fn flags(command: &Command) -> PROCESS_CREATION_FLAGS {
    if command.terminal.is_some() {
        // A group would ignore a Ctrl-C that is typed at its terminal.
        return 0;
    }
    let group = match command.tree.own_group {
        true => CREATE_NEW_PROCESS_GROUP,
        false => 0,
    };
    let console = match command.console {
        Console::Ours | Console::Hidden => 0,
        Console::New => CREATE_NEW_CONSOLE,
        Console::None => DETACHED_PROCESS,
    };
    group | console
}

/// Whether the child certainly has no console in common with us.
fn is_apart(console: Console) -> bool {
    matches!(console, Console::New | Console::None)
}

/// Returns the bits of the CPUs that the system has.
fn affinity(numbers: &[usize]) -> io::Result<usize> {
    let mut wanted = 0;
    for &number in numbers {
        let bit = number
            .try_into()
            .ok()
            .and_then(|at| 1_usize.checked_shl(at));
        wanted |= bit.ok_or_else(|| invalid(&format!("no CPU can have the number {number}")))?;
    }
    let [mut ours, mut existing] = [0; 2];
    // SAFETY: the call takes no memory, and its result always stands for this process.
    let process = unsafe { GetCurrentProcess() };
    // SAFETY: both numbers have room.
    check(unsafe { GetProcessAffinityMask(process, &raw mut ours, &raw mut existing) })?;
    match wanted & existing {
        0 => Err(invalid("the system has none of these CPUs")),
        cpus => Ok(cpus),
    }
}

/// Whether to hide the console that a console program opens. It opens one if it inherits none from us.
fn hides_console(command: &Command) -> bool {
    // SAFETY: the call touches no memory.
    command.console == Console::Hidden && unsafe { GetConsoleCP() == 0 }
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

/// Checks the length of a text, without its final NUL. Windows counts the bytes of a text in 16 bits.
fn check_length(what: &str, units: usize) -> io::Result<()> {
    /// Including the final NUL.
    const UNITS_MAX: usize = 32_767;
    if units < UNITS_MAX {
        return Ok(());
    }
    let message =
        format!("{what} is too long: Windows takes less than {UNITS_MAX} units of UTF-16");
    Err(invalid(&message))
}

fn unsupported(message: &str) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, message)
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
        Ok(Some(Usage {
            user_time: duration(user),
            system_time: duration(system),
            peak_memory: self.peak_memory(),
        }))
    }

    /// Returns the largest working set that it had. Wine does not know that of a process that has ended: it reports zero
    /// or fails, depending on how far it is in forgetting the process.
    fn peak_memory(&self) -> Option<u64> {
        let mut memory = PROCESS_MEMORY_COUNTERS::default();
        let bytes = u32::try_from(size_of_val(&memory)).unwrap_or(u32::MAX);
        let process = self.process.as_raw_handle();
        // SAFETY: the handle is open, and `memory` has room for `bytes` bytes.
        check(unsafe { K32GetProcessMemoryInfo(process, &raw mut memory, bytes) }).ok()?;
        NonZeroUsize::new(memory.PeakWorkingSetSize).map(|bytes| bytes.get() as u64)
    }

    /// Sends a signal. A tree outlives its root: the signal reaches it as long as any member is left.
    pub(crate) fn signal(
        &self,
        signal: Signal,
        target: SignalTarget,
        _survey: &mut Survey,
    ) -> io::Result<Unreached> {
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
            (Signal::Interrupt | Signal::Terminate, _) if self.terminal.is_some() => {
                self.hang_up(signal)?;
            }
            (Signal::Kill, SignalTarget::Process) => {
                // SAFETY: the handle is open.
                check(unsafe { TerminateProcess(self.process.as_raw_handle(), 1) })?;
            }
            (Signal::Kill, SignalTarget::Tree) => self.job.terminate()?,
            (Signal::Interrupt | Signal::Terminate, _) if self.own_group => {
                // Windows gives the number to no other process while we hold the handle.
                // SAFETY: the call touches no memory.
                check(unsafe { GenerateConsoleCtrlEvent(CTRL_BREAK_EVENT, self.pid) })?;
            }
            (Signal::Interrupt | Signal::Terminate, _) => {
                return Err(unsupported(
                    "only a process of our console that leads a group of its own can be interrupted",
                ));
            }
            (Signal::Number(_), _) => return Err(unsupported("Windows has no numbered signals")),
        }
        Ok(Unreached {
            processes: Vec::new(),
            // Ctrl-Break reaches those of the group that share our console.
            may_be_more: target == SignalTarget::Tree && signal != Signal::Kill,
        })
    }

    /// Asks the programs on the child's terminal to end. No Ctrl-Break of ours reaches them: they have another console.
    fn hang_up(&self, signal: Signal) -> io::Result<()> {
        if signal == Signal::Interrupt {
            let message = "a program on a terminal is interrupted by typing Ctrl-C there";
            return Err(unsupported(message));
        }
        if let Some(terminal) = self.terminal.as_ref().and_then(Weak::upgrade) {
            terminal.close();
        }
        Ok(())
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
