//! Finds the file that a command runs: a program, a batch file, or a script with its interpreter.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::windows::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use windows_sys::Win32::Foundation::MAX_PATH;
use windows_sys::Win32::System::SystemInformation::GetSystemDirectoryW;

use super::environment::Environment;
use super::{batch, check_length, invalid, quote, script, search, terminated, wide};
use crate::process::{Command, SpawnStep};

/// A file to run, and the arguments it gets.
#[derive(Debug)]
pub(super) struct Program {
    /// With its whole path.
    file: PathBuf,
    /// What a program sees as its own name.
    name: OsString,
    arguments: Vec<OsString>,
    /// The end of the command line, passed as it is.
    raw_arguments: Option<OsString>,
}

/// What `CreateProcessW` takes, null-terminated.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) file: Vec<u16>,
    pub(super) command_line: Vec<u16>,
    /// Whether to hide the first window that the program opens.
    pub(super) hidden: bool,
}

impl Program {
    pub(super) fn of(
        command: &Command,
        environment: &Environment,
    ) -> Result<Program, (SpawnStep, io::Error)> {
        // Checked before the search, which would not find it.
        wide(&command.program).map_err(|error| (SpawnStep::Arguments, error))?;
        Ok(Program {
            file: find(&command.program, environment)?,
            name: command.arg0.as_ref().unwrap_or(&command.program).clone(),
            arguments: command.args.clone(),
            raw_arguments: command.raw_arguments.clone(),
        })
    }

    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// Returns the interpreter that the file names in a first line that begins with `#!`, to be run with the file as
    /// its argument. `None` if the file is no script.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or no such interpreter exists.
    pub(super) fn interpreter(&self, environment: &Environment) -> io::Result<Option<Program>> {
        let readings = script::readings(&self.file)?;
        let Some((first, _)) = readings.first() else {
            return Ok(None);
        };
        let message = format!("the interpreter that it names does not exist: {first}");
        for (program, arguments) in readings {
            let program = OsString::from(program);
            let Ok(file) = find(&program, environment) else {
                continue;
            };
            let arguments = arguments.into_iter().map(OsString::from);
            return Ok(Some(Program {
                file,
                name: program,
                arguments: arguments
                    .chain([self.file.clone().into()])
                    .chain(self.arguments.iter().cloned())
                    .collect(),
                raw_arguments: self.raw_arguments.clone(),
            }));
        }
        Err(io::Error::new(io::ErrorKind::NotFound, message))
    }

    /// With `hides_console`, a console program opens its window hidden.
    ///
    /// # Errors
    ///
    /// `InvalidInput` if a text cannot be passed.
    pub(super) fn start(&self, hides_console: bool) -> io::Result<Start> {
        let file = wide(self.file.as_os_str())?;
        let arguments = self.arguments.iter().map(|argument| wide(argument));
        let arguments = arguments.collect::<io::Result<Vec<_>>>()?;
        let raw = self.raw_arguments.as_deref().map(wide).transpose()?;
        if search::is_batch_file(&self.file) {
            if raw.is_some() {
                let message = "a batch file takes no raw arguments: they could run any command";
                return Err(invalid(message));
            }
            // Not the one that `ComSpec` names, which may be any program.
            let mut interpreter = system_directory()?;
            interpreter.push(r"\cmd.exe");
            return Ok(Start {
                command_line: terminated(batch::command_line(&file, &arguments)?),
                file: terminated(wide(&interpreter)?),
                hidden: hides_console,
            });
        }
        let mut command_line = quote::command_line(&wide(&self.name)?, &arguments)
            .ok_or_else(|| invalid("the program's own name contains a quotation mark"))?;
        if let Some(raw) = raw {
            command_line.push(u16::from(b' '));
            command_line.extend(raw);
        }
        check_length(
            "the command line, which holds all arguments,",
            command_line.len(),
        )?;
        Ok(Start {
            file: terminated(file),
            command_line: terminated(command_line),
            hidden: hides_console && search::is_console_program(&self.file),
        })
    }
}

/// Returns the first of the candidates that is a file.
fn find(program: &OsStr, environment: &Environment) -> Result<PathBuf, (SpawnStep, io::Error)> {
    let searched = |error| (SpawnStep::Search, error);
    let path = match environment.get("PATH") {
        Some(path) => path.to_owned(),
        None => system_directory().map_err(searched)?,
    };
    let extensions = environment.get("PATHEXT");
    let extensions = extensions.filter(|extensions| !extensions.is_empty());
    let extensions = extensions.unwrap_or(search::EXTENSIONS.as_ref());
    let candidates = search::candidates(program, &path, extensions);
    if let Some(file) = candidates.iter().find(|file| search::is_file(file)) {
        return std::path::absolute(file).map_err(searched);
    }
    if Path::new(program).has_root() && Path::new(program).is_dir() {
        let error = io::Error::new(io::ErrorKind::PermissionDenied, "it is a directory");
        return Err((SpawnStep::Execute, error));
    }
    let message = "the program does not exist";
    Err(searched(io::Error::new(io::ErrorKind::NotFound, message)))
}

/// `System32`, as the system names it: a variable such as `SystemRoot` may lead elsewhere.
fn system_directory() -> io::Result<OsString> {
    let mut name = [0; MAX_PATH as usize];
    // SAFETY: there is room for as many characters as the call is told.
    let length = unsafe { GetSystemDirectoryW(name.as_mut_ptr(), MAX_PATH) };
    match name.get(..length as usize) {
        Some([]) | None => Err(io::Error::last_os_error()),
        Some(name) => Ok(OsString::from_wide(name)),
    }
}
