//! Starts the children of `serve` with the directory, environment, user and limits that were asked for.

use std::ffi::OsStr;
use std::path::PathBuf;

use tidewaiter::process::{Command, Limits};

use crate::args::{self, Serve};
use crate::failure::Failure;
use crate::identity::Identity;
use crate::quantity::{count, duration, size};

/// The checked options.
#[derive(Default)]
pub(crate) struct Confinement {
    directory: Option<PathBuf>,
    clear_env: bool,
    env: Vec<(String, String)>,
    identity: Option<Identity>,
    limits: Limits,
}

impl Confinement {
    pub(crate) fn of(serve: &Serve) -> Result<Confinement, Failure> {
        let env = serve.env.iter().map(|text| variable(text));
        let identity = serve.user.as_deref();
        let identity = identity.map(|user| Identity::look_up(user, serve.group.as_deref()));
        Ok(Confinement {
            directory: serve.chdir.clone(),
            clear_env: serve.clear_env,
            env: env.collect::<Result<_, _>>()?,
            identity: identity.transpose()?,
            limits: limits(&serve.limits)?,
        })
    }

    /// Whether COMMAND runs as a user that was asked for.
    pub(crate) fn changes_user(&self) -> bool {
        self.identity.is_some()
    }

    /// A command for `program`, confined.
    pub(crate) fn command(&self, program: &OsStr) -> Command {
        let mut command = Command::new(program).limits(self.limits);
        if self.clear_env {
            command = command.env_clear();
        }
        if let Some(directory) = &self.directory {
            command = command.current_dir(directory);
        }
        if let Some(identity) = &self.identity {
            command = identity.assume(command);
        }
        self.env
            .iter()
            .fold(command, |command, (name, value)| command.env(name, value))
    }
}

/// Splits `NAME=VALUE`.
fn variable(text: &str) -> Result<(String, String), Failure> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(Failure::Usage(format!("--env {text:?} is not NAME=VALUE"))),
    }
}

fn limits(asked: &args::Limits) -> Result<Limits, Failure> {
    let mut limits = Limits::default();
    limits.memory = asked
        .limit_memory
        .as_deref()
        .map(|text| size("--limit-memory", text))
        .transpose()?;
    if let Some(text) = asked.limit_cpu.as_deref() {
        let time = duration("--limit-cpu", text)?;
        if time.is_zero() {
            return Err(Failure::usage("--limit-cpu must be above 0"));
        }
        limits.cpu_time = Some(time);
    }
    limits.processes = asked
        .limit_processes
        .as_deref()
        .map(|text| count("--limit-processes", text))
        .transpose()?;
    if cfg!(windows) && asked.limit_open_files.is_some() {
        let message = "--limit-open-files: Windows has no such limit";
        return Err(Failure::usage(message));
    }
    limits.open_files = asked
        .limit_open_files
        .as_deref()
        .map(|text| count("--limit-open-files", text))
        .transpose()?;
    Ok(limits)
}

#[cfg(test)]
mod tests {
    use super::variable;

    #[test]
    fn a_variable_has_a_name_and_may_have_an_empty_value() {
        let pair = |name: &str, value: &str| Some((name.to_owned(), value.to_owned()));
        assert_eq!(variable("A=b=c").ok(), pair("A", "b=c"));
        assert_eq!(variable("A=").ok(), pair("A", ""));
        for text in ["", "A", "=b"] {
            assert!(variable(text).is_err(), "{text}");
        }
    }
}
