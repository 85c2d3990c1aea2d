//! Systems that offer no way to serve a shared stream directly.

use std::io;

use super::Side;
use crate::os::OsPipe;
use crate::port::{PortKind, Resource};

pub(super) fn share(
    _theirs: &OsPipe,
    _side: Side,
    _port: PortKind,
) -> io::Result<Option<(Resource, bool)>> {
    Ok(None)
}
