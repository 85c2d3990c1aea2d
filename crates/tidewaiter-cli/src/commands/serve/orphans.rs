//! Processes whose parent has ended, where it is on us to reap them.

use std::rc::Rc;

use super::server::Server;

/// Reaps the children that are not ours, if this process is the first one of a container: there, Linux makes
/// it the parent of all processes whose parent has ended, and nobody else reaps them.
///
/// Does nothing anywhere else: a child that is not ours belongs to the program that became this one.
#[cfg(target_os = "linux")]
pub(super) fn reap_if_first_process(server: &Rc<Server>) {
    if std::process::id() != 1 {
        return;
    }
    match linux::watch(server) {
        Ok(()) => log::debug!("this is the first process: reaping orphans"),
        Err(error) => log::warn!("orphans stay zombies: {error}"),
    }
}

/// No other system has such containers.
#[cfg(not(target_os = "linux"))]
pub(super) fn reap_if_first_process(_: &Rc<Server>) {}

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::HashSet;
    use std::io::{self, Read};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;
    use std::rc::Rc;

    use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
    use signal_hook::consts::SIGCHLD;
    use tidewaiter::Watch;
    use tidewaiter::port::Interest;

    use super::Server;

    /// The children of the thread that calls, which is the one that starts ours and gets the orphans.
    const CHILDREN: &str = "/proc/thread-self/children";

    /// Has orphans reaped whenever a child ends.
    pub(super) fn watch(server: &Rc<Server>) -> io::Result<()> {
        let (mut told, tell) = UnixStream::pair()?;
        told.set_nonblocking(true)?;
        signal_hook::low_level::pipe::register(SIGCHLD, tell)?;
        // Some may have ended before.
        reap(server)?;
        let (descriptor, reaper) = (told.as_raw_fd(), Rc::clone(server));
        let on_end = move |_: &Watch, _| {
            // However many ends it tells of, all are looked for.
            let reaped = told.read(&mut [0; 256]).and_then(|_| reap(&reaper));
            if let Err(error) = reaped {
                log::debug!("orphans: {error}");
            }
        };
        let watched = server.reactor.watch(descriptor, Interest::READABLE, on_end);
        watched.map(|_| ()).map_err(io::Error::other)
    }

    /// Reaps those of the children that have ended and are not ours.
    fn reap(server: &Server) -> io::Result<()> {
        let ours: HashSet<u32> = server.all().iter().filter_map(|it| it.pid()).collect();
        for word in std::fs::read_to_string(CHILDREN)?.split_whitespace() {
            let Some(pid) = word.parse().ok().and_then(Pid::from_raw) else {
                continue;
            };
            if ours.contains(&pid.as_raw_nonzero().get().unsigned_abs()) {
                continue;
            }
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
            if waitid(WaitId::Pid(pid), options)?.is_some() {
                log::debug!(pid = pid.as_raw_nonzero().get(); "reaped an orphan");
            }
        }
        Ok(())
    }
}
