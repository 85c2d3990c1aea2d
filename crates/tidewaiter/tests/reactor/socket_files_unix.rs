//! The files of UNIX sockets on Unix: their modes and owners, links, forked copies and relative paths.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use tidewaiter::port::ListenOptions;
use tidewaiter::{Error, UnixAddress};

use super::promises::support::reactor;
use super::socket_files::{leave_dead, listen, lock_of, path};
use crate::support::alone::alone;
use crate::support::folder::Folder;
use crate::support::system::{fork, join};

#[test]
fn the_file_has_the_mode_and_is_removed_when_the_listener_closes() {
    let folder = Folder::new();
    let reactor = reactor();
    for mode in [0o600, 0o666, 0o777, 0o000] {
        let mut options = ListenOptions::new(folder.socket("a"));
        options.socket_file.mode = Some(mode);
        let listener = listen(&reactor, options).expect("a free path");
        let file = fs::metadata(folder.path().join("a")).expect("it is there");
        assert_eq!(file.permissions().mode() & 0o7777, mode);
        listener.stop_listening();
        while fs::exists(folder.path().join("a")).expect("it can be told") {
            reactor.iterate(Duration::from_millis(1)).expect("it runs");
        }
    }
    assert_eq!(fs::read_dir(folder.path()).expect("it is there").count(), 0);
}

#[test]
fn the_owner_is_set_or_nothing_is_left() {
    /// No user of this machine, as a rule.
    const STRANGER: u32 = 54_321;
    let folder = Folder::new();
    let reactor = reactor();
    let mut options = ListenOptions::new(folder.socket("a"));
    options.socket_file.owner = Some(STRANGER);
    options.socket_file.group = Some(STRANGER);
    match listen(&reactor, options) {
        // The tests run as root.
        Ok(_listener) => {
            let file = fs::metadata(folder.path().join("a")).expect("it is there");
            assert_eq!((file.uid(), file.gid()), (STRANGER, STRANGER));
        }
        Err(Error::Listen { source, .. }) => {
            assert_eq!(source.kind(), ErrorKind::PermissionDenied);
            assert_eq!(fs::read_dir(folder.path()).expect("it is there").count(), 0);
        }
        Err(other) => panic!("it should not be permitted: {other}"),
    }
}

#[test]
fn a_lock_that_is_no_file_of_ours_is_left_alone() {
    let folder = Folder::new();
    let address = folder.socket("a");
    fs::write(folder.path().join("precious"), "precious").expect("it is written");
    symlink(folder.path().join("precious"), lock_of(&address)).expect("it is made");
    let reactor = reactor();
    let error = listen(&reactor, address.clone()).expect_err("a lock that leads elsewhere");
    assert!(error.to_string().contains("a.lock"), "{error}");
    assert!(!path(&address).exists());
    assert!(folder.path().join("precious").exists());
}

/// Goal: neither a copy that closes the listener nor one that drops everything removes the files. The original does.
#[test]
fn a_forked_copy_removes_no_file() {
    alone(module_path!(), "a_forked_copy_removes_no_file", || {
        let folder = Folder::new();
        let address = folder.socket("a");
        let mut owner = Some(reactor());
        let listener = listen(owner.as_ref().expect("it is there"), address.clone());
        let listener = listener.expect("a free path");
        join(fork(|| {
            listener.stop_listening();
            drop(owner.take());
            drop(listener.clone());
        }));
        UnixStream::connect(path(&address)).expect("its file is there");
        assert!(lock_of(&address).exists());
        drop((owner, listener));
        assert_eq!(fs::read_dir(folder.path()).expect("it is there").count(), 0);
    });
}

/// Goal: a path may be relative, even if the absolute one is longer than an address can be, and it is that of the folder
/// in which the program was when it began to listen.
#[test]
fn the_file_of_a_relative_path_is_removed_from_another_folder() {
    let name = "the_file_of_a_relative_path_is_removed_from_another_folder";
    alone(module_path!(), name, || {
        let folder = Folder::new();
        let deep = folder.path().join("d".repeat(100)).join("d".repeat(100));
        fs::create_dir_all(&deep).expect("it is made");
        std::env::set_current_dir(&deep).expect("it is there");
        leave_dead(Path::new("a"));
        let reactor = reactor();
        let address = UnixAddress::from_pathname("a").expect("a short path");
        let listener = listen(&reactor, address.clone()).expect("nobody lives there");
        assert_eq!(listener.local_addr(), address.into());
        std::env::set_current_dir(folder.path()).expect("it is there");
        drop((listener, reactor));
        assert_eq!(fs::read_dir(deep).expect("it is there").count(), 0);
    });
}
