//! Continues the port in a forked child.

use std::io;
use std::os::fd::AsFd;

use super::super::table::Key;
use super::PollPort;
use super::pending::Pending;

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
        self.foreign.move_in()?;
        self.foreign_ready = false;
        self.watch_foreign()?;
        // A wake-up may have gone to the old event, or been lost with it, so end the next wait.
        self.waker.acknowledge();
        self.waker.wake();
        Ok(())
    }

    /// Abandons the port in a forked copy of the process: closes the copies of its descriptors.
    pub(super) fn disown(&mut self) {
        for (_, mut entry) in std::mem::take(&mut self.handles).into_entries() {
            // Drops unsent data together with the port, because dropping it may run the program's
            // code.
            let left = entry.take_pending().map(Pending::into_cancelled);
            self.finished.extend(left);
        }
    }
}
