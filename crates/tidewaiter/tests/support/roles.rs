//! The roles that children play in the tests, the same on every port.

use std::ffi::{OsStr, OsString};

/// The environment variable that tells a child its role.
pub(crate) const ROLE: &str = "TIDEWAITER_TEST_ROLE";

/// The environment variables that [`Role::Tell`] tells: this one, or those of this name with the numbers from `_0` on.
pub(crate) const TEXT: &str = "TIDEWAITER_TEST_TEXT";

/// The first bytes that a child writes to its standard output.
pub(crate) const READY: &[u8] = b"\n<the child plays its role>\n";

/// The behaviour of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Copies its input to its output until the input ends, then exits with 0.
    Echo,
    /// Exits with this code at once.
    Exit(u8),
    /// Closes its output, and exits with 3 at the end of its input.
    Mute,
    /// Reads nothing, writes nothing, and stays.
    Deaf,
    /// As [`Role::Deaf`], and ignores requests to end.
    Stubborn,
    /// Starts an echo that inherits its streams, and exits with 5.
    LeaveEcho,
    /// Starts a stubborn child that inherits its streams, and exits with 5.
    LeaveStubborn,
    /// Starts a child that inherits its streams and has this many generations below it, and stays. None: starts no child.
    Ancestor(u8),
    /// Starts a deaf child that inherits its streams, and stays.
    KeepDeaf,
    /// Starts a deaf child that inherits its streams and ends with it, and stays.
    KeepBound,
    /// Uses its standard input as a socket: sends the peer's address in a line, copies what it receives until the end of
    /// file, and exits with 0.
    Peer,
    /// Copies its descriptor 9 to its descriptor 5 until the input ends, then exits with 0. Needs more than the standard
    /// streams.
    Relay,
    /// Opens its terminal, says `ready`, and obeys what is typed, line by line: `size` says the terminal's rows and
    /// columns, `flood` writes without end, `stay` ignores requests to end and stays, `exit` exits with 3; other lines are repeated as `heard <line>`. Exits with 4
    /// at the end of the terminal.
    Converse,
    /// Computes for a while with this many MiB of memory, and exits with 0.
    Work(u8),
    /// Exits with 0 if it can have this many MiB of memory, otherwise with 9.
    Allocate(u8),
    /// Computes for as long as it may.
    Compute,
    /// Opens files, at most 100, and exits with their number.
    OpenFiles,
    /// Exits with 0 if it can start another child, otherwise with 9.
    Start,
    /// Exits with the number of the descriptors or handles that it has, of those that the variable [`TEXT`] names.
    Holding,
    /// Writes the values of the variables called [`TEXT`] in Rust's encoding, and exits with 0.
    Tell,
    /// Writes this many times 1024 bytes to its standard error, and exits with 0 at the end of its input.
    Flood(u32),
}

impl Role {
    /// The role as text, for the environment variable.
    pub(crate) fn to_text(self) -> String {
        match self {
            Role::Echo => "echo".to_owned(),
            Role::Exit(code) => format!("exit {code}"),
            Role::Mute => "mute".to_owned(),
            Role::Deaf => "deaf".to_owned(),
            Role::Peer => "peer".to_owned(),
            Role::Relay => "relay".to_owned(),
            Role::Stubborn => "stubborn".to_owned(),
            Role::LeaveEcho => "leave-echo".to_owned(),
            Role::LeaveStubborn => "leave-stubborn".to_owned(),
            Role::KeepDeaf => "keep-deaf".to_owned(),
            Role::Ancestor(generations) => format!("ancestor {generations}"),
            Role::KeepBound => "keep-bound".to_owned(),
            Role::Converse => "converse".to_owned(),
            Role::Work(size) => format!("work {size}"),
            Role::Allocate(size) => format!("allocate {size}"),
            Role::Compute => "compute".to_owned(),
            Role::OpenFiles => "open-files".to_owned(),
            Role::Start => "start".to_owned(),
            Role::Holding => "holding".to_owned(),
            Role::Tell => "tell".to_owned(),
            Role::Flood(count) => format!("flood {count}"),
        }
    }

    /// The inverse of [`Role::to_text`].
    pub(crate) fn from_text(text: &OsStr) -> Role {
        let text = text.to_str().expect("roles are plain text");
        let (name, number) = text.split_once(' ').unwrap_or((text, "0"));
        match name {
            "echo" => Role::Echo,
            "exit" => Role::Exit(number.parse().expect("a code")),
            "mute" => Role::Mute,
            "deaf" => Role::Deaf,
            "peer" => Role::Peer,
            "relay" => Role::Relay,
            "stubborn" => Role::Stubborn,
            "leave-echo" => Role::LeaveEcho,
            "leave-stubborn" => Role::LeaveStubborn,
            "keep-deaf" => Role::KeepDeaf,
            "ancestor" => Role::Ancestor(number.parse().expect("a count")),
            "keep-bound" => Role::KeepBound,
            "converse" => Role::Converse,
            "work" => Role::Work(number.parse().expect("a size")),
            "allocate" => Role::Allocate(number.parse().expect("a size")),
            "compute" => Role::Compute,
            "open-files" => Role::OpenFiles,
            "start" => Role::Start,
            "holding" => Role::Holding,
            "tell" => Role::Tell,
            "flood" => Role::Flood(number.parse().expect("a count")),
            _ => panic!("no such role: {text}"),
        }
    }
}

/// Returns the bytes that [`Role::Tell`] writes, in this environment.
pub(crate) fn told(value: impl Fn(&str) -> Option<OsString>) -> Vec<u8> {
    let numbered = (0..).map(|number| format!("{TEXT}_{number}"));
    let values = value(TEXT)
        .into_iter()
        .chain(numbered.map_while(|name| value(&name)));
    values.flat_map(OsString::into_encoded_bytes).collect()
}
