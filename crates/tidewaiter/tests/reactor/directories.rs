//! Watches of directories for changes.

use std::cell::RefCell;
use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tidewaiter::port::{Change, DirectoryOptions};
use tidewaiter::{DirectoryWatch, Reactor};

use crate::promises::support::{reactor, run, run_clean};

/// The name of a file whose creation ends a test's watch.
const LAST: &str = "last";

/// A new directory, removed at the end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Scratch {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let kind = reactor().port_info().kind;
        let name = format!("tidewaiter-watch-{}-{kind}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).expect("a new name");
        Scratch(path)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

type Changes = Rc<RefCell<Vec<Change>>>;

/// Watches, makes the changes, and returns what is told up to the creation of [`LAST`], which `change` need not do.
fn changes_of(options: &DirectoryOptions, root: &Path, change: impl FnOnce()) -> Vec<Change> {
    let (reactor, changes) = (reactor(), Changes::default());
    let (noted, last) = (Rc::clone(&changes), root.join(LAST));
    let (file, again) = (last.clone(), last);
    let watch = reactor.watch_directory(options, move |watch, change| {
        if matches!(change, Change::Overflowed) {
            // Its creation may be among the changes that were dropped.
            let _ = fs::remove_file(&again);
            fs::write(&again, b"").unwrap();
        }
        if matches!(&change, Change::Created(path) if path == Path::new(LAST)) {
            watch.stop();
            return watch.reactor().stop();
        }
        noted.borrow_mut().push(change);
    });
    watch.expect("it is a directory");
    reactor.iterate(Duration::ZERO).unwrap();
    change();
    fs::write(file, b"").unwrap();
    run_clean(&reactor);
    changes.take()
}

fn names(changes: &[Change]) -> Vec<String> {
    let text = |path: &Path| path.to_string_lossy().replace('\\', "/");
    let name = |change: &Change| match change {
        Change::Created(path) => format!("+{}", text(path)),
        Change::Removed(path) => format!("-{}", text(path)),
        Change::Modified(path) => format!("~{}", text(path)),
        Change::AttributesChanged(path) => format!("={}", text(path)),
        Change::Renamed { from, to } => format!("{}>{}", text(from), text(to)),
        Change::Overflowed => "overflowed".to_owned(),
        Change::Ended(error) => format!("ended: {:?}", error.kind()),
        other => format!("{other:?}"),
    };
    changes.iter().map(name).collect()
}

/// The changes that tell of names alone: Windows and Wine tell of more modifications than Linux.
fn without_modifications(changes: &[Change]) -> Vec<String> {
    let names = names(changes).into_iter();
    names.filter(|name| !name.starts_with(['~', '='])).collect()
}

fn is_wine() -> bool {
    cfg!(windows) && Path::new(r"\\?\unix\").exists()
}

/// Goal: what happens in a directory is told, in its order, and with both names of a rename.
#[test]
fn changes_are_told_in_their_order() {
    let scratch = Scratch::new();
    let options = DirectoryOptions::new(&scratch.0);
    let changes = changes_of(&options, &scratch.0, || {
        fs::write(scratch.at("a"), b"").unwrap();
        fs::File::options()
            .append(true)
            .open(scratch.at("a"))
            .and_then(|mut file| file.write_all(b"more"))
            .unwrap();
        fs::rename(scratch.at("a"), scratch.at("b")).unwrap();
        fs::create_dir(scratch.at("d")).unwrap();
        fs::write(scratch.at("d/unseen"), b"").unwrap();
        fs::remove_file(scratch.at("b")).unwrap();
    });
    assert_eq!(without_modifications(&changes), ["+a", "a>b", "+d", "-b"]);
    assert!(names(&changes).contains(&"~a".to_owned()), "{changes:?}");
}

/// Goal: in a tree, changes at any depth are told, in directories that appear or are renamed as well.
#[test]
fn a_tree_is_watched_with_all_that_appears_in_it() {
    let scratch = Scratch::new();
    fs::create_dir_all(scratch.at("old/deep")).unwrap();
    let options = DirectoryOptions::new(&scratch.0).tree(true);
    let changes = changes_of(&options, &scratch.0, || {
        fs::write(scratch.at("old/deep/x"), b"").unwrap();
        fs::create_dir_all(scratch.at("new/deep")).unwrap();
        fs::write(scratch.at("new/deep/y"), b"").unwrap();
        fs::rename(scratch.at("old"), scratch.at("older")).unwrap();
        fs::write(scratch.at("older/deep/z"), b"").unwrap();
    });
    let names = without_modifications(&changes);
    let expected = [
        "+old/deep/x",
        "+new",
        "+new/deep",
        "+new/deep/y",
        "old>older",
        "+older/deep/z",
    ];
    let mut sorted = names.clone();
    sorted.sort();
    let mut all = expected.map(str::to_owned).to_vec();
    // Wine watches no directories in a tree that were there before.
    all.retain(|name| !is_wine() || !name.starts_with("+old"));
    all.sort();
    assert_eq!(sorted, all, "each once: {names:?}");
}

/// Goal: what moves out of the watched directory is removed, and what moves in is created.
#[test]
fn moves_across_the_border_are_told_as_what_they_are_here() {
    let scratch = Scratch::new();
    for name in ["in", "out"] {
        fs::create_dir(scratch.at(name)).unwrap();
        fs::write(scratch.at(name).join(name), b"").unwrap();
    }
    let watched = scratch.at("in");
    let changes = changes_of(&DirectoryOptions::new(&watched), &watched, || {
        fs::rename(scratch.at("in/in"), scratch.at("out/in")).unwrap();
        fs::rename(scratch.at("out/out"), scratch.at("in/out")).unwrap();
    });
    assert_eq!(without_modifications(&changes), ["-in", "+out"]);
}

/// Goal: several watches of one directory are told each for itself, and one that is stopped is not called again.
#[test]
fn watches_of_one_directory_do_not_disturb_each_other() {
    let scratch = Scratch::new();
    let options = DirectoryOptions::new(&scratch.0);
    let other = reactor();
    let stopped = other.watch_directory(&options, |_, change| panic!("{change:?}"));
    stopped.unwrap().stop();
    let both: Rc<RefCell<Vec<&str>>> = Rc::default();
    for name in ["first", "second"] {
        let both = Rc::clone(&both);
        let watch = other.watch_directory(&options, move |watch, change| {
            assert!(matches!(&change, Change::Created(path) if path == Path::new("a")));
            both.borrow_mut().push(name);
            watch.stop();
            if both.borrow().len() == 2 {
                watch.reactor().stop();
            }
        });
        watch.unwrap();
    }
    other.iterate(Duration::ZERO).unwrap();
    fs::create_dir(scratch.at("a")).unwrap();
    run_clean(&other);
    both.borrow_mut().sort_unstable();
    assert_eq!(*both.borrow(), ["first", "second"]);
}

/// Goal: the removal of the watched directory is told, and ends the watch.
#[test]
fn the_end_of_the_directory_is_told() {
    let scratch = Scratch::new();
    let path = scratch.at("gone");
    fs::create_dir(&path).unwrap();
    let (reactor, changes) = (reactor(), Changes::default());
    let noted = Rc::clone(&changes);
    let watch = reactor.watch_directory(&DirectoryOptions::new(&path), move |watch, change| {
        if matches!(change, Change::Ended(_)) {
            assert!(watch.is_stopped());
            watch.reactor().stop();
        }
        noted.borrow_mut().push(change);
    });
    let watch = watch.unwrap();
    reactor.iterate(Duration::ZERO).unwrap();
    fs::remove_dir(&path).unwrap();
    // Wine does not tell.
    if is_wine() {
        watch.stop();
        reactor.call_later(Duration::ZERO, Reactor::stop);
    }
    run_clean(&reactor);
    assert!(watch.is_stopped());
    assert!(is_wine() || names(&changes.borrow()) == ["ended: NotFound"]);
}

/// Goal: what is no directory is refused.
#[test]
fn what_is_no_directory_is_refused() {
    let (scratch, reactor) = (Scratch::new(), reactor());
    fs::write(scratch.at("file"), b"").unwrap();
    let refusal = |path: &Path| -> io::Error {
        let refused = reactor.watch_directory(&DirectoryOptions::new(path), |_, _| ());
        refused.expect_err("it is no directory")
    };
    assert_eq!(refusal(&scratch.at("none")).kind(), ErrorKind::NotFound);
    assert_eq!(
        refusal(&scratch.at("file")).kind(),
        ErrorKind::NotADirectory
    );
    assert_eq!(reactor.metrics().live, 0);
}

/// Goal: a panic ends one watch; a reactor that stops ends the others, and drops what their callbacks own.
#[test]
fn a_panic_ends_one_watch() {
    let (scratch, reactor) = (Scratch::new(), reactor());
    let options = DirectoryOptions::new(&scratch.0);
    let owned = Rc::new(());
    let owner = Rc::clone(&owned);
    let sound = reactor.watch_directory(&options, move |_, _| drop(Rc::clone(&owner)));
    let panics = reactor.watch_directory(&options, |watch, _| {
        let reactor = watch.reactor();
        reactor.call_later(Duration::from_millis(10), Reactor::stop);
        panic!("on purpose")
    });
    let watches: [DirectoryWatch; 2] = [sound.unwrap(), panics.unwrap()];
    reactor.iterate(Duration::ZERO).unwrap();
    fs::write(scratch.at("a"), b"").unwrap();
    run(&reactor);
    assert_eq!(reactor.metrics().panics, 1);
    assert!(watches.iter().all(DirectoryWatch::is_stopped));
    assert_eq!(Rc::strong_count(&owned), 1);
    assert_eq!(reactor.metrics().live, 0);
}

/// Goal: changes that the OS drops are told, and later ones still come.
/// Method: more changes than the OS keeps, before the reactor looks.
#[test]
fn dropped_changes_are_told() {
    let scratch = Scratch::new();
    let options = DirectoryOptions::new(&scratch.0);
    // Wine lets a program read it, too, but keeps fewer changes.
    let most = cfg!(target_os = "linux")
        .then(|| fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").ok());
    let most: Option<usize> = most.flatten().and_then(|text| text.trim().parse().ok());
    let many = most.unwrap_or(5_000);
    let changes = changes_of(&options, &scratch.0, || {
        let (one, other) = (
            scratch.at("a-name-that-is-long-enough"),
            scratch.at("other"),
        );
        fs::write(&one, b"").unwrap();
        for _ in 0..many / 2 + 100 {
            fs::rename(&one, &other).unwrap();
            fs::rename(&other, &one).unwrap();
        }
    });
    assert!(names(&changes).contains(&"overflowed".to_owned()));
}

/// Goal: names are exact, even if they are no text.
#[cfg(target_os = "linux")]
#[test]
fn names_have_their_exact_bytes() {
    use std::os::unix::ffi::OsStrExt;

    let scratch = Scratch::new();
    let name = std::ffi::OsStr::from_bytes(b"\xff\n");
    let changes = changes_of(&DirectoryOptions::new(&scratch.0), &scratch.0, || {
        fs::create_dir(scratch.0.join(name)).unwrap();
    });
    assert!(matches!(&changes[..], [Change::Created(path)] if path == Path::new(name)));
}
