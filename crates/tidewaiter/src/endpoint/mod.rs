//! Where to connect and listen.

mod parse;
pub(crate) mod race;
pub(crate) mod resolve;

pub use parse::{HostPort, ParseHostPortError};
