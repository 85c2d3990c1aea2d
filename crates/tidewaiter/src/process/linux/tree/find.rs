//! Finds the descendants of a child, those that left its process group included.
//!
//! A process belongs to the tree if its parent does, or if it is in a process group or a session that a process of the
//! tree made. What is believed was read while the process that it depends on was still there, so that no number is
//! mistaken for the one of an earlier process.

use std::collections::HashSet;

use super::proc::{Seen, Survey, children};

/// The child, from which the search begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Root {
    pub(super) pid: i32,
    /// Whether it leads a process group.
    pub(super) leads: bool,
    /// If it was reaped: the last moment, in clock ticks, at which its number was certainly its own.
    pub(super) reaped: Option<u64>,
}

impl Root {
    /// Whether this is a process of the root's group or session, or its own child.
    fn is_next_to(&self, seen: &Seen) -> bool {
        let led = self.leads && (seen.group == self.pid || seen.session == self.pid);
        match self.reaped {
            None => led || seen.parent == self.pid,
            // Groups and sessions keep the number from being used again, but they may have ended, too. A process that
            // was in one of that number before the number was free is in the root's. A tick is too short for all
            // other numbers to be used in between.
            Some(reaped) => led && seen.started <= reaped,
        }
    }
}

/// Whether the process is a child of the other one, or in a group or session that the other one made.
fn is_next_to(seen: &Seen, other: &Seen) -> bool {
    [seen.parent, seen.group, seen.session].contains(&other.pid)
}

/// Returns the descendants of the root, as far as they can be found, without those that have ended.
pub(super) fn descendants(root: &Root, survey: &mut Survey) -> Vec<Seen> {
    let all = survey.recent();
    let mut found = Vec::new();
    let mut known = HashSet::from([root.pid]);
    let candidates = all.iter().filter(|seen| root.is_next_to(seen));
    let candidates = candidates.map(|seen| seen.pid);
    let own = match root.reaped {
        None => children(root.pid),
        Some(_) => Vec::new(),
    };
    for pid in candidates.chain(own) {
        if !known.contains(&pid)
            && let Some(seen) = Seen::look(pid)
            && root.is_next_to(&seen)
        {
            known.insert(pid);
            found.push(seen);
        }
    }
    let mut next = 0;
    while let Some(&of) = found.get(next) {
        next += 1;
        let candidates = all.iter().filter(|seen| is_next_to(seen, &of));
        let candidates = candidates.map(|seen| seen.pid).chain(children(of.pid));
        for pid in candidates {
            if !known.contains(&pid)
                && let Some(seen) = Seen::look(pid)
                && is_next_to(&seen, &of)
                // Only now, so that the number was its own all the time.
                && Seen::look(of.pid).is_some_and(|now| now.is(&of))
            {
                known.insert(pid);
                found.push(seen);
            }
        }
    }
    found.retain(|seen| !seen.is_zombie);
    found
}
