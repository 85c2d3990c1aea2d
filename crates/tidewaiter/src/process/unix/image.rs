//! Everything that the kernel gives a new program: its file, arguments, environment and directory.

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr, OsString, c_char};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

use super::candidates;
use crate::process::{Command, calls};

/// Everything that a new program is given, except its descriptors.
#[derive(Debug)]
pub(crate) struct Image {
    /// The files to try in turn.
    pub(crate) files: Vec<CString>,
    /// The arguments, the program's own name first.
    pub(crate) arguments: Vec<CString>,
    /// The environment, `NAME=value` each.
    pub(crate) environment: Environment,
    /// The directory to start in. `None`: ours.
    pub(crate) directory: Option<CString>,
}

impl Image {
    /// Encodes the program, arguments, environment and directory of `command`.
    ///
    /// # Errors
    ///
    /// A string contains a NUL, a variable has an invalid name, or there are raw arguments.
    pub(crate) fn of(command: &Command) -> io::Result<Image> {
        command.refuse_raw_arguments()?;
        let environment = Environment::of(command)?;
        let mut files = candidates(&command.program, || environment.get("PATH"));
        if command.directory.is_some() {
            // The child changes its directory before it looks for the files.
            files = files
                .into_iter()
                .filter_map(from_our_directory)
                .collect::<io::Result<_>>()?;
        }
        let files = files
            .iter()
            .map(|file| c_string(file, "the program's name"));
        let files = files.collect::<io::Result<Vec<_>>>()?;
        let name = command.arg0.as_ref().unwrap_or(&command.program);
        let arguments = std::iter::once(name)
            .chain(&command.args)
            .map(|argument| c_string(argument, "an argument"))
            .collect::<io::Result<Vec<_>>>()?;
        let directory = command
            .directory
            .as_ref()
            .map(|directory| c_string(directory.as_os_str(), "the working directory"))
            .transpose()?;
        Ok(Image {
            files,
            arguments,
            environment,
            directory,
        })
    }

    /// Explains why the kernel found none of the files to try, if one of them exists: what shall run that file is
    /// missing.
    pub(crate) fn missing_interpreter(&self) -> Option<io::Error> {
        let paths = self
            .files
            .iter()
            .map(|file| Path::new(OsStr::from_bytes(file.as_bytes())));
        let file = paths.into_iter().find(|path| path.is_file())?;
        let mut message = "the interpreter that it names does not exist".to_owned();
        if let Some(name) = interpreter_of(file) {
            message.push_str(": ");
            message.push_str(&name);
        }
        Some(io::Error::new(io::ErrorKind::NotFound, message))
    }
}

/// Returns the file's absolute path. `None` if our working directory was deleted, and with it all that was there.
fn from_our_directory(file: OsString) -> Option<io::Result<OsString>> {
    match std::path::absolute(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        path => Some(path.map(OsString::from)),
    }
}

/// Returns the interpreter that a script names in its first line, as `#!` and a path. Other programs name theirs in a
/// table, which is not read.
fn interpreter_of(file: &Path) -> Option<String> {
    /// The kernel looks at no more than this.
    const LINE_MAX: u64 = 256;
    let mut start = Vec::new();
    File::open(file)
        .ok()?
        .take(LINE_MAX)
        .read_to_end(&mut start)
        .ok()?;
    let line = start
        .strip_prefix(b"#!")?
        .split(|&byte| byte == b'\n')
        .next()?;
    let line = String::from_utf8_lossy(line);
    line.split_whitespace().next().map(str::to_owned)
}

/// Most environments fit into this many bytes and have fewer variables than this.
const USUAL_BYTES: usize = 4096;
const USUAL_COUNT: usize = 64;

/// The variables of a new program.
#[derive(Debug)]
pub(crate) enum Environment {
    /// Ours, where they are in memory.
    Ours(*const *const c_char),
    Made(Variables),
}

impl Environment {
    fn of(command: &Command) -> io::Result<Environment> {
        let changed = command.env_clear || !command.env.is_empty();
        match calls::own_environment() {
            // Copying dozens of variables would be a tenth of what a child costs us.
            Some(ours) if !changed => Ok(Environment::Ours(ours)),
            _ => Variables::of(command).map(Environment::Made),
        }
    }

    /// Returns the value of a variable.
    fn get(&self, name: &str) -> Option<OsString> {
        match self {
            Environment::Ours(_) => std::env::var_os(name),
            Environment::Made(variables) => variables.get(name).map(OsStr::to_owned),
        }
    }
}

/// Variables, each `NAME=value` and a NUL.
///
/// They share one allocation, because most programs have dozens of variables and every child gets all of them.
#[derive(Debug)]
pub(crate) struct Variables {
    bytes: Vec<u8>,
    /// The offset of each variable.
    starts: Vec<usize>,
}

impl Variables {
    fn of(command: &Command) -> io::Result<Variables> {
        let mut changes = BTreeMap::new();
        for (name, value) in &command.env {
            if value.is_some() && (name.is_empty() || name.as_bytes().contains(&b'=')) {
                let message = format!("no environment variable can have the name {name:?}");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
            }
            changes.insert(name, value);
        }
        let mut environment = Variables {
            bytes: Vec::with_capacity(USUAL_BYTES),
            starts: Vec::with_capacity(USUAL_COUNT),
        };
        if !command.env_clear {
            for (name, value) in std::env::vars_os() {
                // The OS's own variables never contain a NUL.
                if !changes.contains_key(&name) {
                    environment.push(&name, &value);
                }
            }
        }
        for (name, value) in changes {
            if let Some(value) = value {
                let entry = environment.push(name, value);
                if entry.contains(&0) {
                    return Err(contains_nul("an environment variable", entry));
                }
            }
        }
        Ok(environment)
    }

    /// Adds a variable, and returns it without its NUL.
    fn push(&mut self, name: &OsStr, value: &OsStr) -> &[u8] {
        let start = self.bytes.len();
        self.starts.push(start);
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(b'=');
        self.bytes.extend_from_slice(value.as_bytes());
        self.bytes.push(0);
        &self.bytes[start..self.bytes.len() - 1]
    }

    /// Returns the value of a variable.
    fn get(&self, name: &str) -> Option<&OsStr> {
        let value = self.starts.iter().find_map(|&start| {
            let entry = &self.bytes[start..];
            entry.strip_prefix(name.as_bytes())?.strip_prefix(b"=")
        })?;
        value.split(|byte| *byte == 0).next().map(OsStr::from_bytes)
    }

    /// Returns the null-terminated array that `execve` takes.
    pub(crate) fn pointers(&self) -> Vec<*const c_char> {
        let start = |&start: &usize| self.bytes[start..].as_ptr().cast();
        let starts = self.starts.iter().map(start);
        starts.chain([ptr::null()]).collect()
    }
}

fn c_string(text: &OsStr, what: &str) -> io::Result<CString> {
    CString::new(text.as_bytes()).map_err(|_| contains_nul(what, text.as_bytes()))
}

fn contains_nul(what: &str, text: &[u8]) -> io::Error {
    let text = OsStr::from_bytes(text);
    io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("{what} contains a NUL: {text:?}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(command: &Command) -> Vec<String> {
        let environment = Variables::of(command).expect("the command is valid");
        let text = String::from_utf8(environment.bytes).expect("the tests use UTF-8");
        text.split_terminator('\0').map(str::to_owned).collect()
    }

    #[test]
    fn later_variables_win_and_removed_ones_are_gone() {
        let command = Command::new("x")
            .env_clear()
            .env("B", "1")
            .env("A", "2")
            .env("B", "3")
            .env("C", "4")
            .env_remove("C");
        assert_eq!(environment(&command), ["A=2", "B=3"]);
    }

    #[test]
    fn the_own_environment_is_kept_unless_cleared() {
        let command = Command::new("x").env("TIDEWAITER_TEST", "1");
        let entries = environment(&command);
        assert!(entries.contains(&"TIDEWAITER_TEST=1".to_owned()));
        assert!(entries.iter().any(|entry| entry.starts_with("PATH=")));
    }

    #[test]
    fn the_program_is_searched_for_in_the_childs_path() {
        let command = Command::new("x").env("PATH", "/opt");
        let image = Image::of(&command).expect("the command is valid");
        assert_eq!(image.files, [c"/opt/x".to_owned()]);
    }

    #[test]
    fn a_relative_program_is_taken_from_our_directory_not_the_childs() {
        let command = Command::new("bin/x").current_dir("/");
        let image = Image::of(&command).expect("the command is valid");
        let expected = std::env::current_dir()
            .expect("the tests have a directory")
            .join("bin/x");
        assert_eq!(image.files[0].as_bytes(), expected.as_os_str().as_bytes());
    }

    #[test]
    fn a_nul_anywhere_and_impossible_names_are_refused() {
        let refused = [
            Command::new("a\0b"),
            Command::new("a").arg("b\0c"),
            Command::new("a").arg0("\0"),
            Command::new("a").env("A\0", "x"),
            Command::new("a").env("A", "x\0"),
            Command::new("a").env("A=B", "x"),
            Command::new("a").env("", "x"),
            Command::new("a").current_dir("x\0"),
        ];
        for command in refused {
            let error = Image::of(&command).expect_err("it cannot be passed on");
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{command:?}");
        }
    }
}
