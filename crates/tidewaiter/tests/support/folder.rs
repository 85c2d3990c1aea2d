//! A folder of its own for a test's files.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use tidewaiter::UnixAddress;

/// A new folder, which is removed with all that it contains when this is dropped.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Folder {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let (process, number) = (std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        // Short: the path of a UNIX socket has about 100 bytes.
        let path = std::env::temp_dir().join(format!("tw-{process}-{number}"));
        std::fs::create_dir(&path).expect("a folder for temporary files");
        Folder(path)
    }

    #[allow(dead_code, reason = "a simulation has no files to look at")]
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The address of a UNIX socket in the folder.
    pub(crate) fn socket(&self, name: &str) -> UnixAddress {
        UnixAddress::from_pathname(self.0.join(name)).expect("a short path")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let removed = std::fs::remove_dir_all(&self.0);
        assert!(removed.is_ok() || std::thread::panicking(), "{removed:?}");
    }
}
