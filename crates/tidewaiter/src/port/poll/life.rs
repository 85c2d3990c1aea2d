//! Continues the port in a forked child.

use std::io;
use std::os::fd::AsFd;

use super::super::table::Key;
use super::PollPort;

impl PollPort {
    /// Registers everything anew for this process: the set of a forked copy is still shared with
    /// its original. The kernel holds none of the port's memory, so operations continue unchanged.
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
        // A wake-up may have gone to the old event, or been lost with it, so end the next wait.
        self.waker.acknowledge();
        self.waker.wake();
        Ok(())
    }
}
