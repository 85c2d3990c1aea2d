//! The files of UNIX sockets: their modes and owners, when they are replaced, and when they are removed.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use tidewaiter::port::ListenOptions;
use tidewaiter::{Error, Listener, Reactor, UnixAddress};

use super::promises::support::{Silent, any_port, reactor, run_clean};
use crate::support::alone::alone;
use crate::support::folder::Folder;
use crate::support::system::{fork, join};

fn path(address: &UnixAddress) -> &Path {
    address.as_pathname().expect("a path")
}

fn lock_of(address: &UnixAddress) -> PathBuf {
    path(address).with_extension("lock")
}

fn listen(reactor: &Reactor, options: impl Into<ListenOptions>) -> Result<Listener, Error> {
    reactor.listen(options, |_| Silent)
}

#[track_caller]
fn assert_in_use(listening: Result<Listener, Error>) -> String {
    match listening.expect_err("the path is in use") {
        Error::Listen { source, .. } if source.kind() == ErrorKind::AddrInUse => source.to_string(),
        other => panic!("it should be in use: {other}"),
    }
}

/// Leaves the file of a server that has died.
fn leave_dead(path: &Path) {
    drop(UnixListener::bind(path).expect("a free path"));
    assert!(path.exists());
}

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
fn a_mode_needs_a_path_and_12_bits() {
    let folder = Folder::new();
    let reactor = reactor();
    for (address, mode) in [
        (any_port().into(), 0o600),
        (tidewaiter::Address::from(folder.socket("a")), 0o10000),
    ] {
        let mut options = ListenOptions::new(address);
        options.socket_file.mode = Some(mode);
        let error = listen(&reactor, options).expect_err("no such mode");
        assert!(
            matches!(&error, Error::Listen { source, .. } if source.kind() == ErrorKind::InvalidInput),
            "{error}"
        );
    }
}

#[test]
fn the_file_of_a_dead_server_is_replaced() {
    let folder = Folder::new();
    let address = folder.socket("a");
    leave_dead(path(&address));
    fs::write(lock_of(&address), "").expect("a dead server leaves its lock, too");
    let reactor = reactor();
    let _listener = listen(&reactor, address.clone()).expect("nobody lives there");
    UnixStream::connect(path(&address)).expect("we listen");
}

#[test]
fn without_the_lock_no_file_is_replaced_and_none_is_left() {
    let folder = Folder::new();
    let address = folder.socket("a");
    let mut options = ListenOptions::new(address.clone());
    options.socket_file.lock = false;
    let reactor = reactor();
    leave_dead(path(&address));
    assert_in_use(listen(&reactor, options.clone()));
    fs::remove_file(path(&address)).expect("it is there");
    let _listener = listen(&reactor, options).expect("the path is free");
    assert!(!lock_of(&address).exists());
}

#[test]
fn a_live_server_keeps_its_path() {
    let folder = Folder::new();
    let (ours, theirs) = (folder.socket("a"), folder.socket("b"));
    let reactor = reactor();
    let _listener = listen(&reactor, ours.clone()).expect("a free path");
    let problem = assert_in_use(listen(&reactor, ours.clone()));
    assert!(problem.contains("a.lock"), "{problem}");

    let server = UnixListener::bind(path(&theirs)).expect("a free path");
    let problem = assert_in_use(listen(&reactor, theirs.clone()));
    assert!(problem.ends_with("another server is there"), "{problem}");
    assert!(!lock_of(&theirs).exists(), "the lock goes with the failure");
    server.accept().expect("its path still leads to it");
    for address in [ours, theirs] {
        UnixStream::connect(path(&address)).expect("both are alive");
    }
}

#[test]
fn files_that_are_no_sockets_are_never_replaced() {
    let folder = Folder::new();
    let (file, link, deep) = (
        folder.socket("file"),
        folder.socket("link"),
        folder.socket("deep"),
    );
    fs::write(path(&file), "precious").expect("it is written");
    symlink(path(&file), path(&link)).expect("it is made");
    fs::create_dir(path(&deep)).expect("it is made");
    let reactor = reactor();
    for address in [&file, &link, &deep] {
        let problem = assert_in_use(listen(&reactor, address.clone()));
        assert!(
            problem.ends_with("there is a file that is no socket"),
            "{problem}"
        );
    }
    assert_eq!(fs::read(path(&file)).expect("it is there"), b"precious");
    assert!(
        fs::symlink_metadata(path(&link))
            .expect("it is there")
            .is_symlink()
    );
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

/// Goal: of many servers that start at once, one gets the path, and it can be reached there.
#[test]
fn of_many_servers_that_start_at_once_one_gets_the_path() {
    const SERVERS: usize = 8;
    for round in 0..20 {
        let folder = Folder::new();
        let address = folder.socket("a");
        if round % 2 == 0 {
            leave_dead(path(&address));
        }
        let (start, end) = (Barrier::new(SERVERS), Barrier::new(SERVERS));
        let serve = || {
            let reactor = reactor();
            start.wait();
            let listening = listen(&reactor, address.clone());
            end.wait();
            UnixStream::connect(path(&address)).expect("one of them listens");
            let is_first = listening.is_ok();
            if !is_first {
                assert_in_use(listening);
            }
            end.wait();
            is_first
        };
        let first = thread::scope(|scope| {
            let servers: Vec<_> = (0..SERVERS).map(|_| scope.spawn(serve)).collect();
            let results = servers
                .into_iter()
                .map(|server| server.join().expect("it ends"));
            results.filter(|is_first| *is_first).count()
        });
        assert_eq!(first, 1);
        assert_eq!(fs::read_dir(folder.path()).expect("it is there").count(), 0);
    }
}

#[test]
fn closing_does_not_remove_the_file_of_another_server() {
    let folder = Folder::new();
    let address = folder.socket("a");
    let reactor = reactor();
    let listener = listen(&reactor, address.clone()).expect("a free path");
    fs::remove_file(path(&address)).expect("an impolite server");
    let _other = UnixListener::bind(path(&address)).expect("the path is free");
    listener.stop_listening();
    reactor.call_later(Duration::from_millis(1), Reactor::stop);
    run_clean(&reactor);
    UnixStream::connect(path(&address)).expect("the other one is still there");
    assert!(!lock_of(&address).exists());
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
