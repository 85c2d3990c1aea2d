//! Starting processes on a Unix other than Linux: through the standard library, with a thread per child
//! that awaits its end.

#![expect(unsafe_code, reason = "the OS's side of processes")]

use std::ffi::{CString, OsStr, OsString};
use std::io::{self, PipeReader};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Stdio as StdStdio};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Pid, WaitId, WaitIdOptions};

use super::unix::{Image, Source, Streams};
use super::{Command, ExitStatus, OsChild, Signal, SignalTarget, SpawnError, SpawnStep};

/// How many descriptors are kept from the child at most, where the limit is higher than this.
const DESCRIPTORS_MAX: i32 = 65536;

/// A child process. Its descriptor is the reading end of a pipe that the waiting thread closes, and that
/// becomes readable thereby, once the process ended.
#[derive(Debug)]
pub(crate) struct OsProcess {
    ended: PipeReader,
    pid: Pid,
    own_group: bool,
    status: Arc<Mutex<Option<ExitStatus>>>,
}

/// Starts a process; when that fails, nothing is left behind.
pub(crate) fn spawn(command: &Command) -> Result<OsChild, SpawnError> {
    let failed = |step| {
        move |source| SpawnError {
            program: command.program.clone(),
            step,
            source,
        }
    };
    let image = Image::of(command).map_err(failed(SpawnStep::Arguments))?;
    let file = choose(&image.files).map_err(failed(SpawnStep::Search))?;
    let Streams { sources, ours } = Streams::of(command).map_err(failed(SpawnStep::Pipes))?;
    let (ended, ends) = io::pipe().map_err(failed(SpawnStep::Pipes))?;
    let mut standard = standard_command(command, &image, &file);
    give_streams(&mut standard, sources).map_err(failed(SpawnStep::Pipes))?;
    let child = standard.spawn().map_err(|error| {
        let enterable = command.directory.as_deref().is_none_or(Path::is_dir);
        let step = if enterable {
            SpawnStep::Execute
        } else {
            SpawnStep::Directory
        };
        failed(step)(error)
    })?;
    let pid = Pid::from_child(&child);
    let status = Arc::new(Mutex::new(None));
    let noted = Arc::clone(&status);
    let thread = std::thread::Builder::new().name(format!("await {}", child.id()));
    // The thread needs the child only after it was started: a failure leaves it to us.
    let child = Arc::new(Mutex::new(Some(child)));
    let awaited = Arc::clone(&child);
    let started = thread.spawn(move || {
        let child = lock(&awaited).take();
        if let Some(child) = child {
            await_end(child, pid, &noted);
        }
        drop(ends);
    });
    if let Err(error) = started {
        if let Some(mut child) = lock(&child).take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        return Err(failed(SpawnStep::Adopt)(error));
    }
    Ok(OsChild {
        pid: pid.as_raw_nonzero().get().unsigned_abs(),
        process: OsProcess {
            ended,
            pid,
            own_group: command.own_group,
            status,
        },
        pipes: ours,
    })
}

/// The first of the files that is there.
fn choose(files: &[CString]) -> io::Result<OsString> {
    files
        .iter()
        .map(|file| OsStr::from_bytes(file.as_bytes()))
        .find(|file| Path::new(file).exists())
        .map(OsStr::to_owned)
        .ok_or_else(|| rustix::io::Errno::NOENT.into())
}

fn standard_command(command: &Command, image: &Image, file: &OsStr) -> std::process::Command {
    let mut standard = std::process::Command::new(file);
    standard
        .arg0(command.arg0.as_ref().unwrap_or(&command.program))
        .args(&command.args)
        .env_clear();
    for entry in &image.environment {
        let entry = entry.as_bytes();
        // A name is not empty, but may begin with an equals sign.
        let end = entry.iter().skip(1).position(|&byte| byte == b'=');
        let (name, value) = entry.split_at(end.map_or(entry.len(), |end| end + 1));
        let value = value.get(1..).unwrap_or_default();
        standard.env(OsStr::from_bytes(name), OsStr::from_bytes(value));
    }
    if let Some(directory) = &command.directory {
        standard.current_dir(directory);
    }
    if command.own_group {
        standard.process_group(0);
    }
    // SAFETY: `getdtablesize` only asks for a number.
    let end = unsafe { libc::getdtablesize() }.min(DESCRIPTORS_MAX);
    let keep_descriptors = move || {
        for descriptor in 3..end {
            // Not closed, as the standard library reports failures through one of them.
            // SAFETY: changes the child's own table of descriptors; allowed between fork and exec.
            unsafe { libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC) };
        }
        Ok(())
    };
    // SAFETY: the closure makes system calls alone, and neither allocates nor locks.
    unsafe { standard.pre_exec(keep_descriptors) };
    standard
}

fn give_streams(standard: &mut std::process::Command, sources: [Source; 3]) -> io::Result<()> {
    let [input, output, error] = sources;
    let error = match (error, &output) {
        (Source::Made(descriptor), _) => descriptor.into(),
        (Source::Inherited, _) => StdStdio::inherit(),
        (Source::Output, Source::Made(descriptor)) => descriptor.try_clone()?.into(),
        (Source::Output, _) => io::stdout().as_fd().try_clone_to_owned()?.into(),
    };
    let stdio = |source| match source {
        Source::Made(descriptor) => StdStdio::from(OwnedFd::from(descriptor)),
        Source::Inherited | Source::Output => StdStdio::inherit(),
    };
    standard
        .stdin(stdio(input))
        .stdout(stdio(output))
        .stderr(error);
    Ok(())
}

/// Awaits the end, and reaps under the lock: nobody signals a number that is somebody else's by then.
fn await_end(mut child: Child, pid: Pid, status: &Mutex<Option<ExitStatus>>) {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    // Whatever goes wrong here is found again by the wait below.
    let _ = rustix::io::retry_on_intr(|| rustix::process::waitid(WaitId::Pid(pid), options));
    let mut status = lock(status);
    *status = Some(match child.wait() {
        Ok(ended) => decode(ended),
        Err(_) => ExitStatus::Unknown,
    });
}

fn decode(status: std::process::ExitStatus) -> ExitStatus {
    match (status.code(), status.signal()) {
        (Some(code), _) => ExitStatus::Code(code.cast_unsigned()),
        (None, Some(number)) => ExitStatus::Signal {
            number,
            core_dumped: status.core_dumped(),
        },
        (None, None) => ExitStatus::Unknown,
    }
}

/// No holder of these locks panics, and what they hold is whole at any time.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl OsProcess {
    /// How the process ended, if it did. Blocks for no longer than reaping it takes.
    pub(crate) fn try_wait(&self) -> io::Result<Option<ExitStatus>> {
        Ok(*lock(&self.status))
    }

    /// Sends a signal. A tree outlives its root: it is signalled as long as anything is left of it.
    pub(crate) fn signal(&self, signal: Signal, target: SignalTarget) -> io::Result<()> {
        let number = match signal {
            Signal::Interrupt => libc::SIGINT,
            Signal::Terminate => libc::SIGTERM,
            Signal::Kill => libc::SIGKILL,
            Signal::Number(number) => number,
        };
        // Held meanwhile: the process is not reaped between the look and the signal.
        let status = lock(&self.status);
        let ended = || io::Error::new(io::ErrorKind::NotFound, "the process has ended");
        let pid = self.pid.as_raw_nonzero().get();
        let receiver = match target {
            SignalTarget::Process if status.is_some() => return Err(ended()),
            SignalTarget::Process => pid,
            SignalTarget::Tree if !self.own_group => {
                let message =
                    "only a process that leads a group of its own has a tree that can be signalled";
                return Err(io::Error::new(io::ErrorKind::Unsupported, message));
            }
            // The number stays the group's as long as the group has members; a process that has it
            // after ours was reaped is a stranger's.
            SignalTarget::Tree
                if status.is_some() && rustix::process::test_kill_process(self.pid).is_ok() =>
            {
                return Err(ended());
            }
            SignalTarget::Tree => -pid,
        };
        // SAFETY: sends a signal to other processes; no memory of ours is involved.
        if unsafe { libc::kill(receiver, number) } == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() == Some(libc::ESRCH) {
            return Err(ended());
        }
        Err(error)
    }
}

impl AsFd for OsProcess {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ended.as_fd()
    }
}
