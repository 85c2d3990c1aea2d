//! Starting processes: tests with real ones.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags};

use super::*;
use crate::process::{Stdio, TerminalSize};

/// Waits until a descriptor is readable, for at most a minute.
fn await_readable(descriptor: impl AsFd) {
    let limit = rustix::event::Timespec {
        tv_sec: 60,
        tv_nsec: 0,
    };
    let mut descriptors = [PollFd::new(&descriptor, PollFlags::IN)];
    let ready = rustix::io::retry_on_intr(|| rustix::event::poll(&mut descriptors, Some(&limit)));
    assert_eq!(ready, Ok(1), "nothing came in a minute");
}

fn await_end(process: &OsProcess) -> ExitStatus {
    await_readable(process);
    process
        .try_wait()
        .expect("a child of ours can be awaited")
        .expect("its descriptor said that it ended")
}

/// Reads until the end of the pipe.
fn read_all(pipe: OwnedFd) -> String {
    let mut pipe = File::from(pipe);
    let mut text = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        await_readable(&pipe);
        match pipe.read(&mut chunk).expect("the pipe can be read") {
            0 => return String::from_utf8(text).expect("the children write UTF-8"),
            bytes => text.extend_from_slice(&chunk[..bytes]),
        }
    }
}

fn shell(script: &str) -> Command {
    Command::new("/bin/sh").arg("-c").arg(script)
}

/// Returns a program's output, and how it ended.
fn run(command: &Command) -> (String, ExitStatus) {
    let mut child = spawn(command).expect("the program can be started");
    drop(child.take_pipe(0));
    let text = read_all(child.take_pipe(1).expect("its output is a pipe"));
    (text, await_end(&child.process))
}

fn failure(command: &Command) -> SpawnError {
    spawn(command).expect_err("this cannot be started")
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd")
        .expect("Linux lists descriptors")
        .count()
}

#[test]
fn bytes_go_in_and_come_out_through_the_pipes() {
    let mut child = spawn(&Command::new("cat")).expect("cat exists");
    let mut input = File::from(child.take_pipe(0).expect("a pipe"));
    input.write_all(b"hello").expect("there is room");
    drop(input);
    assert_eq!(read_all(child.take_pipe(1).expect("a pipe")), "hello");
    assert_eq!(read_all(child.take_pipe(2).expect("a pipe")), "");
    assert_eq!(await_end(&child.process), ExitStatus::Code(0));
}

#[test]
fn the_environment_is_exactly_as_requested() {
    let command = Command::new("/usr/bin/env")
        .env_clear()
        .env("B", "2")
        .env("A", "1 =");
    assert_eq!(run(&command).0, "A=1 =\nB=2\n");
}

#[test]
fn without_changes_the_environment_is_ours() {
    let command = Command::new("env").arg("-0");
    let ours: Vec<String> = std::env::vars_os()
        .map(|(name, value)| format!("{}={}\0", name.display(), value.display()))
        .collect();
    assert!(!ours.is_empty(), "the tests have some variables");
    assert_eq!(run(&command).0, ours.concat());
}

#[test]
fn arguments_and_the_own_name_arrive_unchanged() {
    let command = shell("printf '<%s>' \"$0\" \"$@\"").args(["name", "", "a b", "\"'\\"]);
    assert_eq!(run(&command).0, "<name><><a b><\"'\\>");
    let command = Command::new("cat").arg0("other").arg("/proc/self/cmdline");
    assert_eq!(run(&command).0, "other\0/proc/self/cmdline\0");
}

#[test]
fn the_child_starts_in_its_directory() {
    assert_eq!(run(&shell("pwd").current_dir("/usr")).0, "/usr\n");
}

#[test]
fn standard_error_can_be_merged_or_dropped() {
    let command = shell("echo out; echo err >&2");
    assert_eq!(
        run(&command.clone().stderr(Stdio::SameAs(1))).0,
        "out\nerr\n"
    );
    assert_eq!(run(&command.clone().stderr(Stdio::Null)).0, "out\n");
    let child = spawn(&command.stdout(Stdio::Null).stderr(Stdio::SameAs(1))).expect("sh exists");
    assert_eq!(child.pipes.len(), 1);
    assert_eq!(await_end(&child.process), ExitStatus::Code(0));
}

#[test]
fn failures_name_their_step_and_reason() {
    use std::io::ErrorKind::{InvalidInput, NotADirectory, NotFound, PermissionDenied};
    let cases = [
        (Command::new("/nonexistent/x"), SpawnStep::Search, NotFound),
        (Command::new("no such thing"), SpawnStep::Search, NotFound),
        (Command::new(""), SpawnStep::Search, NotFound),
        (
            Command::new("cat").env("PATH", "/nonexistent"),
            SpawnStep::Search,
            NotFound,
        ),
        (
            Command::new("/etc/passwd"),
            SpawnStep::Execute,
            PermissionDenied,
        ),
        (Command::new("/usr"), SpawnStep::Execute, PermissionDenied),
        (
            Command::new("cat").arg("\0"),
            SpawnStep::Arguments,
            InvalidInput,
        ),
        (
            Command::new("cat").current_dir("/nonexistent"),
            SpawnStep::Directory,
            NotFound,
        ),
        (
            Command::new("cat").current_dir("/etc/passwd"),
            SpawnStep::Directory,
            NotADirectory,
        ),
    ];
    for (command, step, kind) in cases {
        let error = failure(&command);
        assert_eq!((error.step, error.source.kind()), (step, kind), "{error}");
    }
}

#[test]
fn exit_codes_and_signals_are_distinguished_and_remembered() {
    for code in [0, 1, 255] {
        let child = spawn(&shell(&format!("exit {code}"))).expect("sh exists");
        assert_eq!(await_end(&child.process), ExitStatus::Code(code));
        assert_eq!(await_end(&child.process), ExitStatus::Code(code));
    }
    let child = spawn(&shell("kill -TERM $$")).expect("sh exists");
    let expected = ExitStatus::Signal {
        number: libc::SIGTERM,
        core_dumped: false,
    };
    assert_eq!(await_end(&child.process), expected);
}

/// Goal: a parent with little memory learns the peak of a child's, and one with more than the child does not take its
/// own for the child's.
#[test]
fn the_peak_of_memory_is_the_childs_own() {
    const BYTES: u64 = 1 << 30;
    let command = |bytes| {
        let size = format!("bs={bytes}");
        Command::new("dd").args(["if=/dev/zero", "of=/dev/null", "count=1", &size])
    };
    let peak = |command: &Command| {
        let child = spawn(command).expect("dd exists");
        assert_eq!(await_end(&child.process), ExitStatus::Code(0));
        let usage = child.process.usage().expect("it was reaped");
        usage.expect("we reaped it").peak_memory
    };
    let large = peak(&command(BYTES)).expect("we had less");
    assert!((BYTES..BYTES + BYTES / 4).contains(&large), "{large}");
    assert_eq!(peak(&command(1024)), None, "we had more than the child");
}

#[test]
fn a_signal_ends_the_process_and_a_second_one_fails() {
    let child = spawn(&Command::new("cat")).expect("cat exists");
    assert_eq!(child.process.try_wait().expect("it can be awaited"), None);
    let kill = |target| child.process.kill(target);
    kill(SignalTarget::Process).expect("it lives");
    await_readable(&child.process);
    for target in [SignalTarget::Process, SignalTarget::Tree] {
        let error = kill(target).expect_err("it has ended");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}

/// Goal: a tree can be ended after its root ended by itself.
/// Method: a grandchild keeps the output open; the end of file shows that it ended.
#[test]
fn a_tree_outlives_its_root_and_can_still_be_ended() {
    let mut child = spawn(&shell("sleep 1000 & echo started")).expect("sh exists");
    let output = child.take_pipe(1).expect("a pipe");
    assert_eq!(await_end(&child.process), ExitStatus::Code(0));
    let kill = || child.process.kill(SignalTarget::Tree);
    kill().expect("the grandchild lives");
    assert_eq!(read_all(output), "started\n");
}

/// Starts a process without a pidfd.
fn spawn_numbered(command: &Command) -> OsChild {
    let child = spawn_by_number(&command.clone().own_group(false)).expect("the program exists");
    assert!(child.process.is_by_number());
    child
}

/// Awaits the end of a process that has no pidfd, without reaping it.
fn await_end_by_number(process: &OsProcess) {
    let flags = rustix::process::PidfdFlags::empty();
    let pidfd = rustix::process::pidfd_open(process.pid, flags).expect("it is not reaped");
    await_readable(&pidfd);
}

fn is_there(process: &OsProcess) -> bool {
    rustix::process::test_kill_process(process.pid) != Err(Errno::SRCH)
}

/// Goal: the child keeps its number until we see its end, and no longer.
#[test]
fn a_child_without_a_pidfd_is_reaped_when_its_end_is_seen() {
    let child = spawn_numbered(&shell("exit 3"));
    let process = &child.process;
    assert_eq!(process.mark(), Mark::Number(child.pid));
    await_end_by_number(process);
    assert!(is_there(process), "it was reaped early");
    for _ in 0..2 {
        let status = process.try_wait().expect("it can be awaited");
        assert_eq!(status, Some(ExitStatus::Code(3)));
        assert_eq!(process.mark(), Mark::None);
        assert!(!is_there(process), "it is still there");
    }
}

/// Goal: sending a signal neither reaps the child before its end is collected nor frees the number that a wait
/// still uses.
#[test]
fn a_child_without_a_pidfd_takes_signals_until_its_end() {
    let child = spawn_numbered(&Command::new("cat"));
    let process = &child.process;
    let kill = || process.kill(SignalTarget::Process);
    kill().expect("it lives");
    await_end_by_number(process);
    for reaped in [false, true] {
        assert_eq!(
            kill().expect_err("it ended").kind(),
            io::ErrorKind::NotFound
        );
        assert_eq!(is_there(process), !reaped);
        let killed = process.try_wait().expect("it can be awaited");
        assert!(matches!(
            killed,
            Some(ExitStatus::Signal {
                number: libc::SIGKILL,
                ..
            })
        ));
    }
}

/// Goal: when other code reaps all children, ours among them, we signal no unrelated process.
#[test]
fn a_child_without_a_pidfd_that_other_code_reaped_has_an_unknown_status() {
    let child = spawn_numbered(&Command::new("true"));
    let process = &child.process;
    let options = rustix::process::WaitOptions::empty();
    rustix::process::waitpid(Some(process.pid), options).expect("it is our child");
    let error = process.kill(SignalTarget::Process);
    let error = error.expect_err("it is gone");
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    let status = process.try_wait().expect("its end is known");
    assert_eq!(status, Some(ExitStatus::Unknown));
}

/// Goal: a group that outlives its leader can be signalled by something other than a number.
#[test]
fn a_child_that_leads_a_group_has_a_pidfd() {
    for command in [
        Command::new("cat"),
        Command::new("cat")
            .own_group(false)
            .terminal(TerminalSize::default()),
    ] {
        let child = spawn_by_number(&command).expect("cat exists");
        assert_eq!(child.process.mark(), Mark::Descriptor);
        child.process.kill(SignalTarget::Tree).expect("it lives");
        await_end(&child.process);
    }
}

#[test]
fn without_an_own_group_there_is_no_tree() {
    let child = spawn(&Command::new("cat").own_group(false)).expect("cat exists");
    let error = child.process.kill(SignalTarget::Tree);
    let error = error.expect_err("our own group would be meant");
    assert_eq!(error.kind(), io::ErrorKind::Unsupported);
}

#[test]
fn no_other_descriptor_of_ours_reaches_the_child() {
    let kept = File::open("/dev/null").expect("it exists");
    rustix::io::fcntl_setfd(&kept, rustix::io::FdFlags::empty()).expect("it is open");
    let leaked = format!("test -e /proc/self/fd/{}", kept.as_raw_fd());
    let (text, status) = run(&shell("ls /proc/self/fd"));
    // `ls` has one more open, for the directory itself.
    assert_eq!(
        (text.as_str(), status),
        ("0\n1\n2\n3\n", ExitStatus::Code(0))
    );
    assert_ne!(run(&shell(&leaked)).1, ExitStatus::Code(0));
}

fn expect_no_signal_blocked_or_ignored() {
    let (text, _) = run(&Command::new("grep").args(["-E", "Sig(Blk|Ign)", "/proc/self/status"]));
    for line in text.lines() {
        assert!(line.ends_with("0000000000000000"), "{line}");
    }
    assert_eq!(text.lines().count(), 2);
}

/// Ignores signals of each kind, and blocks one.
fn ignore_signals() {
    let numbers = [
        libc::SIGHUP,
        libc::SIGSYS,
        libc::SIGRTMIN(),
        libc::SIGRTMAX(),
    ];
    for number in numbers {
        // SAFETY: ignoring a signal runs no code.
        let before = unsafe { libc::signal(number, libc::SIG_IGN) };
        assert_ne!(before, libc::SIG_ERR, "{}", io::Error::last_os_error());
    }
    // SAFETY: an empty set is all zero.
    let mut blocked: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is writable.
    unsafe { libc::sigaddset(&raw mut blocked, libc::SIGUSR1) };
    // SAFETY: the set is readable.
    let refused =
        unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const blocked, std::ptr::null_mut()) };
    assert_eq!(refused, 0);
}

#[test]
fn no_signal_is_blocked_or_ignored_in_the_child() {
    if in_own_process(no_signal_is_blocked_or_ignored_in_the_child) {
        ignore_signals();
        expect_no_signal_blocked_or_ignored();
    }
}

#[test]
fn no_signal_is_blocked_or_ignored_in_the_child_where_clone3_is_refused() {
    if in_own_process(no_signal_is_blocked_or_ignored_in_the_child_where_clone3_is_refused) {
        ignore_signals();
        resemble_an_older_kernel(u32::MAX);
        expect_no_signal_blocked_or_ignored();
    }
}

/// Runs `test` again in a process of its own, where it may change what all threads share. Returns whether this
/// is that process, so that the test goes on.
fn in_own_process<T: Fn()>(_test: T) -> bool {
    const MARK: &str = "TIDEWAITER_OWN_PROCESS";
    if std::env::var_os(MARK).is_some() {
        return true;
    }
    let path = std::any::type_name::<T>();
    let (_crate, test) = path.split_once("::").expect("a function is in a crate");
    let program = std::env::current_exe().expect("the tests are a program");
    let output = std::process::Command::new(program)
        .args(["--exact", test])
        .env(MARK, "1")
        .output()
        .expect("it can be run again");
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && report.contains("1 passed"),
        "{test}: {report}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    false
}

#[test]
fn many_children_leave_nothing_behind() {
    if !in_own_process(many_children_leave_nothing_behind) {
        return;
    }
    let before = open_descriptors();
    for _ in 0..200 {
        assert_eq!(run(&Command::new("true")).1, ExitStatus::Code(0));
        failure(&Command::new("/nonexistent/x"));
    }
    assert_eq!(open_descriptors(), before);
    let waited = rustix::process::waitpid(None, rustix::process::WaitOptions::NOHANG);
    assert_eq!(waited.err(), Some(Errno::CHILD), "a child is left");
}

#[test]
fn without_free_descriptors_there_is_an_error_and_nothing_is_left() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    if !in_own_process(without_free_descriptors_there_is_an_error_and_nothing_is_left) {
        return;
    }
    let before = getrlimit(Resource::Nofile);
    let open = open_descriptors();
    let mut succeeded = false;
    for free in 0..12 {
        let limit = Rlimit {
            current: Some(u64::try_from(open + free).expect("a small number")),
            ..before
        };
        setrlimit(Resource::Nofile, limit).expect("it may be lowered");
        let result = spawn(&Command::new("true"));
        setrlimit(Resource::Nofile, before).expect("it may be raised again");
        match result {
            Ok(child) => {
                succeeded = true;
                await_end(&child.process);
            }
            Err(error) => assert_eq!(error.source.raw_os_error(), Some(libc::EMFILE), "{error}"),
        }
        assert_eq!(open_descriptors(), open);
    }
    assert!(succeeded);
}

/// Goal: our descriptors are safe where the host closed its standard streams.
/// Method: close them; new pipes then get their numbers, unless we move the pipes.
#[test]
fn a_host_without_standard_streams_can_have_children() {
    if !in_own_process(a_host_without_standard_streams_can_have_children) {
        return;
    }
    let streams = [0, 1, 2].map(|number| {
        // SAFETY: the descriptor is open, because the test harness uses it.
        let stream = unsafe { BorrowedFd::borrow_raw(number) };
        rustix::io::fcntl_dupfd_cloexec(stream, 3).expect("there is room for one more")
    });
    for number in 0..3 {
        // SAFETY: only this test runs in this process, so nothing uses them meanwhile.
        unsafe { libc::close(number) };
    }
    let (text, status) = run(&shell("echo out; echo err >&2").stderr(Stdio::SameAs(1)));
    let script = "for n in 0 2 5; do test -e /proc/self/fd/$n && exit 7; done; exit 8";
    let missing = shell(script)
        .stdin(Stdio::Inherit)
        .stderr(Stdio::SameAs(0))
        .fd(5, Stdio::SameAs(0));
    let inherited = run(&missing);
    // Restores them for the test harness.
    let [input, output, errors] = streams;
    rustix::stdio::dup2_stdin(input).expect("its number is free");
    rustix::stdio::dup2_stdout(output).expect("its number is free");
    rustix::stdio::dup2_stderr(errors).expect("its number is free");
    assert_eq!((text.as_str(), status), ("out\nerr\n", ExitStatus::Code(0)));
    assert_eq!(inherited.1, ExitStatus::Code(8));
}

/// Goal: changing the child's user does not change us, whether the child starts or not.
/// Method: ask whether the kernel marks our memory as not dumpable, as it does when the owner changes.
#[test]
fn a_child_that_becomes_another_user_does_not_change_us() {
    use rustix::process::{DumpableBehavior, dumpable_behavior};
    let is_root = rustix::process::geteuid().is_root();
    let before = dumpable_behavior().expect("it is known");
    assert_eq!(before, DumpableBehavior::Dumpable, "the tests' own state");
    for spawn in [spawn, spawn_by_number] {
        let another = |command: Command| command.own_group(false).user(12_345, 23_456, [34_567]);
        match spawn(&another(shell("exit 7"))) {
            Ok(child) => {
                while child.process.try_wait().expect("it is ours").is_none() {
                    std::thread::yield_now();
                }
                assert_eq!(
                    child.process.try_wait().ok(),
                    Some(Some(ExitStatus::Code(7)))
                );
            }
            Err(error) => assert!(!is_root && error.step == SpawnStep::Groups, "{error}"),
        }
        let missing = another(Command::new("/nonexistent/x"));
        let error = spawn(&missing).expect_err("it is not there");
        let step = if is_root {
            SpawnStep::Search
        } else {
            SpawnStep::Groups
        };
        assert_eq!(error.step, step, "{error}");
        assert_eq!(dumpable_behavior().expect("it is known"), before);
    }
}

/// Makes the kernel refuse `close_range` and `clone3` to this process, and end it for closing a number from `least` on.
fn resemble_an_older_kernel(least: u32) {
    let number = |call: libc::c_long| u32::try_from(call).expect("calls have small numbers");
    let step = |code: u32, yes, no, value| libc::sock_filter {
        code: u16::try_from(code).expect("codes are small"),
        jt: yes,
        jf: no,
        k: value,
    };
    let load = |offset| step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, offset);
    let is = |value, yes, no| step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, yes, no, value);
    let from = |value, yes, no| step(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, yes, no, value);
    let answer = |value| step(libc::BPF_RET | libc::BPF_K, 0, 0, value);
    // The number of the call, and half of its first argument.
    let (call, argument) = (
        0,
        if cfg!(target_endian = "little") {
            16
        } else {
            20
        },
    );
    let mut filter = [
        load(call),
        is(number(libc::SYS_clone3), 4, 0),
        is(number(libc::SYS_close_range), 3, 0),
        is(number(libc::SYS_close), 0, 4),
        load(argument),
        from(least, 1, 2),
        answer(libc::SECCOMP_RET_ERRNO | libc::ENOSYS.cast_unsigned()),
        answer(libc::SECCOMP_RET_KILL_PROCESS),
        answer(libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).expect("it is short"),
        filter: filter.as_mut_ptr(),
    };
    rustix::thread::set_no_new_privs(true).expect("any process may drop privileges");
    // SAFETY: the kernel reads the program; its length is the one given.
    let set = unsafe {
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            &raw const program,
        )
    };
    assert_eq!(set, 0, "{}", io::Error::last_os_error());
}

/// Goal: where the kernel has no `close_range`, we close all open descriptors, whatever their numbers, and try
/// no other number, however high the limit is.
#[test]
fn without_close_range_only_open_descriptors_are_closed() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    const HIGH: i32 = 900;
    if !in_own_process(without_close_range_only_open_descriptors_are_closed) {
        return;
    }
    let kept = File::open("/dev/null").expect("it exists");
    // SAFETY: makes a copy of a descriptor, which stays open until this process ends.
    let high = unsafe { libc::fcntl(kept.as_raw_fd(), libc::F_DUPFD, HIGH) };
    assert_eq!(high, HIGH, "{}", io::Error::last_os_error());
    resemble_an_older_kernel(HIGH.cast_unsigned() + 1);
    let limits = getrlimit(Resource::Nofile);
    let with = |current| Rlimit { current, ..limits };
    // First with as many numbers as the hard limit allows, then with fewer than are in use.
    for current in [limits.maximum, Some(u64::from(HIGH.cast_unsigned()) / 2)] {
        setrlimit(Resource::Nofile, with(current)).expect("any limit up to the hard one");
        let (text, status) = run(&shell("ls /proc/self/fd").fd(7, Stdio::Null));
        let (expected, ended) = ("0\n1\n2\n3\n7\n", ExitStatus::Code(0));
        assert_eq!((text.as_str(), status), (expected, ended));
    }
}

#[test]
fn a_child_runs_on_the_cpus_that_were_asked_for() {
    use rustix::thread::{CpuSet, sched_getaffinity};
    let ours = sched_getaffinity(None).expect("it is known");
    let cpu = (0..CpuSet::MAX_CPU).find(|cpu| ours.is_set(*cpu));
    let cpu = cpu.expect("we run on one");
    let script = "grep Cpus_allowed_list /proc/self/status";
    // A CPU that does not exist is left out.
    let (text, _) = run(&shell(script).cpus([cpu, CpuSet::MAX_CPU - 1]));
    assert_eq!(text, format!("Cpus_allowed_list:\t{cpu}\n"));
    assert_eq!(sched_getaffinity(None), Ok(ours));
    for cpus in [&[][..], &[CpuSet::MAX_CPU - 1], &[CpuSet::MAX_CPU]] {
        let error = failure(&shell("").cpus(cpus.iter().copied()));
        assert_eq!(error.step, SpawnStep::Cpus, "{error}");
        assert_eq!(error.source.kind(), io::ErrorKind::InvalidInput, "{error}");
    }
}
