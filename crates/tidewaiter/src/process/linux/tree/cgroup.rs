//! A cgroup of a child's own: no process leaves it, whatever it does to its group, session and parents.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::proc::numbers;

/// Tells the cgroups of this process apart.
static COUNT: AtomicU64 = AtomicU64::new(0);

/// Cgroups that were not empty when their children's handles were closed, and are to be removed later.
static LEFT: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// How many of them to look at for each one that is made or closed.
const TRIES: usize = 4;

/// A new cgroup, and the two ways into it.
pub(crate) struct Entry {
    cgroup: Cgroup,
    /// The cgroup itself, for the kernel to start a process in it.
    directory: OwnedFd,
    /// The file by which a process moves itself into it.
    processes: OwnedFd,
}

impl Entry {
    /// Makes a cgroup.
    ///
    /// # Errors
    ///
    /// There is no cgroup (version 2) that is ours to change.
    pub(crate) fn new() -> io::Result<Entry> {
        let cgroup = Cgroup::new()?;
        let open =
            |path: &Path, flags| rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::empty());
        let directory = open(&cgroup.directory, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let processes = open(&cgroup.directory.join(PROCESSES), OFlags::WRONLY)?;
        Ok(Entry {
            cgroup,
            directory,
            processes,
        })
    }

    /// Moves this process into the cgroup.
    pub(crate) fn enter(&self) -> Result<(), Errno> {
        rustix::io::write(&self.processes, b"0").map(drop)
    }

    /// Makes it a cgroup in which the kernel cannot start a process.
    #[cfg(test)]
    pub(super) fn without_clone(mut self) -> Entry {
        let other = rustix::fs::open("/", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        self.directory = other.expect("there is a root");
        self
    }

    pub(crate) fn into_cgroup(self) -> Cgroup {
        self.cgroup
    }
}

impl AsFd for Entry {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

/// The file of a cgroup that lists its processes.
const PROCESSES: &str = "cgroup.procs";

/// A cgroup. Dropping it removes it, now or once it is empty, and ends no process.
#[derive(Debug)]
pub(crate) struct Cgroup {
    directory: PathBuf,
}

impl Cgroup {
    /// Makes a cgroup below our own.
    ///
    /// # Errors
    ///
    /// There is no cgroup (version 2) that is ours to change.
    fn new() -> io::Result<Cgroup> {
        remove_left();
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("tidewaiter-{}-{count}", std::process::id());
        let directory = own_directory()?.join(name);
        if let Err(error) = fs::create_dir(&directory) {
            // An earlier process of our number can have left it. In use, it cannot be removed.
            if error.kind() != io::ErrorKind::AlreadyExists {
                return Err(error);
            }
            fs::remove_dir(&directory)?;
            fs::create_dir(&directory)?;
        }
        Ok(Cgroup { directory })
    }

    /// Has the kernel kill all processes at once. Linux 5.14 and later.
    pub(super) fn kill(&self) -> io::Result<()> {
        fs::write(self.directory.join("cgroup.kill"), "1")
    }

    #[cfg(test)]
    pub(super) fn path(&self) -> PathBuf {
        self.directory.clone()
    }

    /// The processes in it that have not ended.
    pub(super) fn processes(&self) -> io::Result<Vec<i32>> {
        let list = fs::read(self.directory.join(PROCESSES))?;
        Ok(numbers(&list).collect())
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        remove_left();
        if !is_removed(&self.directory) {
            let directory = std::mem::take(&mut self.directory);
            left().push(directory);
        }
    }
}

fn left() -> std::sync::MutexGuard<'static, Vec<PathBuf>> {
    LEFT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes some of the cgroups that are empty by now.
fn remove_left() {
    let mut left = left();
    let count = left.len().min(TRIES);
    let tried: Vec<_> = left.drain(..count).collect();
    left.extend(tried.into_iter().filter(|directory| !is_removed(directory)));
}

/// Removes a cgroup. Returns false if it is still in use.
fn is_removed(directory: &Path) -> bool {
    match fs::remove_dir(directory) {
        Err(error) => error.kind() != io::ErrorKind::ResourceBusy,
        Ok(()) => true,
    }
}

/// Finds the directory of our own cgroup.
fn own_directory() -> io::Result<PathBuf> {
    let none = || {
        io::Error::new(
            io::ErrorKind::Unsupported,
            "there is no cgroup of version 2",
        )
    };
    let ours = fs::read_to_string("/proc/self/cgroup")?;
    let ours = ours.lines().find_map(|line| line.strip_prefix("0::"));
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let mounted = |line| place_of(line, ours?);
    mounts.lines().find_map(mounted).ok_or_else(none)
}

/// Where a mount shows the cgroup `ours`, if it shows cgroups of version 2. The line is one of `mountinfo`.
fn place_of(line: &str, ours: &str) -> Option<PathBuf> {
    let (mount, system) = line.split_once(" - ")?;
    if !system.starts_with("cgroup2 ") {
        return None;
    }
    let mut fields = mount.split(' ').skip(3);
    let (root, point) = (fields.next()?, fields.next()?);
    let below = Path::new(ours).strip_prefix(root).ok()?;
    Some(Path::new(point).join(below))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_cgroup_is_found_below_what_is_mounted() {
        let line = "32 28 0:27 /sys /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw";
        let expected = Path::new("/sys/fs/cgroup/below").to_owned();
        assert_eq!(place_of(line, "/sys/below"), Some(expected));
        assert_eq!(place_of(line, "/other"), None);
        let older = "33 31 0:30 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu";
        assert_eq!(place_of(older, "/sys"), None);
    }
}
