//! A child's limits, as `setrlimit` takes them.

use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit};

use crate::process::Limits;

/// Returns the limits to set, each no higher than our own.
pub(super) fn resource_limits(limits: Limits) -> Vec<(Resource, Rlimit)> {
    let Limits {
        memory,
        cpu_time,
        open_files,
        processes,
    } = limits;
    let both = |limit| (limit, limit);
    // Between the first and the second limit on CPU time, the child gets a signal that it can handle.
    let seconds = |time| {
        let seconds = whole_seconds(time);
        (seconds, seconds.saturating_add(1))
    };
    [
        (Resource::As, memory.map(both)),
        (Resource::Cpu, cpu_time.map(seconds)),
        (Resource::Nofile, open_files.map(both)),
        (Resource::Nproc, processes.map(u64::from).map(both)),
    ]
    .into_iter()
    .filter_map(|(resource, limit)| {
        let (current, maximum) = limit?;
        let ours = getrlimit(resource).maximum;
        let lower = |limit: u64| Some(ours.map_or(limit, |ours| limit.min(ours)));
        let limit = Rlimit {
            current: lower(current),
            maximum: lower(maximum),
        };
        Some((resource, limit))
    })
    .collect()
}

/// Rounds up. Zero seconds would mean the same as one second to Linux, and no limit to other systems.
fn whole_seconds(time: Duration) -> u64 {
    let rest = u64::from(time.subsec_nanos() > 0);
    time.as_secs().saturating_add(rest).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_limit_is_above_our_own() {
        let mut limits = Limits::default();
        assert!(resource_limits(limits).is_empty());
        limits.open_files = Some(u64::MAX);
        let ours = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
        let limit = Rlimit {
            current: Some(ours),
            maximum: Some(ours),
        };
        assert_eq!(resource_limits(limits), [(Resource::Nofile, limit)]);
    }

    #[test]
    fn cpu_time_is_rounded_up_to_seconds() {
        for (time, seconds) in [(0, 1), (1, 1), (1000, 1), (1001, 2)] {
            assert_eq!(whole_seconds(Duration::from_millis(time)), seconds);
        }
        assert_eq!(whole_seconds(Duration::MAX), u64::MAX);
    }
}
