//! Finding and killing trees: tests with real ones.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::OwnedFd;

use super::super::{Descriptors, Image, Plan};
use super::super::{child, orders::Memory};
use super::proc::parse;
use super::*;
use crate::process::{Command, OsChild, SignalTarget, Stdio, spawn};

/// Starts a shell whose processes all hold its standard output. Returns once it has written the line `ready`.
fn shell(script: &str, change: impl FnOnce(Command) -> Command) -> (OsChild, OwnedFd) {
    let command = Command::new("bash").args(["-c", script]);
    let command = command.stdin(Stdio::Null).stderr(Stdio::Inherit);
    let mut child = spawn(&change(command)).expect("there is a shell");
    let output = child.take_pipe(1).expect("a pipe");
    rustix::io::ioctl_fionbio(&output, false).expect("pipes can block");
    let mut line = Vec::new();
    let mut byte = [0];
    while !line.ends_with(b"ready\n") {
        let count = rustix::io::read(&output, &mut byte).expect("a pipe");
        assert_ne!(count, 0, "the shell ended: {line:?}");
        line.push(byte[0]);
    }
    (child, output)
}

/// Waits until no process holds the output any more. What else they write is of no interest.
fn await_all(output: OwnedFd) {
    std::io::copy(&mut File::from(output), &mut std::io::sink()).expect("a pipe");
}

fn as_it_is(command: Command) -> Command {
    command
}

#[track_caller]
fn kill_all(child: &OsChild, output: OwnedFd) {
    let unreached = child.process.kill(SignalTarget::Tree).expect("it lives");
    assert_eq!((unreached.processes, unreached.may_be_more), (vec![], true));
    await_all(output);
}

#[test]
fn a_process_that_left_the_group_is_killed() {
    let (child, output) = shell("setsid sh -c 'echo ready; sleep 600' & wait", as_it_is);
    kill_all(&child, output);
}

#[test]
fn the_jobs_of_a_shell_are_killed() {
    let script = "set -m; sleep 600 & sleep 600 | sleep 600 & echo ready; wait";
    let (child, output) = shell(script, as_it_is);
    kill_all(&child, output);
}

/// Goal: a tree is killed whatever its processes did, as long as something tells that they belong to it.
/// Method: four levels. The parent of the second has ended; the third has left the group, and leads a session; the
/// fourth has left the group of the third.
#[test]
fn a_tree_of_four_levels_with_a_double_fork_and_a_session_is_killed() {
    let fourth = "set -m; sleep 600 & echo ready; wait";
    let third = format!("setsid bash -c '{fourth}' & wait");
    let script = format!("({third}) & exec sh -c '(sleep 600 &) ; sleep 600'");
    let (child, output) = shell(&script, as_it_is);
    kill_all(&child, output);
    let orphans = format!("( ({third}) & ) ; sleep 600");
    let (child, output) = shell(&orphans, as_it_is);
    kill_all(&child, output);
}

#[test]
fn what_is_left_of_a_session_is_killed_after_its_leader_has_ended() {
    let script = "set -m; sleep 600 & echo ready; exit 3";
    let (child, output) = shell(script, |command| command.own_session(true));
    while child.process.try_wait().expect("our child").is_none() {
        std::thread::yield_now();
    }
    kill_all(&child, output);
}

#[test]
fn a_signal_reaches_each_process_of_a_tree_once() {
    let noisy = "trap \"echo asked\" TERM; echo ready; while :; do sleep 0.1; done";
    let script =
        format!("trap : TERM; sh -c '{noisy}' & setsid sh -c '{noisy}' & while :; do wait; done");
    let (child, output) = shell(&script, as_it_is);
    let mut output = BufReader::new(File::from(output));
    let mut lines = String::new();
    output.read_line(&mut lines).expect("a pipe");
    assert_eq!(lines, "ready\n", "the other one");
    let ask = crate::process::Signal::Terminate;
    let asked = child
        .process
        .signal(ask, SignalTarget::Tree, &mut Survey::default());
    asked.expect("it lives");
    while lines.matches("asked").count() < 2 {
        let count = output.read_line(&mut lines).expect("a pipe");
        assert_ne!(count, 0, "{lines}");
    }
    child.process.kill(SignalTarget::Tree).expect("it lives");
    output.read_to_string(&mut lines).expect("a pipe");
    assert_eq!(lines.matches("asked").count(), 2, "{lines}");
}

/// Whether children can have cgroups of their own here. Says so if not.
#[expect(clippy::print_stderr, reason = "tells what was not tested")]
fn has_cgroups() -> bool {
    let entry = Entry::new();
    if let Err(error) = &entry {
        eprintln!("no cgroup can be made here, so a child does without: {error}");
    }
    entry.is_ok()
}

/// A daemon: it forks twice, leads a session, and nothing tells where it came from.
const DAEMON: &str = "(setsid sh -c 'sleep 0.1; echo ready; sleep 600; :' &) ; ";

fn in_cgroup(command: Command) -> Command {
    command.own_cgroup(true)
}

#[test]
fn a_cgroup_holds_even_daemons_and_is_removed() {
    if !has_cgroups() {
        return;
    }
    let (child, output) = shell(&format!("{DAEMON} exit 0"), in_cgroup);
    let directory = child.process.cgroup.as_ref().expect("it has one").path();
    let unreached = child.process.kill(SignalTarget::Tree).expect("it lives");
    assert_eq!(unreached, Unreached::default());
    await_all(output);
    while !child
        .process
        .cgroup
        .as_ref()
        .expect("as before")
        .processes()
        .expect("a list")
        .is_empty()
    {
        std::thread::yield_now();
    }
    let error = child
        .process
        .kill(SignalTarget::Tree)
        .expect_err("all have ended");
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    drop(child);
    assert!(!directory.exists(), "{directory:?}");
}

/// Goal: the same on kernels that cannot kill a cgroup.
#[test]
fn the_processes_of_a_cgroup_can_be_killed_one_by_one() {
    if !has_cgroups() {
        return;
    }
    let (child, output) = shell(&format!("{DAEMON} wait; sleep 600"), in_cgroup);
    let cgroup = child.process.cgroup.as_ref().expect("it has one");
    let count = cgroup.processes().expect("a list").len();
    assert!(count > 1, "{count}");
    let unreached = signal_one_by_one(cgroup, libc::SIGKILL).expect("they live");
    assert_eq!(unreached, Unreached::default());
    await_all(output);
}

/// Goal: the same on kernels that cannot start a process in a cgroup.
#[test]
fn a_child_can_enter_its_cgroup_by_itself() {
    if !has_cgroups() {
        return;
    }
    let entry = Entry::new().expect("as before").without_clone();
    let command = Command::new("sleep").arg("600").stdout(Stdio::Null);
    let image = Image::of(&command).expect("a valid command");
    let descriptors = Descriptors::of(&command).expect("pipes");
    let plan = Plan::new(&command, &image, &descriptors).expect("a valid command");
    let started = child::start(&image, &plan, true, Memory::Copied, Some(&entry));
    let Ok(started) = started else {
        panic!("there is such a program");
    };
    assert!(started.entered);
    let cgroup = entry.into_cgroup();
    let pid = started.pid.as_raw_nonzero().get();
    assert_eq!(cgroup.processes().expect("a list"), [pid]);
    signal_cgroup(&cgroup, libc::SIGKILL).expect("it lives");
    let ended = rustix::process::waitpid(Some(started.pid), rustix::process::WaitOptions::empty());
    assert!(ended.expect("our child").is_some());
}

#[test]
fn a_cgroup_that_is_in_use_is_removed_later() {
    if !has_cgroups() {
        return;
    }
    let (child, output) = shell("echo ready; read line; exit 0", |command| {
        in_cgroup(command).stdin(Stdio::Pipe)
    });
    let directory = child.process.cgroup.as_ref().expect("it has one").path();
    let OsChild { process, pipes, .. } = child;
    drop(process);
    assert!(directory.exists());
    drop(pipes);
    await_all(output);
    let begun = std::time::Instant::now();
    while directory.exists() {
        drop(Entry::new().expect("as before"));
        assert!(
            begun.elapsed().as_secs() < 20,
            "{directory:?} is not removed"
        );
    }
}

/// Goal: a number that another process, group or session got later is not mistaken for the child's.
#[test]
fn processes_that_are_younger_than_the_end_of_the_child_are_none_of_its_tree() {
    let (child, output) = shell("sleep 600 & echo ready; wait", as_it_is);
    let pid = child.pid.cast_signed();
    let started = Seen::look(pid).expect("it lives").started;
    let root = |reaped| Root {
        pid,
        leads: true,
        reaped,
    };
    let count = |root: &Root| descendants(root, &mut Survey::default()).len();
    assert_eq!(count(&root(None)), 1);
    assert_eq!(count(&root(Some(started - 1))), 0);
    let now = ticks(since_boot());
    assert!(started <= now, "the clocks agree: {started}, {now}");
    kill_all(&child, output);
}

#[test]
fn the_name_of_a_program_can_be_anything() {
    let line = b"7 (a) S 1 (b) Z 3 4 5 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 123456 99 1 2";
    let expected = Seen {
        pid: 7,
        parent: 3,
        group: 4,
        session: 5,
        started: 123_456,
        is_zombie: true,
    };
    assert_eq!(parse(7, line), Some(expected));
    assert_eq!(parse(7, b"7 (sleep"), None);
    assert_eq!(parse(7, b""), None);
}

/// Goal: processes that may not be killed are named.
/// Method: a thread that is no root any more starts a program with the set-user-ID bit, which becomes root.
#[test]
fn processes_of_another_user_are_named() {
    use std::os::unix::fs::PermissionsExt;
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let folder = std::env::temp_dir().join(format!("tidewaiter-{}", std::process::id()));
    std::fs::create_dir(&folder).expect("a new folder");
    let program = folder.join("become-root");
    // A copy that we wrote could not be executed while a child of another test had our descriptor of it.
    let copied = std::process::Command::new("cp")
        .arg("/usr/bin/setpriv")
        .arg(&program)
        .status();
    assert!(
        copied.expect("every Unix has it").success(),
        "there is such a program"
    );
    for (path, mode) in [(&folder, 0o755), (&program, 0o4755)] {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(path, permissions).expect("it is ours");
    }
    let become_root = format!("exec {} --reuid 0 sh -c", program.display());
    let script = format!("setsid sh -c \"{become_root} 'echo ready; exec sleep 600'\" & wait");
    let end = std::thread::spawn(move || {
        let user = rustix::process::Uid::from_raw(12_345);
        rustix::thread::set_thread_uid(user).expect("we are root");
        let (child, output) = shell(&script, as_it_is);
        let result = child.process.kill(SignalTarget::Tree);
        (result, output)
    });
    let (result, output) = end.join().expect("it does not panic");
    std::fs::remove_dir_all(&folder).expect("it is ours");
    let unreached = result.expect("the shell can be killed");
    let [left] = unreached.processes[..] else {
        panic!("one is left: {unreached:?}");
    };
    let left = Seen::look(left.cast_signed()).expect("it lives");
    send_to(&left, libc::SIGKILL).expect("we are root");
    await_all(output);
}
