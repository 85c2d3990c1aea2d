//! Changes in directories on Linux: one inotify descriptor for all watches of a port.
//!
//! inotify watches single directories. A tree is read when its watch begins, and so is each directory that appears in it:
//! what was created there before it was watched is found that way.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;

use crate::port::directory::{Change, DirectoryOptions, changed, gone};
use crate::port::table::Key;
use crate::port::{Completion, Operation, Token};

/// The most events that one turn reads.
const EVENTS_MAX: usize = 1024;

/// The room for one read: some tens of events at least.
const READ_BYTES: usize = 16 * 1024;

/// The watched directories.
#[derive(Default)]
pub(in super::super) struct Directories {
    /// Created when first needed.
    inotify: Option<OwnedFd>,
    watches: HashMap<Key, Watch>,
    /// The places of each directory that inotify watches. Several watches may include one directory.
    places: HashMap<i32, Vec<Place>>,
    /// The first half of a rename, if it was the last event: one for each watch that includes the directory.
    moved: Option<Moved>,
    /// The entries that were found in new directories and reported. The events of its creation are still in the queue.
    found: HashSet<(Key, PathBuf)>,
}

/// The watch of a directory or a tree.
struct Watch {
    token: Token,
    root: PathBuf,
    tree: bool,
    /// Changes to report.
    changes: Vec<Change>,
}

impl Watch {
    fn has_ended(&self) -> bool {
        matches!(self.changes.last(), Some(Change::Ended(_)))
    }
}

/// A directory, as one of the watches sees it.
#[derive(Clone)]
struct Place {
    operation: Key,
    /// The path from the watched directory; empty for that itself.
    path: PathBuf,
}

struct Moved {
    cookie: u32,
    is_directory: bool,
    places: Vec<Place>,
}

/// An event, copied out of the memory that was read.
struct Event {
    directory: i32,
    flags: ReadFlags,
    cookie: u32,
    name: PathBuf,
}

impl Directories {
    pub(in super::super) fn add(
        &mut self,
        operation: Key,
        options: &DirectoryOptions,
        token: Token,
    ) -> io::Result<()> {
        if self.inotify.is_none() {
            let flags = CreateFlags::CLOEXEC | CreateFlags::NONBLOCK;
            self.inotify = Some(inotify::init(flags)?);
        }
        let watch = Watch {
            token,
            root: options.path.clone(),
            tree: options.tree,
            changes: Vec::new(),
        };
        self.watches.insert(operation, watch);
        let added = self.add_directory(operation, Path::new(""));
        let added = added.and_then(|()| self.add_below(operation, Path::new(""), false));
        if added.is_err() {
            self.remove(operation);
        }
        added
    }

    /// Ends a watch; returns its token if there is one.
    pub(in super::super) fn remove(&mut self, operation: Key) -> Option<Token> {
        let watch = self.watches.remove(&operation)?;
        self.remove_places(|place| place.operation == operation);
        Some(watch.token)
    }

    /// The descriptor that is readable when there is something to collect.
    pub(in super::super) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.inotify.as_ref().map(OwnedFd::as_fd)
    }

    /// Reads the events that are there, and reports them: one completion for each watch that has changes.
    pub(in super::super) fn collect(&mut self) -> Vec<Completion> {
        let mut read = 0;
        while read < EVENTS_MAX {
            match self.read() {
                Ok(events) if events.is_empty() => {
                    self.found.clear();
                    if self.moved.is_none() {
                        break;
                    }
                    // The kernel may be about to record the second half.
                    std::thread::yield_now();
                    let rest = self.read().unwrap_or_default();
                    if rest.is_empty() {
                        self.end_move();
                    }
                    rest.iter().for_each(|event| self.happened(event));
                }
                Ok(events) => {
                    read += events.len();
                    events.iter().for_each(|event| self.happened(event));
                }
                Err(error) => {
                    log::error!("port: inotify cannot be read: {error}");
                    break;
                }
            }
        }
        self.report()
    }

    fn read(&self) -> io::Result<Vec<Event>> {
        let Some(inotify) = &self.inotify else {
            return Ok(Vec::new());
        };
        let mut memory = [MaybeUninit::uninit(); READ_BYTES];
        let (mut reader, mut events) = (Reader::new(inotify, &mut memory), Vec::new());
        loop {
            match reader.next() {
                Ok(event) => events.push(Event {
                    directory: event.wd(),
                    flags: event.events(),
                    cookie: event.cookie(),
                    name: event.file_name().map_or_else(PathBuf::new, |name| {
                        PathBuf::from(OsStr::from_bytes(name.to_bytes()))
                    }),
                }),
                Err(Errno::AGAIN) => return Ok(events),
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            if reader.is_buffer_empty() {
                return Ok(events);
            }
        }
    }

    fn report(&mut self) -> Vec<Completion> {
        let mut reports = Vec::new();
        let with_changes = self.watches.iter_mut();
        for (operation, watch) in with_changes.filter(|(_, watch)| !watch.changes.is_empty()) {
            let changes = std::mem::take(&mut watch.changes);
            reports.push(changed(Operation(*operation), watch.token, changes));
        }
        for ended in reports.iter().filter(|report| !report.more) {
            self.remove(ended.operation.0);
        }
        reports
    }

    fn happened(&mut self, event: &Event) {
        let ends_move = event.flags.contains(ReadFlags::MOVED_TO)
            && (self.moved.as_ref()).is_some_and(|moved| moved.cookie == event.cookie);
        if !ends_move {
            self.end_move();
        }
        if event.flags.contains(ReadFlags::QUEUE_OVERFLOW) {
            return self.overflowed();
        }
        if event.flags.contains(ReadFlags::IGNORED) {
            self.places.remove(&event.directory);
            return;
        }
        let Some(places) = self.places.get(&event.directory).cloned() else {
            return;
        };
        let ends = ReadFlags::DELETE_SELF | ReadFlags::MOVE_SELF | ReadFlags::UNMOUNT;
        if event.flags.intersects(ends) {
            for place in places.iter().filter(|place| place.path == Path::new("")) {
                self.change(place.operation, Change::Ended(gone()));
            }
            return;
        }
        if event.name == Path::new("") {
            return;
        }
        let is_directory = event.flags.contains(ReadFlags::ISDIR);
        let places: Vec<Place> = (places.into_iter())
            .map(|place| Place {
                path: place.path.join(&event.name),
                ..place
            })
            .collect();
        if event.flags.contains(ReadFlags::MOVED_FROM) {
            self.moved = Some(Moved {
                cookie: event.cookie,
                is_directory,
                places,
            });
            return;
        }
        for place in places {
            self.happened_at(place, event.flags, is_directory);
        }
        self.end_move();
    }

    fn happened_at(&mut self, place: Place, flags: ReadFlags, is_directory: bool) {
        let Place { operation, path } = place;
        if flags.contains(ReadFlags::DELETE) {
            self.change(operation, Change::Removed(path));
        } else if flags.contains(ReadFlags::MODIFY) {
            self.change(operation, Change::Modified(path));
        } else if flags.contains(ReadFlags::ATTRIB) {
            self.change(operation, Change::AttributesChanged(path));
        } else if let Some(from) = self.moved_from(operation, flags) {
            if is_directory {
                self.rename_places(operation, &from, &path);
            }
            self.change(operation, Change::Renamed { from, to: path });
        } else if !self.found.remove(&(operation, path.clone())) {
            self.change(operation, Change::Created(path.clone()));
            if is_directory {
                self.follow(operation, &path);
            }
        }
    }

    /// The old path of what was moved, if the same watch includes it.
    fn moved_from(&mut self, operation: Key, flags: ReadFlags) -> Option<PathBuf> {
        let moved = self.moved.as_mut()?;
        let of_watch = |place: &Place| place.operation == operation;
        let index = moved.places.iter().position(of_watch)?;
        (flags.contains(ReadFlags::MOVED_TO)).then(|| moved.places.swap_remove(index).path)
    }

    /// The second half of a rename did not come: what was moved is outside now.
    fn end_move(&mut self) {
        let Some(moved) = self.moved.take() else {
            return;
        };
        for Place { operation, path } in moved.places {
            if moved.is_directory {
                let inside =
                    |place: &Place| place.operation == operation && place.path.starts_with(&path);
                self.remove_places(inside);
            }
            self.change(operation, Change::Removed(path));
        }
    }

    /// The kernel dropped events, maybe those of new directories.
    fn overflowed(&mut self) {
        self.found.clear();
        let watches: Vec<Key> = self.watches.keys().copied().collect();
        for operation in watches {
            self.change(operation, Change::Overflowed);
            if let Err(error) = self.add_below(operation, Path::new(""), false) {
                self.change(operation, Change::Ended(error));
            }
        }
    }

    /// Notes a change to report; nothing follows an end.
    fn change(&mut self, operation: Key, change: Change) {
        let watch = self.watches.get_mut(&operation);
        if let Some(watch) = watch.filter(|watch| !watch.has_ended()) {
            watch.changes.push(change);
        }
    }

    /// Watches a directory that has appeared in a tree, and reports what is in it.
    fn follow(&mut self, operation: Key, path: &Path) {
        if !self.watches[&operation].tree {
            return;
        }
        let added = self.add_directory(operation, path);
        let added = added.and_then(|()| self.add_below(operation, path, true));
        match added {
            // Gone again, not a directory any more, or not ours to read: then there is nothing to watch.
            Err(error) if is_passable(&error) => {
                log::debug!("port: {} is not watched: {error}", path.display());
            }
            Err(error) => self.change(operation, Change::Ended(error)),
            Ok(()) => {}
        }
    }

    /// Watches the directories in the directory at `path`, and those in them. Reports all that is there if asked to.
    fn add_below(&mut self, operation: Key, path: &Path, report: bool) -> io::Result<()> {
        let watch = &self.watches[&operation];
        if !watch.tree {
            return Ok(());
        }
        let root = watch.root.clone();
        let mut left = vec![path.to_owned()];
        while let Some(directory) = left.pop() {
            let entries = match fs::read_dir(root.join(&directory)) {
                Ok(entries) => entries,
                Err(error) if is_passable(&error) => continue,
                Err(error) => return Err(error),
            };
            for entry in entries.flatten() {
                let path = directory.join(entry.file_name());
                if report {
                    self.change(operation, Change::Created(path.clone()));
                    self.found.insert((operation, path.clone()));
                }
                if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    continue;
                }
                match self.add_directory(operation, &path) {
                    Ok(()) => left.push(path),
                    Err(error) if is_passable(&error) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    fn add_directory(&mut self, operation: Key, path: &Path) -> io::Result<()> {
        let inotify = self.inotify.as_ref().expect("it was created");
        let mut flags = WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MODIFY
            | WatchFlags::ATTRIB
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        let full = self.watches[&operation].root.join(path);
        flags.set(WatchFlags::DONT_FOLLOW, path != Path::new(""));
        let directory = inotify::add_watch(inotify, &full, flags)?;
        let places = self.places.entry(directory).or_default();
        let is_there = |place: &Place| place.operation == operation && place.path == path;
        if !places.iter().any(is_there) {
            places.push(Place {
                operation,
                path: path.to_owned(),
            });
        }
        Ok(())
    }

    /// Forgets the places that `is_gone` names, and has inotify forget the directories that are left without any.
    fn remove_places(&mut self, is_gone: impl Fn(&Place) -> bool) {
        let inotify = &self.inotify;
        self.places.retain(|directory, places| {
            places.retain(|place| !is_gone(place));
            if places.is_empty()
                && let Some(inotify) = inotify
            {
                // Fails if the directory is gone, which has removed it.
                let _ = inotify::remove_watch(inotify, *directory);
            }
            !places.is_empty()
        });
    }

    /// A directory of a tree has another path now, and so have those in it.
    fn rename_places(&mut self, operation: Key, from: &Path, to: &Path) {
        for place in self.places.values_mut().flatten() {
            if place.operation == operation
                && let Ok(below) = place.path.strip_prefix(from)
            {
                place.path = match below == Path::new("") {
                    true => to.to_owned(),
                    false => to.join(below),
                };
            }
        }
    }

    /// Watches everything anew in a copy of the process, which shares the descriptor with the original. What happened
    /// between is not known.
    pub(in super::super) fn renew(&mut self) -> io::Result<()> {
        if self.inotify.is_none() {
            return Ok(());
        }
        let flags = CreateFlags::CLOEXEC | CreateFlags::NONBLOCK;
        self.inotify = Some(inotify::init(flags)?);
        self.places.clear();
        self.moved = None;
        self.found.clear();
        let watches: Vec<Key> = self.watches.keys().copied().collect();
        for operation in watches {
            self.change(operation, Change::Overflowed);
            let added = self.add_directory(operation, Path::new(""));
            let added = added.and_then(|()| self.add_below(operation, Path::new(""), false));
            if let Err(error) = added {
                self.change(operation, Change::Ended(error));
            }
        }
        Ok(())
    }
}

/// Whether a part of a tree that fails so is left out.
fn is_passable(error: &io::Error) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
    matches!(error.kind(), NotFound | NotADirectory | PermissionDenied)
        || error.raw_os_error() == Some(libc::ELOOP)
}
