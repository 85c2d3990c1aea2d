//! From one process to the next.

use std::io;
use std::os::fd::AsFd;

use super::super::table::Key;
use super::PollPort;

impl PollPort {
    /// Watches everything anew, in this process: a copy's set of what is watched is still its original's,
    /// too. Nothing was lent to the kernel, so operations go on as they are.
    pub(super) fn move_in(&mut self) -> io::Result<()> {
        self.selector.renew()?;
        let keys: Vec<Key> = self.handles.iter().map(|(key, _)| key).collect();
        for key in keys {
            let entry = self.handles.get_mut(key).expect("it was just listed");
            entry.watched = self.selector.add(entry.source.as_fd(), key)?;
        }
        self.foreign.renew()?;
        self.foreign_ready = false;
        self.watch_foreign()?;
        // What came to the old event, or was lost with it, ends the next wait.
        self.waker.acknowledge();
        self.waker.wake();
        Ok(())
    }
}
