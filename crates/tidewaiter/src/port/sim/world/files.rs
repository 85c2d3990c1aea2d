//! The simulated disk: files in memory, by their paths.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::World;
use crate::os::{FileKind, FileMetadata, FileOptions};
use crate::port::sim::faults::{Call, Faults, too_many_open_files};
use crate::port::table::{Key, Table};
use crate::port::{Chunks, FileToOpen};

/// The files of a world, and its directories.
#[derive(Debug, Default)]
pub(super) struct Disk {
    names: BTreeMap<PathBuf, Key>,
    directories: BTreeSet<PathBuf>,
    files: Table<StoredFile>,
}

#[derive(Debug)]
struct StoredFile {
    bytes: Vec<u8>,
    modified: SystemTime,
    /// How many handles are open. A file without a name goes with the last of them.
    handles: usize,
    named: bool,
}

/// The rights of a handle on its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Access {
    reads: bool,
    writes: bool,
    appends: bool,
}

impl Access {
    fn of(options: &FileOptions) -> Access {
        Access {
            reads: options.reads(),
            writes: options.writes_any(),
            appends: options.appends(),
        }
    }
}

impl World {
    /// Opens a file.
    pub(crate) fn open_file(&mut self, asked: &FileToOpen) -> io::Result<(Key, Access)> {
        if let Some(error) = self.requested_failures.take(Call::OpenFile) {
            return Err(error);
        }
        if self.random.chance(self.faults.open_failures) {
            return Err(too_many_open_files());
        }
        let options = &asked.options;
        let found = self.disk.names.get(&asked.path).copied();
        let key = match found {
            Some(_) if options.creates_new() => return Err(io::ErrorKind::AlreadyExists.into()),
            Some(key) => key,
            None if self.disk.is_directory(&asked.path) => {
                return Err(io::ErrorKind::IsADirectory.into());
            }
            None if options.creates() || options.creates_new() => self.create_file(&asked.path)?,
            None => return Err(io::ErrorKind::NotFound.into()),
        };
        let modified = self.wall_clock();
        let file = self.disk.file_mut(key);
        file.handles += 1;
        if options.truncates() {
            file.bytes.clear();
            file.modified = modified;
        }
        Ok((key, Access::of(options)))
    }

    fn create_file(&mut self, path: &Path) -> io::Result<Key> {
        match path.parent() {
            Some(parent) if self.disk.is_directory(parent) => {}
            _ => return Err(io::ErrorKind::NotFound.into()),
        }
        let modified = self.wall_clock();
        let key = self.disk.files.insert(StoredFile {
            bytes: Vec::new(),
            modified,
            handles: 0,
            named: true,
        });
        self.disk.names.insert(path.to_owned(), key);
        Ok(key)
    }

    /// Closes a handle of a file.
    pub(crate) fn close_file(&mut self, key: Key) {
        self.disk.file_mut(key).handles -= 1;
        self.disk.drop_if_unused(key);
    }

    /// Reads at `offset` into the memory that `into` has room for.
    pub(crate) fn read_file(
        &mut self,
        key: Key,
        access: Access,
        offset: u64,
        into: &mut Vec<u8>,
    ) -> io::Result<()> {
        self.file_failure(Call::ReadFile)?;
        if !access.reads {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        into.clear();
        let file = self.disk.file(key);
        let from = usize::try_from(offset).map_or(file.bytes.len(), |at| at.min(file.bytes.len()));
        let most = (file.bytes.len() - from).min(into.capacity());
        let count = Faults::shorten(most, self.faults.short_reads, &mut self.random);
        into.extend_from_slice(&file.bytes[from..from + count]);
        Ok(())
    }

    /// Writes some of `data` at `offset` or at the end; returns how many bytes.
    pub(crate) fn write_file(
        &mut self,
        key: Key,
        access: Access,
        offset: Option<u64>,
        data: &Chunks,
    ) -> io::Result<usize> {
        self.file_failure(Call::WriteFile)?;
        if !access.writes {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let len = self.disk.file(key).bytes.len();
        let at = match offset {
            Some(offset) if !access.appends => usize::try_from(offset).unwrap_or(usize::MAX),
            _ => len,
        };
        // Bytes over old ones need no room, and a gap needs as much as bytes.
        let end = len.saturating_add(self.disk_room());
        let most = data.len().min(end.saturating_sub(at));
        if most == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let count = Faults::shorten(most, self.faults.short_writes, &mut self.random);
        let modified = self.wall_clock();
        let file = self.disk.file_mut(key);
        file.modified = modified;
        if file.bytes.len() < at + count {
            file.bytes.resize(at + count, 0);
        }
        let from = data.slices().flatten().take(count);
        for (into, from) in file.bytes[at..at + count].iter_mut().zip(from) {
            *into = *from;
        }
        Ok(count)
    }

    pub(crate) fn sync_file(&mut self) -> io::Result<()> {
        self.file_failure(Call::SyncFile)
    }

    pub(crate) fn file_metadata(&self, key: Key) -> FileMetadata {
        let file = self.disk.file(key);
        let mut metadata = FileMetadata::new(file.bytes.len() as u64, FileKind::File);
        metadata.modified = Some(file.modified);
        metadata
    }

    pub(crate) fn set_file_len(&mut self, key: Key, access: Access, len: u64) -> io::Result<()> {
        if !access.writes {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let longer = len.saturating_sub(self.disk.file(key).bytes.len());
        if longer > self.disk_room() {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let modified = self.wall_clock();
        let file = self.disk.file_mut(key);
        file.bytes.resize(len, 0);
        file.modified = modified;
        Ok(())
    }

    /// Stores a file under `path`, and makes the directories on the way. An open file of that name keeps its bytes.
    pub(crate) fn store_file(&mut self, path: &Path, bytes: Vec<u8>) {
        self.erase_file(path);
        if let Some(parent) = path.parent() {
            self.create_directory(parent);
        }
        let key = self.create_file(path).expect("its directory exists now");
        self.disk.file_mut(key).bytes = bytes;
    }

    /// Whether there is a file or a directory at `path`.
    pub(super) fn has_file(&self, path: &Path) -> bool {
        self.disk.names.contains_key(path) || self.disk.is_directory(path)
    }

    pub(crate) fn stored_file(&self, path: &Path) -> Option<Vec<u8>> {
        let key = *self.disk.names.get(path)?;
        Some(self.disk.file(key).bytes.clone())
    }

    /// Takes a file's name away; returns whether there was such a file.
    pub(crate) fn erase_file(&mut self, path: &Path) -> bool {
        let Some(key) = self.disk.names.remove(path) else {
            return false;
        };
        self.disk.file_mut(key).named = false;
        self.disk.drop_if_unused(key);
        true
    }

    pub(crate) fn create_directory(&mut self, path: &Path) {
        let all = path.ancestors().map(Path::to_owned);
        self.disk.directories.extend(all);
    }

    fn file_failure(&mut self, call: Call) -> io::Result<()> {
        if let Some(error) = self.requested_failures.take(call) {
            return Err(error);
        }
        if self.random.chance(self.faults.disk_failures) {
            return Err(io::Error::other("the disk failed (simulated)"));
        }
        Ok(())
    }

    /// How many more bytes the disk takes.
    fn disk_room(&self) -> usize {
        let files = self.disk.files.iter();
        let used: usize = files.map(|(_, file)| file.bytes.len()).sum();
        self.faults.disk_bytes.saturating_sub(used)
    }

    /// The time of day: as if the world had been made at the beginning of 1970.
    fn wall_clock(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + self.elapsed
    }
}

impl Disk {
    fn is_directory(&self, path: &Path) -> bool {
        // The root, and the working directory.
        path.parent().is_none() || self.directories.contains(path)
    }

    fn file(&self, key: Key) -> &StoredFile {
        self.files.get(key).expect("a held file is there")
    }

    fn file_mut(&mut self, key: Key) -> &mut StoredFile {
        self.files.get_mut(key).expect("a held file is there")
    }

    fn drop_if_unused(&mut self, key: Key) {
        let file = self.file(key);
        if file.handles == 0 && !file.named {
            self.files.remove(key);
        }
    }
}
