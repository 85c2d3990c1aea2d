//! Why something is not an address.

use std::fmt;
use std::io;

/// Why a text, path or name is not an [`Address`](super::Address). The message is one line that quotes it.
///
/// ```
/// use tidewaiter::{Address, AddressError};
///
/// let error: AddressError = "/run/app.sock".parse::<Address>().unwrap_err();
/// assert!(error.to_string().contains("unix:PATH"), "it lists the forms");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressError {
    input: String,
    problem: Problem,
}

impl AddressError {
    pub(super) fn new(input: impl Into<String>, problem: Problem) -> AddressError {
        AddressError {
            input: input.into(),
            problem,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Problem {
    /// The text has none of the known forms.
    Form,
    /// A `%` without two hexadecimal digits.
    Escape,
    PathEmpty,
    PathNul,
    PathNotUnicode,
    AbstractNeedsLinux,
    PipeForm,
    PipeNul,
    PipeNotUnicode,
    /// A part of the pipe's name is empty, `.` or `..`.
    PipePart,
    TooLong {
        length: usize,
        limit: usize,
        unit: &'static str,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Problem::Form => {
                "expected an IP address and port (127.0.0.1:80, [::1]:80), unix:PATH, unix:@NAME or pipe:NAME"
            }
            Problem::Escape => {
                "two hexadecimal digits must follow `%` (`%25` stands for `%` itself)"
            }
            Problem::PathEmpty => "the path is empty",
            Problem::PathNul => "the path contains a NUL",
            Problem::PathNotUnicode => "on this OS, the path of a UNIX socket must be Unicode",
            Problem::AbstractNeedsLinux => "only Linux has abstract names",
            Problem::PipeForm => r"a pipe's full name is \\.\pipe\NAME or \\HOST\pipe\NAME",
            Problem::PipeNul => "the name of the pipe contains a NUL",
            Problem::PipeNotUnicode => "the name of the pipe must be Unicode",
            Problem::PipePart => {
                r"no part of a pipe's name between `\` or `/` may be empty, `.` or `..`"
            }
            Problem::TooLong {
                length,
                limit,
                unit,
            } => return write!(f, "too long: {length} {unit}, of at most {limit}"),
        };
        f.write_str(text)
    }
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid address {:?}: {}", self.input, self.problem)
    }
}

impl std::error::Error for AddressError {}

impl From<AddressError> for io::Error {
    /// [`InvalidInput`](io::ErrorKind::InvalidInput), with the error as the inner one.
    fn from(error: AddressError) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidInput, error)
    }
}
