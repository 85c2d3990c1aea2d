//! Processes, as `/proc` shows them.

use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// A process, as it was at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) pid: i32,
    pub(super) parent: i32,
    pub(super) group: i32,
    pub(super) session: i32,
    /// When it was started, in clock ticks since the machine was. Tells it from later processes of the same number.
    pub(super) started: u64,
    /// It has ended, and waits for its parent to notice.
    pub(super) is_zombie: bool,
}

impl Seen {
    /// Looks at the process of this number. `None` if there is none, or if it is hidden from us.
    pub(super) fn look(pid: i32) -> Option<Seen> {
        // A line of numbers, and a name of at most 64 bytes.
        let mut room = [0; 1024];
        let line = read(&format!("/proc/{pid}/stat"), &mut room).ok()?;
        parse(pid, line)
    }

    /// Whether this process is the same as the `other`, seen at another moment.
    pub(super) fn is(&self, other: &Seen) -> bool {
        (self.pid, self.started) == (other.pid, other.started)
    }
}

/// Reads the numbers that follow the name. The name can contain anything, parentheses and spaces included.
pub(super) fn parse(pid: i32, line: &[u8]) -> Option<Seen> {
    let after_name = line.iter().rposition(|byte| *byte == b')')? + 1;
    let text = std::str::from_utf8(&line[after_name..]).ok()?;
    let mut fields = text.split_ascii_whitespace();
    let state = fields.next()?;
    let mut number = || fields.next()?.parse().ok();
    let [parent, group, session] = [number()?, number()?, number()?];
    let started = fields.nth(15)?.parse().ok()?;
    Some(Seen {
        pid,
        parent,
        group,
        session,
        started,
        is_zombie: matches!(state, "Z" | "X" | "x"),
    })
}

/// Returns the numbers of the processes whose parent is the process of this number, as far as the kernel tells.
pub(super) fn children(pid: i32) -> Vec<i32> {
    let tasks = format!("/proc/{pid}/task");
    let mut children = Vec::new();
    for task in numbers_in(&tasks) {
        let list = std::fs::read(format!("{tasks}/{task}/children")).unwrap_or_default();
        children.extend(numbers(&list));
    }
    children
}

/// The numbers in a text, between white space.
pub(super) fn numbers(text: &[u8]) -> impl Iterator<Item = i32> {
    let words = text.split(u8::is_ascii_whitespace);
    words.filter_map(|word| std::str::from_utf8(word).ok()?.parse().ok())
}

/// The entries of a directory that are numbers.
fn numbers_in(directory: &str) -> Vec<i32> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let number = |entry: std::fs::DirEntry| entry.file_name().to_str()?.parse().ok();
    entries.filter_map(number).collect()
}

/// Reads a file of `/proc` into `room`. The kernel writes such a file anew for each reader.
fn read<'a>(path: &str, room: &'a mut [u8]) -> Result<&'a [u8], Errno> {
    let file = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let count = rustix::io::read(file, &mut *room)?;
    Ok(&room[..count])
}

/// How many times longer than a look at all processes takes, its result may be used.
const USES: u32 = 20;

/// All processes of the machine, as they were a moment ago.
///
/// To look at them all takes some microseconds for each. So the result is kept for a moment: signals to a thousand trees
/// at once do not take a thousand looks.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    seen: Vec<Seen>,
    /// When, and how long it took.
    taken: Option<(Instant, Duration)>,
}

impl Survey {
    /// Returns all processes. They may have changed since.
    pub(super) fn recent(&mut self) -> &[Seen] {
        let is_recent = |(at, cost): (Instant, Duration)| at.elapsed() < cost * USES;
        if !self.taken.is_some_and(is_recent) {
            let begun = Instant::now();
            self.seen = numbers_in("/proc")
                .into_iter()
                .filter_map(Seen::look)
                .collect();
            self.taken = Some((Instant::now(), begun.elapsed()));
        }
        &self.seen
    }
}
