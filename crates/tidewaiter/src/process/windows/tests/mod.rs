//! Starting processes: tests with real ones. The child is this test program, run again.

use std::fs::File;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::ptr;

use windows_sys::Win32::Foundation::{
    GetHandleInformation, HANDLE_FLAG_INHERIT, SetHandleInformation,
};
use windows_sys::Win32::Storage::FileSystem::{ReadFile, WriteFile};
use windows_sys::Win32::System::IO::{GetOverlappedResult, OVERLAPPED};
use windows_sys::Win32::System::Threading::{
    ABOVE_NORMAL_PRIORITY_CLASS, BELOW_NORMAL_PRIORITY_CLASS, GetPriorityClass,
    HIGH_PRIORITY_CLASS, IDLE_PRIORITY_CLASS, NORMAL_PRIORITY_CLASS,
};

use super::*;
use crate::process::Stdio;

mod found;

const ACTION: &str = "TIDEWAITER_TEST_ACTION";
const CHILD: &str = "process::windows::tests::child_entry";

/// Runs in the child. An environment variable says what it does.
#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "a child ends without the report of a test"
)]
fn child_entry() {
    let Some(action) = std::env::var_os(ACTION) else {
        return;
    };
    let action = action.into_string().expect("the tests use UTF-8");
    let (action, value) = action.split_once(' ').unwrap_or((&action, ""));
    let mut output = io::stdout();
    match action {
        "console" => {
            // SAFETY: the call touches no memory.
            std::process::exit(i32::from(unsafe { GetConsoleCP() } != 0));
        }
        "echo" => {
            let copied = io::copy(&mut io::stdin(), &mut output);
            copied.expect("the pipes can be copied");
        }
        "exit" => std::process::exit(value.parse::<u32>().expect("a number").cast_signed()),
        "arguments" => {
            // After `--`, everything is one of ours.
            let given = std::env::args_os().skip_while(|argument| argument != "--");
            for argument in given.skip(1) {
                let units: Vec<u16> = argument.encode_wide().collect();
                writeln!(output, "<{units:04x?}>").expect("it can be written");
            }
        }
        "directory" => {
            let directory = std::env::current_dir().expect("there is one");
            writeln!(output, "<{}>", directory.display()).expect("it can be written");
        }
        "variables" => {
            let names: Vec<_> = std::env::vars_os().map(|(name, _)| name).collect();
            writeln!(output, "<{names:?}>").expect("it can be written");
        }
        "handle" => {
            let number: usize = value.parse().expect("a number");
            let mut flags = 0;
            // SAFETY: the call only asks about a number, even if no handle has it.
            let known = unsafe { GetHandleInformation(number as _, &raw mut flags) };
            std::process::exit(if known == 0 { 0 } else { 9 });
        }
        "parent" => {
            let own = std::env::current_exe().expect("the tests are a program");
            let mut grandchild = std::process::Command::new(own);
            grandchild
                .args(["--exact", CHILD, "--nocapture"])
                .env(ACTION, "echo");
            grandchild.stdin(std::process::Stdio::piped());
            // Wine loses one process in some thousands at its start.
            let grandchild = (0..3).find_map(|_| grandchild.spawn().ok());
            let mut grandchild = grandchild.expect("it can be run again");
            let _ = io::copy(&mut io::stdin(), &mut output);
            // The grandchild's input ends here, so it ends, too.
            let _ = grandchild.wait();
        }
        other => panic!("no such action: {other}"),
    }
    std::process::exit(0);
}

fn child(action: &str) -> Command {
    Command::new(std::env::current_exe().expect("the tests are a program"))
        .args(["--exact", CHILD, "--nocapture"])
        .env(ACTION, action)
}

fn await_end(process: &OsProcess) -> ExitStatus {
    // SAFETY: the handle is open.
    let waited = unsafe { WaitForSingleObject(process.as_handle().as_raw_handle(), 30_000) };
    assert_eq!(waited, WAIT_OBJECT_0, "it has not ended in thirty seconds");
    let status = process.try_wait().expect("it can be asked");
    status.expect("its handle said that it ended")
}

/// Reads once from our end of a pipe. Returns zero at the end of the pipe.
fn read(pipe: &OwnedHandle, buffer: &mut [u8]) -> usize {
    let mut overlapped = OVERLAPPED::default();
    let length = buffer.len().try_into().expect("it is small");
    // SAFETY: the buffer and the OVERLAPPED live until the result has been awaited, below.
    unsafe {
        ReadFile(
            pipe.as_raw_handle(),
            buffer.as_mut_ptr(),
            length,
            ptr::null_mut(),
            &raw mut overlapped,
        )
    };
    let mut bytes = 0;
    // SAFETY: as above. If the read could not start, this call fails, too.
    unsafe {
        GetOverlappedResult(
            pipe.as_raw_handle(),
            &raw const overlapped,
            &raw mut bytes,
            1,
        )
    };
    bytes as usize
}

fn read_all(pipe: &OwnedHandle) -> String {
    let mut text = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        match read(pipe, &mut chunk) {
            0 => return String::from_utf8(text).expect("the children write UTF-8"),
            bytes => text.extend_from_slice(&chunk[..bytes]),
        }
    }
}

fn write(pipe: &OwnedHandle, bytes: &[u8]) {
    let mut overlapped = OVERLAPPED::default();
    let length = bytes.len().try_into().expect("it is small");
    // SAFETY: the buffer and the OVERLAPPED live until the result has been awaited, below.
    unsafe {
        WriteFile(
            pipe.as_raw_handle(),
            bytes.as_ptr(),
            length,
            ptr::null_mut(),
            &raw mut overlapped,
        )
    };
    let mut written = 0;
    // SAFETY: as above.
    let done = unsafe {
        GetOverlappedResult(
            pipe.as_raw_handle(),
            &raw const overlapped,
            &raw mut written,
            1,
        )
    };
    assert_eq!((done, written), (1, length));
}

fn run(command: &Command) -> (String, ExitStatus) {
    let mut child = spawn(command).expect("the program can be started");
    drop(child.take_pipe(0));
    let text = read_all(&child.take_pipe(1).expect("its output is a pipe"));
    (text, await_end(&child.process))
}

/// A file in a directory of its own, removed with it.
struct TestFile(PathBuf);

impl TestFile {
    fn new(name: &str, text: &str) -> TestFile {
        let directory = format!("tidewaiter & ({}) {name}", std::process::id());
        let directory = std::env::temp_dir().join(directory);
        std::fs::create_dir(&directory).expect("there is none yet");
        let file = directory.join(name);
        std::fs::write(&file, text).expect("it can be written");
        TestFile(file)
    }

    /// A batch file that runs the tests' program as a child with its own arguments.
    fn batch(name: &str) -> TestFile {
        let own = std::env::current_exe().expect("the tests are a program");
        let own = own.display();
        TestFile::new(
            name,
            &format!("@\"{own}\" --exact {CHILD} --nocapture -- %*\r\n"),
        )
    }

    fn directory(&self) -> &Path {
        self.0.parent().expect("it is in a directory")
    }
}

impl Drop for TestFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(self.directory());
    }
}

#[test]
fn bytes_go_in_and_come_out_through_the_pipes() {
    let mut child = spawn(&child("echo")).expect("the tests can be run");
    let input = child.take_pipe(0).expect("a pipe");
    let output = child.take_pipe(1).expect("a pipe");
    write(&input, b"<hello>");
    // A read of zero bytes completes once data is available.
    assert_eq!(read(&output, &mut []), 0);
    drop(input);
    let text = read_all(&output);
    assert!(text.contains("<hello>"), "{text}");
    assert_eq!(await_end(&child.process), ExitStatus::Code(0));
}

#[test]
fn all_exit_codes_arrive_and_are_remembered() {
    for code in [0, 1, 255, 259, 0xC000_0005] {
        let child = spawn(&child(&format!("exit {code}")).stdout(Stdio::Null)).expect("it runs");
        assert_eq!(await_end(&child.process), ExitStatus::Code(code));
        assert_eq!(await_end(&child.process), ExitStatus::Code(code));
    }
}

#[test]
fn the_child_starts_in_its_directory_with_its_environment() {
    let (text, _) = run(&child("directory").current_dir(r"C:\windows"));
    assert!(text.to_lowercase().contains(r"<c:\windows>"), "{text}");
    let (text, _) = run(&child("variables").env("TIDEWAITER_MARK", "1"));
    assert!(
        text.contains("TIDEWAITER_MARK") && text.to_uppercase().contains("PATH"),
        "{text}"
    );
    let (text, _) = run(&child("variables").env_clear().env(ACTION, "variables"));
    assert!(
        text.contains(ACTION) && !text.contains("TIDEWAITER_MARK"),
        "{text}"
    );
    assert!(!text.contains("USERPROFILE"), "{text}");
}

#[test]
fn failures_name_their_step_and_reason() {
    use io::ErrorKind::{InvalidInput, NotFound, PermissionDenied};
    let batch = TestFile::new("failing.bat", "");
    let nothing = TestFile::new("nothing.exe", "neither this nor that");
    let lost = TestFile::new("lost", "#!/bin/no-such-thing -x");
    let cases = [
        (
            Command::new(r"C:\nowhere\x.exe"),
            SpawnStep::Search,
            NotFound,
        ),
        (Command::new("no such thing"), SpawnStep::Search, NotFound),
        (Command::new(""), SpawnStep::Search, NotFound),
        (
            Command::new("cmd").env("PATH", r"C:\nowhere"),
            SpawnStep::Search,
            NotFound,
        ),
        (
            Command::new(r"C:\windows"),
            SpawnStep::Execute,
            PermissionDenied,
        ),
        (child("echo").arg("\0"), SpawnStep::Arguments, InvalidInput),
        (
            child("echo").env("A", "\0"),
            SpawnStep::Arguments,
            InvalidInput,
        ),
        (
            Command::new(&batch.0).arg("\r\n"),
            SpawnStep::Arguments,
            InvalidInput,
        ),
        (Command::new(&lost.0), SpawnStep::Execute, NotFound),
    ];
    for (command, step, kind) in cases {
        let error = spawn(&command).expect_err("this cannot be started");
        assert_eq!((error.step, error.source.kind()), (step, kind), "{error}");
    }
    let error = spawn(&child("echo").current_dir(r"C:\nowhere")).expect_err("no directory");
    assert_eq!(error.step, SpawnStep::Directory, "{error}");
    let error = spawn(&Command::new(&nothing.0)).expect_err("no program");
    assert_eq!(error.step, SpawnStep::Execute, "{error}");
    assert!(is_no_program(&error.source), "{error}");
}

#[test]
fn a_killed_process_has_ended_and_a_second_signal_fails() {
    let child = spawn(&child("echo")).expect("the tests can be run");
    assert_eq!(child.process.try_wait().expect("it can be asked"), None);
    let kill = || child.process.kill(SignalTarget::Process);
    kill().expect("it lives");
    assert_eq!(await_end(&child.process), ExitStatus::Code(1));
    assert_eq!(
        kill().expect_err("it has ended").kind(),
        io::ErrorKind::NotFound
    );
    let numbered = child.process.signal(
        Signal::Number(9),
        SignalTarget::Process,
        &mut Survey::default(),
    );
    assert!(numbered.is_err());
}

/// Goal: a tree can be ended after its root ended by itself.
/// Method: a grandchild keeps the output open; the end of file shows that it ended.
#[test]
fn a_tree_outlives_its_root_and_can_still_be_ended() {
    let mut child = spawn(&child("parent")).expect("the tests can be run");
    // Keeps the pipe open: the grandchild lives as long as it is.
    let _input = child.take_pipe(0).expect("a pipe");
    let output = &child.take_pipe(1).expect("a pipe");
    let kill = |target| child.process.kill(target);
    // Waits until both test programs run: the child and the grandchild.
    let mut text = String::new();
    while text.matches("running").count() < 2 {
        let mut chunk = [0; 256];
        let bytes = read(output, &mut chunk);
        assert_ne!(bytes, 0, "the output has ended after: {text}");
        text.push_str(&String::from_utf8_lossy(&chunk[..bytes]));
    }
    assert_eq!(
        child
            .process
            .job
            .active_processes()
            .expect("it can be asked"),
        2
    );
    kill(SignalTarget::Tree).expect("both live");
    assert_eq!(await_end(&child.process), ExitStatus::Code(1));
    read_all(output);
    assert_eq!(
        kill(SignalTarget::Tree).expect_err("all ended").kind(),
        io::ErrorKind::NotFound
    );
}

/// Goal: the child does not inherit our other handles, even inheritable ones.
/// Method: tell the child the number of one; it checks whether it has it.
#[test]
fn no_other_handle_of_ours_reaches_the_child() {
    let kept = File::open(std::env::current_exe().expect("a program")).expect("it can be read");
    let number = kept.as_raw_handle();
    // SAFETY: the handle is open.
    check(unsafe { SetHandleInformation(number, HANDLE_FLAG_INHERIT, HANDLE_FLAG_INHERIT) })
        .expect("it can be made inheritable");
    let (_, status) = run(&child(&format!("handle {}", number as usize)));
    assert_eq!(status, ExitStatus::Code(0));
    assert!((&kept).read(&mut [0; 2]).is_ok());
}

#[test]
fn streams_can_be_null_or_inherited_or_merged() {
    let command = child("echo").stdin(Stdio::Null).stderr(Stdio::SameAs(1));
    let (text, status) = run(&command);
    assert!(text.contains("running"), "{text}");
    assert_eq!(status, ExitStatus::Code(0));
    let command = child("exit 5").stdin(Stdio::Inherit).stderr(Stdio::Inherit);
    assert_eq!(run(&command).1, ExitStatus::Code(5));
}

/// Goal: the child's ends are inheritable only during the very call that starts the child.
#[test]
fn the_childs_ends_are_inheritable_only_while_it_is_started() {
    let inheritable = |streams: &Streams| {
        let is_so = |handle: &BorrowedHandle<'_>| {
            let mut flags = 0;
            // SAFETY: the handle is open, and `flags` has room for the flags.
            check(unsafe { GetHandleInformation(handle.as_raw_handle(), &raw mut flags) })
                .expect("it is open");
            flags & HANDLE_FLAG_INHERIT != 0
        };
        streams.list().iter().filter(|handle| is_so(handle)).count()
    };
    let command = child("exit 0").stdin(Stdio::Inherit).stderr(Stdio::Null);
    let streams = Streams::of(&command).expect("there are pipes");
    assert_eq!(inheritable(&streams), 0, "before");
    let environment = Environment::of(&command).expect("the command is valid");
    let program = Program::of(&command, &environment).expect("it exists");
    let mut image = image(&command, &environment, &program).expect("it can be passed on");
    let job = Job::create().expect("a job can be made");
    let started = start::start(&image, &job, &streams);
    assert_eq!(inheritable(&streams), 0, "after");
    started.expect("it starts");
    image.start.file = terminated(wide("no such file".as_ref()).expect("it has no NUL"));
    let failed = start::start(&image, &job, &streams);
    assert_eq!(inheritable(&streams), 0, "after a failure");
    failed.expect_err("it is not there");
}

/// Goal: the child has the class of its priority, and a child without a priority has ours.
#[test]
fn a_child_has_the_priority_that_was_asked_for() {
    use crate::process::Priority;
    let classes = [
        (None, NORMAL_PRIORITY_CLASS),
        (Some(Priority::IDLE), IDLE_PRIORITY_CLASS),
        (Some(Priority::nice(18)), BELOW_NORMAL_PRIORITY_CLASS),
        (Some(Priority::NORMAL), NORMAL_PRIORITY_CLASS),
        (Some(Priority::nice(-1)), ABOVE_NORMAL_PRIORITY_CLASS),
        (Some(Priority::HIGH), HIGH_PRIORITY_CLASS),
    ];
    for (priority, class) in classes {
        let mut command = child("echo");
        command.priority = priority;
        let child = spawn(&command).expect("it starts");
        // SAFETY: the handle is open.
        let found = unsafe { GetPriorityClass(child.process.as_handle().as_raw_handle()) };
        assert_eq!(found, class, "{priority:?}");
        drop(child.pipes);
        await_end(&child.process);
    }
}

#[test]
fn what_only_unix_has_is_refused() {
    let commands = [
        (child("exit 0").own_session(true), SpawnStep::Session),
        (child("exit 0").umask(0o077), SpawnStep::Umask),
    ];
    for (command, step) in commands {
        let error = spawn(&command).expect_err("Windows has none");
        assert_eq!(error.step, step, "{error}");
        assert_eq!(error.source.kind(), io::ErrorKind::Unsupported, "{error}");
    }
}

#[test]
fn a_child_has_the_cpus_that_were_asked_for() {
    let child = spawn(&child("echo").cpus([0, 63])).expect("it starts");
    let [mut cpus, mut existing] = [0; 2];
    let process = child.process.as_handle().as_raw_handle();
    // SAFETY: the handle is open, and both numbers have room.
    let known = unsafe { GetProcessAffinityMask(process, &raw mut cpus, &raw mut existing) };
    check(known).expect("it can be asked");
    assert_eq!(cpus, (1 | 1 << 63) & existing);
    drop(child.pipes);
    await_end(&child.process);
}

#[test]
fn cpus_that_cannot_exist_are_refused() {
    for cpus in [&[][..], &[64], &[usize::MAX]] {
        let command = child("exit 0").cpus(cpus.iter().copied());
        let error = spawn(&command).expect_err("there is no such CPU");
        assert_eq!(error.step, SpawnStep::Cpus, "{error}");
        assert_eq!(error.source.kind(), io::ErrorKind::InvalidInput, "{error}");
    }
}

#[test]
fn a_child_has_the_console_that_was_asked_for() {
    let started = spawn(&child("console").console(Console::None)).expect("the tests can be run");
    let interrupt = started.process.signal(
        Signal::Interrupt,
        SignalTarget::Process,
        &mut Survey::default(),
    );
    assert!(interrupt.is_err(), "no Ctrl-Break of ours reaches it");
    assert_eq!(await_end(&started.process), ExitStatus::Code(0));
    let started = spawn(&child("console").console(Console::New)).expect("the tests can be run");
    // Wine opens no console where it has no display.
    let ended = await_end(&started.process);
    assert!(matches!(ended, ExitStatus::Code(0 | 1)), "{ended}");
}
