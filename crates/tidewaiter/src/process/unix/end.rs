//! The end of a process: how it ended, and what it used.

use std::time::Duration;

use crate::process::{ExitStatus, PEAK_UNIT, Usage};

/// The end of a process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    /// `None` if the status is unknown.
    pub(crate) usage: Option<Usage>,
}

impl Ended {
    /// Other code reaped the process.
    pub(crate) const UNSEEN: Ended = Ended {
        status: ExitStatus::Unknown,
        usage: None,
    };
}

/// Returns what the kernel reports.
pub(crate) fn usage_of(report: &libc::rusage) -> Usage {
    let peak = u64::try_from(report.ru_maxrss).unwrap_or(0);
    Usage {
        user_time: duration(report.ru_utime),
        system_time: duration(report.ru_stime),
        peak_memory: Some(peak * PEAK_UNIT),
    }
}

fn duration(time: libc::timeval) -> Duration {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let microseconds = u64::try_from(time.tv_usec).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_micros(microseconds)
}
