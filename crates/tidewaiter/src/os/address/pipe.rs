//! Names of Windows's named pipes.

use std::fmt;
use std::sync::Arc;

use super::error::{AddressError, Problem};
use super::escape;

pub(super) const PREFIX: &str = "pipe:";

/// How the full names of this machine's pipes begin.
const LOCAL: &str = r"\\.\pipe\";

/// The most UTF-16 units in a full name.
const UNITS_MAX: usize = 256;

/// The full name of a named pipe: `\\.\pipe\NAME` on this machine, `\\HOST\pipe\NAME` on another.
///
/// Two names that differ in the case of their letters are not equal, although Windows finds the same pipe for both.
/// `Display` writes the forms that [`Address`](super::Address) describes.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PipeName(Arc<str>);

impl PipeName {
    /// The pipe with this full name.
    ///
    /// # Errors
    ///
    /// When the name is not of the form `\\.\pipe\NAME` or `\\HOST\pipe\NAME`, contains a NUL, or has more than 256
    /// UTF-16 units; or when a part of it between `\` or `/` is empty, `.` or `..`, because Windows would then open
    /// something else.
    pub fn new(full_name: impl AsRef<str>) -> Result<PipeName, AddressError> {
        let full_name = full_name.as_ref();
        checked(full_name).map_err(|problem| AddressError::new(full_name, problem))
    }

    /// The pipe `\\.\pipe\NAME` of this machine.
    ///
    /// # Errors
    ///
    /// As [`new`](PipeName::new).
    pub fn local(name: impl AsRef<str>) -> Result<PipeName, AddressError> {
        PipeName::new(format!("{LOCAL}{}", name.as_ref()))
    }

    /// Returns the full name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name on this machine, such as `app` of `\\.\pipe\app`; `None` if the pipe is another machine's.
    pub(crate) fn local_name(&self) -> Option<&str> {
        self.0.strip_prefix(LOCAL)
    }
}

fn checked(full_name: &str) -> Result<PipeName, Problem> {
    let (host, name) = split(full_name).ok_or(Problem::PipeForm)?;
    if full_name.contains('\0') {
        return Err(Problem::PipeNul);
    }
    let is_bad = |part: &str| matches!(part, "" | "." | "..");
    if name.split(['\\', '/']).any(is_bad) {
        return Err(Problem::PipePart);
    }
    let length = full_name.encode_utf16().count();
    if length > UNITS_MAX {
        return Err(Problem::TooLong {
            length,
            limit: UNITS_MAX,
            unit: "UTF-16 units",
        });
    }
    Ok(PipeName(format!(r"\\{host}\pipe\{name}").into()))
}

/// Splits a full name into the host, which is `.` for this machine, and the pipe's own name.
fn split(full_name: &str) -> Option<(&str, &str)> {
    let (host, rest) = full_name.strip_prefix(r"\\")?.split_once('\\')?;
    let (middle, name) = rest.split_once('\\')?;
    let host_is_good = !host.is_empty() && host != ".." && !host.contains('/');
    (host_is_good && middle.eq_ignore_ascii_case("pipe")).then_some((host, name))
}

/// Reads the text after `pipe:`.
pub(super) fn parse(text: &str) -> Result<PipeName, Problem> {
    let name = String::from_utf8(escape::read(text)?).map_err(|_| Problem::PipeNotUnicode)?;
    if name.starts_with(r"\\") {
        checked(&name)
    } else {
        checked(&format!("{LOCAL}{name}"))
    }
}

impl fmt::Display for PipeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        let name = self.0.strip_prefix(LOCAL).unwrap_or(&self.0);
        escape::write(f, name.as_bytes())
    }
}

impl fmt::Debug for PipeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
