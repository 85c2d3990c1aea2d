//! Limits of the OS: how many clients they carry, and errors that mean that one was reached.

use std::io;

use crate::plan::{ClientsMax, ServePlan, Streams};

/// The usual limit on clients.
const CLIENTS: usize = 1000;
/// Descriptors that the server itself needs, while it starts a child, too.
const SPARE_DESCRIPTORS: u64 = 32;

/// Returns how many clients to serve at once: `usize::MAX` for no limit. Logs if the system carries fewer than that.
pub(super) fn clients_max(plan: &ServePlan) -> usize {
    let (wanted, is_default) = match plan.clients_max {
        ClientsMax::Default => (CLIENTS, true),
        ClientsMax::Number(number) => (number, false),
        ClientsMax::Unlimited => return usize::MAX,
    };
    let descriptors = open_files().map(|limit| {
        let room = limit.saturating_sub(SPARE_DESCRIPTORS);
        ("open files", limit, room / descriptors_each(plan))
    });
    // The other half is for what COMMAND and others start.
    let processes =
        processes(plan.confinement.changes_user()).map(|limit| ("processes", limit, limit / 2));
    let limits = [descriptors, processes].into_iter().flatten();
    let Some((kind, limit, carried)) = limits.min_by_key(|(.., carried)| *carried) else {
        return wanted;
    };
    let carried = usize::try_from(carried).unwrap_or(usize::MAX).max(1);
    if carried >= wanted {
        return wanted;
    }
    if !is_default {
        log::warn!(
            "the limit of {limit} {kind} carries {carried} clients at once: further ones may have to wait"
        );
        return wanted;
    }
    log::warn!(
        "serving {carried} clients at once instead of {CLIENTS}: the limit of {limit} {kind} carries no more"
    );
    carried
}

/// The descriptors that a connection needs: its socket, the pipes, and one for the child.
fn descriptors_each(plan: &ServePlan) -> u64 {
    let streams = match plan.streams {
        Streams::Pipes => 4,
        // COMMAND has the socket, but until then we have it.
        Streams::Connection => 2,
        // Standard error has no pipe of its own.
        Streams::Terminal(_) => return 4,
    };
    streams + u64::from(!plan.merge_stderr)
}

/// Raises our limit of descriptors to the hard limit. Each connection needs five, so that the usual limit of 1024
/// allows only 200 clients.
///
/// Children inherit the raised limit, as the help says.
#[cfg(unix)]
pub(super) fn raise() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        log::debug!(
            "the limit of descriptors stays at {:?}: {error}",
            limit.current
        );
    }
}

/// Windows has no such limit.
#[cfg(not(unix))]
pub(super) fn raise() {}

/// Returns the limit on our open descriptors.
#[cfg(unix)]
fn open_files() -> Option<u64> {
    use rustix::process::{Resource, getrlimit};

    getrlimit(Resource::Nofile).current
}

#[cfg(not(unix))]
fn open_files() -> Option<u64> {
    None
}

/// Returns the limit on the processes of the user that runs COMMAND, or of the control group that we are in.
#[cfg(unix)]
fn processes(changes_user: bool) -> Option<u64> {
    use rustix::process::{Resource, geteuid, getrlimit};

    // Root is not limited.
    let limited = !geteuid().is_root() || changes_user;
    let of_user = getrlimit(Resource::Nproc).current.filter(|_| limited);
    [of_user, group_processes()].into_iter().flatten().min()
}

#[cfg(not(unix))]
fn processes(_: bool) -> Option<u64> {
    None
}

/// Returns the limit on the processes of our control group, such as a container's.
#[cfg(target_os = "linux")]
fn group_processes() -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let group = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let file = format!("/sys/fs/cgroup{group}/pids.max");
    std::fs::read_to_string(file).ok()?.trim().parse().ok()
}

#[cfg(all(unix, not(target_os = "linux")))]
fn group_processes() -> Option<u64> {
    None
}

/// Whether an error means that descriptors, processes or memory ran out, so that the same call may succeed later.
#[cfg(unix)]
pub(super) fn is_shortage(error: &io::Error) -> bool {
    use rustix::io::Errno;

    let errors = [Errno::MFILE, Errno::NFILE, Errno::AGAIN, Errno::NOMEM];
    let code = error.raw_os_error();
    errors
        .iter()
        .any(|errno| code == Some(errno.raw_os_error()))
}

#[cfg(not(unix))]
pub(super) fn is_shortage(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::OutOfMemory
}
