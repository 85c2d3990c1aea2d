//! A child and its descendants: what holds them together, and what ends them.

use super::Command;

/// The processes that a [signal](crate::Process::signal) did not reach: after a [kill](crate::Process::kill), what is
/// left.
///
/// This is what is known at once. A process that was killed takes a moment to end, and is not counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unreached {
    /// The processes of the tree that were found, but that the OS did not let us signal, by their numbers: programs
    /// that run as another user.
    pub processes: Vec<u32>,
    /// Whether there may be others, which cannot be found: see [`SignalTarget::Tree`](super::SignalTarget::Tree).
    pub may_be_more: bool,
}

impl Command {
    /// Sets whether the child leads a process group of its own (Unix: `setpgid`; Windows:
    /// `CREATE_NEW_PROCESS_GROUP`): true by default. Ctrl-C at our terminal does not reach such a child.
    ///
    /// With false, signals that need the group fail with [`Unsupported`](std::io::ErrorKind::Unsupported): on Unix
    /// every signal to [`SignalTarget::Tree`](super::SignalTarget::Tree), so that
    /// [`Process::kill`](crate::Process::kill) kills the child alone; on Windows
    /// [`Interrupt`](super::Signal::Interrupt) and [`Terminate`](super::Signal::Terminate). A child with a
    /// [`terminal`](Command::terminal) leads a group in any case.
    #[must_use]
    pub fn own_group(mut self, own_group: bool) -> Command {
        self.tree.own_group = own_group;
        self
    }

    /// Unix. Sets whether the child leads a session of its own (`setsid`), and so a process group, whatever
    /// [`own_group`](Command::own_group) says: false by default. Such a child has no controlling terminal, and nothing
    /// that happens to ours reaches it. A child with a [`terminal`](Command::terminal) leads a session in any case.
    ///
    /// Starting such a child fails with [`Unsupported`](std::io::ErrorKind::Unsupported) on Windows and in simulations.
    #[must_use]
    pub fn own_session(mut self, own_session: bool) -> Command {
        self.tree.own_session = own_session;
        self
    }

    /// Linux. Sets whether the child and its descendants have a cgroup of their own, below ours: false by default. They
    /// cannot leave it, so a [kill](crate::Process::kill) reaches all of them, however they forked, and without a look at
    /// the other processes of the machine.
    ///
    /// This needs cgroups of version 2, and that ours was delegated to us, as systemd does for services with
    /// `Delegate=yes` and for a user's own. Where there is none, the child starts without one, and
    /// [`Unreached::may_be_more`] tells so after a signal to its tree. Such a child takes longer to start, the more so the
    /// more memory we have: until it runs its program it has a copy of it, where other children share ours. No effect on
    /// other systems and in simulations.
    ///
    /// The cgroup, `tidewaiter-` with our process ID and a number, is removed when the child's handle is closed and no
    /// process is left in it; if some live on, when a later child's is made or closed.
    #[must_use]
    pub fn own_cgroup(mut self, own_cgroup: bool) -> Command {
        self.tree.own_cgroup = own_cgroup;
        self
    }

    /// Sets whether the OS kills the child when our process ends, however that ends: false by default. A
    /// [detached](crate::Process::detach) child still ends with our process, although it outlives the reactor.
    ///
    /// - Linux: the child alone (`PR_SET_PDEATHSIG`), not its descendants. A program with the set-user-ID or set-group-ID
    ///   bit or with file capabilities lives on, and so does one that asks to. Such children are started on a
    ///   thread of their own, which lasts as long as our process: the OS would otherwise kill them when the thread ends
    ///   that started them. From that thread they inherit what belongs to a thread, such as its CPUs.
    /// - FreeBSD: the child alone (`PROC_PDEATHSIG_CTL`), with the same exceptions.
    /// - Windows: the child and all its descendants (`JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE`).
    ///
    /// Starting such a child fails with [`Unsupported`](std::io::ErrorKind::Unsupported) on other systems and in simulations.
    #[must_use]
    pub fn die_with_parent(mut self, die_with_parent: bool) -> Command {
        self.tree.die_with_parent = die_with_parent;
        self
    }
}
