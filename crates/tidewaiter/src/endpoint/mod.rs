//! Names and addresses to connect to and to listen on.

mod parse;
mod race;
mod resolve;
mod target;

pub use parse::{HostPort, ParseHostPortError};
pub(crate) use race::{ATTEMPT_DELAY, AttemptId, Race, Step};
pub use resolve::resolve;
pub(crate) use resolve::{ask_os, literal, look_up, unresolved};
pub(crate) use target::{AddressKind, Target};
pub use target::{Endpoint, ToEndpoint};
