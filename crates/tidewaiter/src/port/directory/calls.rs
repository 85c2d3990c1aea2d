//! The call of a port that is about directories.

use std::io;

use super::DirectoryOptions;
use crate::port::calls::Watched;
use crate::port::gate::Call;
use crate::port::{Operation, Port, Token};

impl Port {
    /// Watches a directory for changes: with inotify on Linux, `ReadDirectoryChangesW` on Windows.
    ///
    /// The operation is multishot and has no handle. Its completions are [`Outcome::Changed`](crate::port::Outcome::Changed), with the changes in
    /// their order. The last completion is [`Failure::Cancelled`](crate::port::Failure::Cancelled) after a
    /// [`cancel`](Port::cancel), or ends with [`Change::Ended`](super::Change::Ended).
    ///
    /// # Errors
    ///
    /// The OS's error, such as [`NotFound`](io::ErrorKind::NotFound) or
    /// [`NotADirectory`](io::ErrorKind::NotADirectory); on Linux [`StorageFull`](io::ErrorKind::StorageFull) when the user
    /// watches too many directories; [`Unsupported`](io::ErrorKind::Unsupported) on other systems and in simulations.
    pub fn watch_directory(
        &mut self,
        options: &DirectoryOptions,
        token: Token,
    ) -> io::Result<Operation> {
        let watched = Watched::Directory(options);
        self.gate.pass(Call::Act)?.watch(watched, token)
    }
}
