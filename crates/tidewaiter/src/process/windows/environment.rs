//! The child's environment, in the format of Windows.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::windows::ffi::OsStrExt;

use super::{check_length, invalid};
use crate::process::Command;

/// Keyed by the name in capitals, because the case of a name does not matter.
#[derive(Debug)]
pub(super) struct Environment(BTreeMap<Vec<u16>, (OsString, OsString)>);

impl Environment {
    /// # Errors
    ///
    /// A variable has an invalid name, or contains a NUL.
    pub(super) fn of(command: &Command) -> io::Result<Environment> {
        let mut environment = BTreeMap::new();
        if !command.env_clear {
            // This includes `=C:` and the like, which hold the current directory of each drive.
            for (name, value) in std::env::vars_os() {
                environment.insert(capitals(&name), (name, value));
            }
        }
        for (name, value) in &command.env {
            let key = capitals(name);
            match value {
                Some(value) => {
                    check(name, value)?;
                    environment.insert(key, (name.clone(), value.clone()));
                }
                None => {
                    environment.remove(&key);
                }
            }
        }
        Ok(Environment(environment))
    }

    pub(super) fn get(&self, name: &str) -> Option<&OsStr> {
        let (_, value) = self.0.get(&capitals(name.as_ref()))?;
        Some(value)
    }

    /// Returns the sorted entries, each ended by a NUL, with one more NUL at the end.
    pub(super) fn block(&self) -> Vec<u16> {
        let mut block = Vec::new();
        for (name, value) in self.0.values() {
            block.extend(name.encode_wide());
            block.push(u16::from(b'='));
            block.extend(value.encode_wide());
            block.push(0);
        }
        if block.is_empty() {
            // An empty block has two NULs as well.
            block.push(0);
        }
        block.push(0);
        block
    }
}

fn check(name: &OsStr, value: &OsStr) -> io::Result<()> {
    let equals = u16::from(b'=');
    let bad_name = name.is_empty() || name.encode_wide().skip(1).any(|unit| unit == equals);
    if bad_name
        || name
            .encode_wide()
            .chain(value.encode_wide())
            .any(|unit| unit == 0)
    {
        let message = format!("no environment variable can be {name:?} with the value {value:?}");
        return Err(invalid(&message));
    }
    check_length(
        &format!("the environment variable {name:?}"),
        value.encode_wide().count(),
    )
}

/// Capitalizes each UTF-16 unit by itself, as Windows does to compare names.
fn capitals(name: &OsStr) -> Vec<u16> {
    name.encode_wide()
        .map(|unit| {
            let mut upper = char::from_u32(u32::from(unit))
                .map(char::to_uppercase)
                .into_iter()
                .flatten();
            match (upper.next(), upper.next()) {
                (Some(upper), None) => u16::try_from(u32::from(upper)).unwrap_or(unit),
                _ => unit,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(command: &Command) -> String {
        let environment = Environment::of(command).expect("the command is valid");
        String::from_utf16(&environment.block()).expect("the tests use whole characters")
    }

    #[test]
    fn the_block_is_sorted_and_ended() {
        let command = Command::new("x")
            .env_clear()
            .env("b", "1")
            .env("A", "2")
            .env("=C:", "C:\\");
        assert_eq!(block(&command), "=C:=C:\\\0A=2\0b=1\0\0");
        assert_eq!(block(&Command::new("x").env_clear()), "\0\0");
    }

    #[test]
    fn names_are_the_same_in_any_case() {
        let command = Command::new("x")
            .env_clear()
            .env("Path", "1")
            .env("PATH", "2")
            .env("ä", "3")
            .env_remove("Ä");
        assert_eq!(block(&command), "PATH=2\0\0");
        let environment = Environment::of(&command).expect("the command is valid");
        assert_eq!(environment.get("path"), Some(OsStr::new("2")));
    }

    #[test]
    fn impossible_variables_are_refused() {
        for (name, value) in [("", "x"), ("A=B", "x"), ("A\0", "x"), ("A", "x\0")] {
            let error = Environment::of(&Command::new("x").env(name, value));
            assert_eq!(
                error.expect_err("it is impossible").kind(),
                io::ErrorKind::InvalidInput
            );
        }
    }
}
