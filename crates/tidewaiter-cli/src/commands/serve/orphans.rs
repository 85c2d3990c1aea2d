//! Reaping orphaned processes, as the first process of a container must.

use std::rc::Rc;

use super::server::Server;

/// Starts to reap orphans if this is the first process of a container. Linux makes that process the parent of every
/// orphan, and no other process reaps them.
///
/// Any other process must not do this: its unknown children belong to the program that called `exec` to become it.
#[cfg(target_os = "linux")]
pub(super) fn reap_if_first_process(server: &Rc<Server>) {
    if std::process::id() != 1 {
        return;
    }
    match linux::watch(server) {
        Ok(()) => log::debug!("this is the first process: reaping orphans"),
        Err(error) => log::warn!("cannot reap orphans, they stay zombies: {error}"),
    }
}

/// Only Linux has such containers.
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

    /// Lists the children of the calling thread. That is the main thread, which starts our children and inherits the
    /// orphans.
    const CHILDREN: &str = "/proc/thread-self/children";

    /// Reaps orphans now and at each SIGCHLD.
    pub(super) fn watch(server: &Rc<Server>) -> io::Result<()> {
        let (mut signalled, signal) = UnixStream::pair()?;
        signalled.set_nonblocking(true)?;
        signal_hook::low_level::pipe::register(SIGCHLD, signal)?;
        // Orphans that ended earlier send no further signal.
        reap(server)?;
        let (descriptor, reaper) = (signalled.as_raw_fd(), Rc::clone(server));
        let on_end = move |_: &Watch, _| {
            // One pass finds all ended children, so the number of signals does not matter.
            let reaped = signalled.read(&mut [0; 256]).and_then(|_| reap(&reaper));
            if let Err(error) = reaped {
                log::debug!("orphans: {error}");
            }
        };
        let watched = server.reactor.watch(descriptor, Interest::READABLE, on_end);
        watched.map(|_| ()).map_err(io::Error::other)
    }

    /// Reaps ended children that belong to no session.
    fn reap(server: &Server) -> io::Result<()> {
        let ours: HashSet<u32> = server.sessions().iter().filter_map(|it| it.pid()).collect();
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
