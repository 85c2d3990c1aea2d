//! Ends a child that nobody waits for.

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::process::{OsProcess, Signal, SignalTarget, Survey};

/// The longest wait for the end of a child that was killed. After that, it may remain a zombie.
const REAP_LIMIT: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};

/// Kills and reaps a child that no port could take, so that nothing is left running.
pub(crate) fn abandon(process: &OsProcess) {
    let mut survey = Survey::default();
    let mut kill = |target| process.signal(Signal::Kill, target, &mut survey);
    let ended = kill(SignalTarget::Tree)
        // It may not lead a group.
        .or_else(|_| kill(SignalTarget::Process))
        .and_then(|_| {
            poll(
                &mut [PollFd::new(process, PollFlags::IN)],
                Some(&REAP_LIMIT),
            )?;
            process.try_wait()
        });
    if let Err(error) = ended {
        log::error!("process: a child that could not be watched may still run: {error}");
    }
}
