//! Files: opening them, and requests on open ones.

use std::io;

use super::entry::Source;
use super::world::World;
use super::world::files::Access;
use crate::port::table::Key;
use crate::port::{FileOutcome, FileRequest, FileToOpen, Outcome};

/// Opens a file.
pub(super) fn attempt_open(
    world: &mut World,
    source: &mut Source,
    asked: &FileToOpen,
) -> io::Result<Outcome> {
    let (file, access) = world.open_file(asked)?;
    *source = Source::File(file, access);
    Ok(Outcome::FileOpened)
}

/// Performs a request on an open file.
pub(super) fn attempt_file(
    world: &mut World,
    file: Key,
    access: Access,
    request: &mut FileRequest,
) -> io::Result<Outcome> {
    let outcome = match request {
        FileRequest::Read { offset, into } => {
            world.read_file(file, access, *offset, into)?;
            FileOutcome::Read(std::mem::take(into))
        }
        FileRequest::Write { offset, data } => {
            let bytes = world.write_file(file, access, *offset, data)?;
            data.note_sent(bytes);
            FileOutcome::Written { bytes }
        }
        FileRequest::Sync { .. } => {
            world.sync_file()?;
            FileOutcome::Done
        }
        FileRequest::Metadata => FileOutcome::Metadata(Box::new(world.file_metadata(file))),
        FileRequest::SetLen(len) => {
            world.set_file_len(file, access, *len)?;
            FileOutcome::Done
        }
    };
    Ok(Outcome::File(outcome))
}
