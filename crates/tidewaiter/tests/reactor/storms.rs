//! More children than the system allows: those above a limit are refused, and nothing else suffers.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, Uid, WaitOptions, geteuid, getrlimit, setrlimit, waitpid};
use rustix::thread::set_thread_res_uid;
use tidewaiter::Reactor;
use tidewaiter::process::{Command, SharedPipe, SpawnStep, Stdio, TerminalSize};

use crate::descriptors::{descriptors, leave_free};
use crate::inheriting::Ending;
use crate::promises::quiet_children::{FLOOD, pass_a_flood};
use crate::promises::support::{assert_empty, reactor};
use crate::support::alone::alone;

/// Longer than the children take.
const LIMIT: Duration = Duration::from_secs(60);

/// More than the limits of these tests allow at a time.
const MANY: usize = 60;

/// Starts many children, and runs the reactor until all have ended. Returns how many were refused, each in one of
/// these steps and with this error.
fn storm(reactor: &Reactor, steps: &[SpawnStep], errno: Errno) -> usize {
    let left = Rc::new(Cell::new(0));
    for _ in 0..MANY {
        let ending = Ending {
            left: Rc::clone(&left),
        };
        match reactor.spawn_process(&Command::new("cat"), ending) {
            Ok(_) => left.set(left.get() + 1),
            Err(error) => {
                assert!(steps.contains(&error.step), "{error}");
                assert_eq!(Errno::from_io_error(&error.source), Some(errno), "{error}");
                assert!(error.to_string().contains("\"cat\"") && !error.is_in_child());
            }
        }
    }
    let started = left.get();
    assert_eq!(reactor.metrics().living.children, started);
    if started > 0 {
        // No thread keeps the time: it would count as a process.
        let late = reactor.call_later(LIMIT, Reactor::crash);
        reactor.run().expect("the reactor runs");
        late.cancel();
    }
    assert_eq!(left.get(), 0, "the children do not end");
    assert_empty(&reactor.metrics());
    MANY - started
}

/// Starts many children under a limit, and again without it. Checks that nothing is left behind.
fn check(steps: &[SpawnStep], errno: Errno, limit: impl FnOnce(), lift: impl FnOnce()) {
    let reactor = reactor();
    let before = descriptors();
    limit();
    let refused = storm(&reactor, steps, errno);
    lift();
    assert!(refused > MANY / 2, "{refused} were refused");
    assert_eq!(storm(&reactor, steps, errno), 0, "nothing is in the way");
    assert_eq!(descriptors(), before);
    assert_eq!(waitpid(None, WaitOptions::NOHANG).err(), Some(Errno::CHILD));
}

#[test]
fn a_storm_at_the_limit_of_descriptors_leaves_nothing_behind() {
    let name = "a_storm_at_the_limit_of_descriptors_leaves_nothing_behind";
    alone(module_path!(), name, || {
        let before = getrlimit(Resource::Nofile);
        let limit = || {
            leave_free(40);
        };
        let lift = || setrlimit(Resource::Nofile, before).expect("it may be raised again");
        check(
            &[SpawnStep::Pipes, SpawnStep::Process],
            Errno::MFILE,
            limit,
            lift,
        );
    });
}

/// Everything that a child can have as a descriptor.
fn kinds() -> Vec<(&'static str, Command)> {
    let end = || Command::new("true");
    let shared = SharedPipe::new();
    let file = Stdio::append_file("/dev/null");
    vec![
        ("pipes", end().fd(5, Stdio::PipeToChild)),
        ("sockets", end().stdin(Stdio::Socket).stdout(Stdio::Socket)),
        (
            "a pipe both ways",
            end().fd(3, Stdio::Duplex).fd(4, Stdio::Duplex),
        ),
        ("a shared reader", end().stdin(shared.reader())),
        (
            "a shared writer",
            end().stdout(shared.writer()).fd(7, Stdio::SameAs(1)),
        ),
        ("files", end().stdout(file.clone()).stderr(file)),
        (
            "our own",
            end().fd(3, Stdio::Descriptor(0)).fd(0, Stdio::Null),
        ),
        ("a terminal", end().terminal(TerminalSize::default())),
        (
            "a terminal and pipes",
            end().terminal(TerminalSize::default()).fd(3, Stdio::Pipe),
        ),
        ("a parent to end with", end().die_with_parent(true)),
        ("a cgroup", end().own_cgroup(true)),
        ("no group", end().own_group(false)),
    ]
}

/// Goal: whichever step of a start finds no free descriptor, nothing is left open.
#[test]
fn whatever_a_child_is_to_have_nothing_of_it_leaks_without_free_descriptors() {
    let name = "whatever_a_child_is_to_have_nothing_of_it_leaks_without_free_descriptors";
    alone(module_path!(), name, || {
        let reactor = reactor();
        let spawn = |command: &Command| {
            let left = Rc::new(Cell::new(1));
            let result = reactor.spawn_process(command, Ending { left });
            result.inspect(|_| {
                reactor.run().expect("the reactor runs");
            })
        };
        // Opens what is opened once and kept, such as the thread of children that end with us.
        spawn(&Command::new("true").die_with_parent(true)).expect("it starts");
        for at in 0..kinds().len() {
            let before = descriptors();
            let mut refused = 0;
            for spare in 0..30 {
                let (kind, command) = kinds().swap_remove(at);
                let limit = leave_free(spare);
                let result = spawn(&command);
                setrlimit(Resource::Nofile, limit).expect("it may be raised again");
                drop(command);
                assert_eq!(descriptors(), before, "{kind}, {spare} free: {result:?}");
                let Err(error) = result else { break };
                let reason = error.source.to_string();
                assert!(reason.contains("Too many open files"), "{kind}: {error}");
                refused += 1;
            }
            assert!((1..30).contains(&refused), "{refused} were refused");
        }
        assert_empty(&reactor.metrics());
    });
}

/// Goal: as at the limit of descriptors, at that of a user's processes.
/// Method: root is not limited, so this thread becomes a user that nobody else is, as the system counts threads.
#[test]
fn a_storm_at_the_limit_of_processes_leaves_nothing_behind() {
    let name = "a_storm_at_the_limit_of_processes_leaves_nothing_behind";
    alone(module_path!(), name, || {
        let before = getrlimit(Resource::Nproc);
        let is_root = geteuid().is_root();
        let user = Uid::from_raw(72_000 + std::process::id() % 1000);
        let become_user = |user| {
            // Saved, so that the thread can become root again.
            let root = Uid::ROOT;
            set_thread_res_uid(user, user, root).expect("root may");
        };
        let limit = move || {
            // Any other user has processes already.
            let current = Some(if is_root { 20 } else { 1 });
            setrlimit(Resource::Nproc, Rlimit { current, ..before }).expect("it may be lowered");
            if is_root {
                become_user(user);
            }
        };
        let lift = move || {
            if is_root {
                become_user(Uid::ROOT);
            }
            setrlimit(Resource::Nproc, before).expect("it may be raised again");
        };
        check(&[SpawnStep::Process], Errno::AGAIN, limit, lift);
    });
}

/// Goal: what a child writes waits in the child, not in our memory, however long we pause.
#[test]
fn a_flood_that_is_paused_takes_no_memory() {
    alone(
        module_path!(),
        "a_flood_that_is_paused_takes_no_memory",
        || {
            let peak = || {
                let status = std::fs::read_to_string("/proc/self/status").expect("Linux has one");
                let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
                let count =
                    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
                count.expect("the kernel counts") << 10
            };
            let before = peak();
            pass_a_flood();
            let grown = peak() - before;
            // AddressSanitizer keeps much of what was freed.
            let sanitized = std::env::var_os("ASAN_OPTIONS").is_some();
            let most = if sanitized { FLOOD / 2 } else { 64 << 20 };
            assert!(grown < most as u64, "{grown} bytes more");
        },
    );
}
