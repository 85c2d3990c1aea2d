//! Changes in directories: one read of them at a time is under way for each watch.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::os::windows::ffi::OsStringExt;
use std::os::windows::fs::OpenOptionsExt;
use std::os::windows::io::{AsRawHandle, OwnedHandle};
use std::path::PathBuf;
use std::ptr::{self, NonNull};

use windows_sys::Win32::Foundation::ERROR_ACCESS_DENIED;
use windows_sys::Win32::Storage::FileSystem::{
    FILE_ACTION_ADDED, FILE_ACTION_REMOVED, FILE_ACTION_RENAMED_NEW_NAME,
    FILE_ACTION_RENAMED_OLD_NAME, FILE_FLAG_BACKUP_SEMANTICS, FILE_FLAG_OVERLAPPED,
    FILE_LIST_DIRECTORY, FILE_NOTIFY_CHANGE_ATTRIBUTES, FILE_NOTIFY_CHANGE_CREATION,
    FILE_NOTIFY_CHANGE_DIR_NAME, FILE_NOTIFY_CHANGE_FILE_NAME, FILE_NOTIFY_CHANGE_LAST_WRITE,
    FILE_NOTIFY_CHANGE_SECURITY, FILE_NOTIFY_CHANGE_SIZE, FILE_SHARE_DELETE, FILE_SHARE_READ,
    FILE_SHARE_WRITE, ReadDirectoryChangesW,
};
use windows_sys::Win32::System::IO::{CancelIoEx, OVERLAPPED};

use super::Iocp;
use super::pending::Pending;
use super::record::status_of;
use super::wait::check;
use crate::port::directory::{Change, DirectoryOptions, changed, gone};
use crate::port::table::Key;
use crate::port::{Failure, Operation, RequestKind, Token};

/// The words that one read has room for. Windows keeps as much between two reads; file servers take no more than 64 KiB.
const WORDS: usize = 8 * 1024;

const CHANGES: u32 = FILE_NOTIFY_CHANGE_FILE_NAME
    | FILE_NOTIFY_CHANGE_DIR_NAME
    | FILE_NOTIFY_CHANGE_ATTRIBUTES
    | FILE_NOTIFY_CHANGE_SIZE
    | FILE_NOTIFY_CHANGE_LAST_WRITE
    | FILE_NOTIFY_CHANGE_CREATION
    | FILE_NOTIFY_CHANGE_SECURITY;

/// The watched directories.
#[derive(Default)]
pub(super) struct Directories {
    watches: HashMap<Key, DirectoryWatch>,
    /// The watches of the reads under way, by their addresses.
    reads: HashMap<usize, Key>,
}

impl Directories {
    /// The number of reads whose memory Windows holds.
    pub(super) fn lent_reads(&self) -> usize {
        self.reads.len()
    }
}

struct DirectoryWatch {
    directory: OwnedHandle,
    tree: bool,
    read: Option<LentRead>,
    /// The first half of a rename, whose second half is yet to come.
    renamed_from: Option<PathBuf>,
}

/// All memory that Windows may access for a read. The words are aligned as Windows wants it.
#[repr(C)]
struct Read {
    overlapped: OVERLAPPED,
    words: [u32; WORDS],
}

/// A read that Windows holds. Dropping this leaks it, which is the last resort if Windows does not return it.
#[must_use = "the system holds the record until its packet is seen"]
struct LentRead(NonNull<Read>);

impl LentRead {
    fn start(watch: &OwnedHandle, tree: bool) -> io::Result<LentRead> {
        let read = Box::new(Read {
            overlapped: OVERLAPPED::default(),
            words: [0; WORDS],
        });
        let lent = LentRead(NonNull::from(Box::leak(read)));
        let bytes = u32::try_from(size_of::<[u32; WORDS]>()).expect("it is small");
        // SAFETY: the record is leaked, so it is alive; this takes an address inside it, not a reference.
        let words = unsafe { &raw mut (*lent.0.as_ptr()).words };
        // SAFETY: the handle is open. The memory and the OVERLAPPED belong to the lent record, which stays allocated
        // until the packet.
        let begun = unsafe {
            ReadDirectoryChangesW(
                watch.as_raw_handle(),
                words.cast(),
                bytes,
                tree.into(),
                CHANGES,
                ptr::null_mut(),
                lent.overlapped(),
                None,
            )
        };
        if begun == 0 {
            let error = io::Error::last_os_error();
            // SAFETY: the call failed, which posts no packet: Windows is done with the record.
            drop(unsafe { lent.reclaim() });
            return Err(error);
        }
        Ok(lent)
    }

    fn overlapped(&self) -> *mut OVERLAPPED {
        self.0.cast().as_ptr()
    }

    /// Takes the record back.
    ///
    /// # Safety
    ///
    /// Windows no longer reads or writes the record.
    unsafe fn reclaim(self) -> Box<Read> {
        // SAFETY: `start` leaked this very box, and nothing else refers to it (caller).
        unsafe { Box::from_raw(self.0.as_ptr()) }
    }
}

impl Iocp {
    pub(super) fn begin_directory_watch(
        &mut self,
        options: &DirectoryOptions,
        token: Token,
    ) -> io::Result<Operation> {
        let mut how = std::fs::OpenOptions::new();
        how.access_mode(FILE_LIST_DIRECTORY);
        how.share_mode(FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE);
        how.custom_flags(FILE_FLAG_BACKUP_SEMANTICS | FILE_FLAG_OVERLAPPED);
        let directory = how.open(&options.path)?;
        if !directory.metadata()?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        let mut watch = DirectoryWatch {
            directory: directory.into(),
            tree: options.tree,
            read: None,
            renamed_from: None,
        };
        self.queue
            .associate_changes(watch.directory.as_raw_handle())?;
        let read = LentRead::start(&watch.directory, watch.tree)?;
        let pending = Pending::new(Key::from_u64(0), token, RequestKind::Watch);
        let operation = self.operations.insert(pending);
        let directories = &mut self.watches.directories;
        directories
            .reads
            .insert(read.overlapped().addr(), operation);
        watch.read = Some(read);
        directories.watches.insert(operation, watch);
        self.in_flight += 1;
        Ok(Operation(operation))
    }

    /// Processes the packet of a read.
    pub(super) fn finish_changes(&mut self, overlapped: *mut OVERLAPPED) {
        let directories = &mut self.watches.directories;
        let Some(operation) = directories.reads.remove(&overlapped.addr()) else {
            return self.stale += 1;
        };
        let watch = directories.watches.get_mut(&operation);
        let watch = watch.expect("a watch lives until its read is back");
        let read = watch.read.take().expect("its address was noted");
        // SAFETY: a read has one packet, which was dequeued just now.
        let read = unsafe { read.reclaim() };
        let pending = self.operations.get(operation).expect("it is watched");
        if pending.ending.is_some() {
            directories.watches.remove(&operation);
            return self.end_watch(operation, Err(Failure::Cancelled));
        }
        let token = pending.token;
        let mut changes = watch.changes(&read);
        if !matches!(changes.last(), Some(Change::Ended(_))) {
            match LentRead::start(&watch.directory, watch.tree) {
                Ok(read) => {
                    directories
                        .reads
                        .insert(read.overlapped().addr(), operation);
                    watch.read = Some(read);
                }
                Err(error) => changes.push(Change::Ended(end(error))),
            }
        }
        if changes.is_empty() {
            return;
        }
        let report = changed(Operation(operation), token, changes);
        if !report.more {
            directories.watches.remove(&operation);
            self.operations.remove(operation);
        }
        self.done.push_back(report);
    }

    /// Cancels a watch of a directory; returns false if `operation` is none.
    pub(super) fn cancel_directory_watch(&mut self, operation: Key) -> bool {
        let Some(watch) = self.watches.directories.watches.get(&operation) else {
            return false;
        };
        let pending = self.operations.get_mut(operation).expect("it is watched");
        pending.ending = Some(Failure::Cancelled);
        if let Some(read) = &watch.read {
            // SAFETY: the handle is open; the address only identifies the read. A failure means that it has completed.
            unsafe { CancelIoEx(watch.directory.as_raw_handle(), read.overlapped()) };
        }
        true
    }

    pub(super) fn cancel_directory_watches(&mut self) {
        let watched: Vec<Key> = self.watches.directories.watches.keys().copied().collect();
        for operation in watched {
            self.cancel_directory_watch(operation);
        }
    }
}

impl DirectoryWatch {
    /// The changes that a read has brought.
    fn changes(&mut self, read: &Read) -> Vec<Change> {
        let status = status_of(&read.overlapped);
        if let Err(error) = check(status) {
            return vec![Change::Ended(end(error))];
        }
        let bytes = read.overlapped.InternalHigh.min(size_of_val(&read.words));
        if bytes == 0 {
            // There was no room for the changes.
            let renamed = self.renamed_from.take().map(Change::Removed);
            return renamed.into_iter().chain([Change::Overflowed]).collect();
        }
        let mut changes = Vec::new();
        for (action, path) in Records(Some(&units(&read.words, bytes))) {
            match action {
                FILE_ACTION_ADDED => changes.push(Change::Created(path)),
                FILE_ACTION_REMOVED => changes.push(Change::Removed(path)),
                FILE_ACTION_RENAMED_OLD_NAME => self.renamed_from = Some(path),
                FILE_ACTION_RENAMED_NEW_NAME => changes.push(match self.renamed_from.take() {
                    Some(from) => Change::Renamed { from, to: path },
                    None => Change::Created(path),
                }),
                _ => changes.push(Change::Modified(path)),
            }
        }
        changes
    }
}

/// The end that an error means: Windows refuses access to a directory that is removed.
fn end(error: io::Error) -> io::Error {
    match error.raw_os_error().map(i32::cast_unsigned) {
        Some(ERROR_ACCESS_DENIED) => gone(),
        _ => error,
    }
}

/// The records of a read (`FILE_NOTIFY_INFORMATION`): the actions and the paths. Read by UTF-16 units, because Wine does not
/// align the records.
struct Records<'a>(Option<&'a [u16]>);

impl Iterator for Records<'_> {
    type Item = (u32, PathBuf);

    fn next(&mut self) -> Option<(u32, PathBuf)> {
        let units = self.0.take()?;
        let number =
            |at: usize| Some(u32::from(*units.get(at)?) | u32::from(*units.get(at + 1)?) << 16);
        let (next, action, bytes) = (number(0)?, number(2)?, number(4)?);
        let name = units[6..].iter().copied().take(bytes as usize / 2);
        let name: Vec<u16> = name.collect();
        if next > 0 {
            self.0 = units.get(next as usize / 2..);
        }
        Some((action, PathBuf::from(OsString::from_wide(&name))))
    }
}

/// The first `bytes` of the words, as UTF-16 units.
fn units(words: &[u32], bytes: usize) -> Vec<u16> {
    let halves = |word: &u32| {
        let [a, b, c, d] = word.to_ne_bytes();
        [u16::from_ne_bytes([a, b]), u16::from_ne_bytes([c, d])]
    };
    words.iter().flat_map(halves).take(bytes / 2).collect()
}

#[cfg(test)]
mod tests {
    use super::{FILE_ACTION_ADDED, FILE_ACTION_REMOVED, Records};
    use std::ffi::OsString;
    use std::os::windows::ffi::OsStringExt;

    /// Goal: names are exact, also those that are no text.
    #[test]
    fn records_are_read_with_their_exact_names() {
        let padding = 0;
        let [action, other] = [FILE_ACTION_ADDED, FILE_ACTION_REMOVED]
            .map(|action| u16::try_from(action).expect("it is small"));
        // "ab" and half a pair; then "c".
        let mut records = vec![20, 0, action, 0, 6, 0, 0x61, 0x62, 0xd800, padding];
        records.extend([0, 0, other, 0, 2, 0, 0x63]);
        let records: Vec<_> = Records(Some(&records)).collect();
        let odd = OsString::from_wide(&[0x61, 0x62, 0xd800]);
        assert_eq!(records[0], (FILE_ACTION_ADDED, odd.into()));
        assert_eq!(records[1], (FILE_ACTION_REMOVED, "c".into()));
        assert_eq!(records.len(), 2);
    }
}
