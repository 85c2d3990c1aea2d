//! The files of UNIX sockets: when they are replaced, and when they are removed.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};
use tidewaiter::port::ListenOptions;
use tidewaiter::{Error, Listener, Reactor, UnixAddress};

use super::promises::support::{Silent, any_port, reactor, run_clean};
use crate::support::folder::Folder;
use crate::support::unix_sockets::has_unix_sockets;

pub(super) fn path(address: &UnixAddress) -> &Path {
    address.as_pathname().expect("a path")
}

pub(super) fn lock_of(address: &UnixAddress) -> PathBuf {
    path(address).with_extension("lock")
}

pub(super) fn listen(
    reactor: &Reactor,
    options: impl Into<ListenOptions>,
) -> Result<Listener, Error> {
    reactor.listen(options, |_| Silent)
}

#[track_caller]
fn assert_in_use(listening: Result<Listener, Error>) -> String {
    match listening.expect_err("the path is in use") {
        Error::Listen { source, .. } if source.kind() == ErrorKind::AddrInUse => source.to_string(),
        other => panic!("it should be in use: {other}"),
    }
}

fn socket(address: &Path) -> (Socket, SockAddr) {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).expect("a socket");
    (socket, SockAddr::unix(address).expect("a short path"))
}

/// A server that knows nothing of locks.
fn serve(path: &Path) -> Socket {
    let (socket, address) = socket(path);
    socket.bind(&address).expect("a free path");
    socket.listen(8).expect("it is bound");
    socket
}

fn connect(path: &Path) -> std::io::Result<()> {
    let (socket, address) = socket(path);
    socket.connect(&address)
}

/// Leaves the file of a server that has died.
pub(super) fn leave_dead(path: &Path) {
    // It does not listen: a child that another test has just forked may hold a copy of it, until its program starts.
    let (socket, address) = socket(path);
    socket.bind(&address).expect("a free path");
    drop(socket);
    assert!(fs::symlink_metadata(path).is_ok());
}

/// Makes a symbolic link, where anybody may.
#[cfg(unix)]
fn make_link(original: &Path, link: &Path) -> bool {
    std::os::unix::fs::symlink(original, link).expect("it is made");
    true
}

#[cfg(windows)]
fn make_link(_: &Path, _: &Path) -> bool {
    false
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
    if !has_unix_sockets() {
        return;
    }
    let folder = Folder::new();
    let address = folder.socket("a");
    leave_dead(path(&address));
    fs::write(lock_of(&address), "").expect("a dead server leaves its lock, too");
    let reactor = reactor();
    let _listener = listen(&reactor, address.clone()).expect("nobody lives there");
    connect(path(&address)).expect("we listen");
}

#[test]
fn without_the_lock_no_file_is_replaced_and_none_is_left() {
    if !has_unix_sockets() {
        return;
    }
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
    if !has_unix_sockets() {
        return;
    }
    let folder = Folder::new();
    let (ours, theirs) = (folder.socket("a"), folder.socket("b"));
    let reactor = reactor();
    let _listener = listen(&reactor, ours.clone()).expect("a free path");
    let problem = assert_in_use(listen(&reactor, ours.clone()));
    assert!(problem.contains("a.lock"), "{problem}");

    let server = serve(path(&theirs));
    let problem = assert_in_use(listen(&reactor, theirs.clone()));
    assert!(problem.ends_with("another server is there"), "{problem}");
    assert!(!lock_of(&theirs).exists(), "the lock goes with the failure");
    server.accept().expect("its path still leads to it");
    for address in [ours, theirs] {
        connect(path(&address)).expect("both are alive");
    }
}

#[test]
fn files_that_are_no_sockets_are_never_replaced() {
    if !has_unix_sockets() {
        return;
    }
    let folder = Folder::new();
    let (file, link, deep) = (
        folder.socket("file"),
        folder.socket("link"),
        folder.socket("deep"),
    );
    fs::write(path(&file), "precious").expect("it is written");
    fs::create_dir(path(&deep)).expect("it is made");
    let has_link = make_link(path(&file), path(&link));
    let reactor = reactor();
    for address in [Some(&file), has_link.then_some(&link), Some(&deep)] {
        let Some(address) = address else {
            continue;
        };
        let problem = assert_in_use(listen(&reactor, address.clone()));
        assert!(
            problem.ends_with("there is a file that is no socket"),
            "{problem}"
        );
    }
    assert_eq!(fs::read(path(&file)).expect("it is there"), b"precious");
    assert_eq!(path(&link).is_symlink(), has_link);
}

#[test]
fn of_many_servers_that_start_at_once_one_gets_the_path() {
    if !has_unix_sockets() {
        return;
    }
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
            connect(path(&address)).expect("one of them listens");
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
    if !has_unix_sockets() {
        return;
    }
    let folder = Folder::new();
    let address = folder.socket("a");
    let reactor = reactor();
    let listener = listen(&reactor, address.clone()).expect("a free path");
    fs::remove_file(path(&address)).expect("an impolite server");
    let _other = serve(path(&address));
    listener.stop_listening();
    reactor.call_later(Duration::from_millis(1), Reactor::stop);
    run_clean(&reactor);
    connect(path(&address)).expect("the other one is still there");
    assert!(!lock_of(&address).exists());
}
