//! Programs that cannot be started: the error names the program, the step and the cause, and nothing is left.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use tidewaiter::process::{Command, SpawnError, SpawnStep};

#[cfg(unix)]
use crate::support::alone::alone;
use crate::support::harness::Harness;
use crate::support::piped_child::Child;
use crate::support::roles::Role;

/// A directory of a test, removed with all files in it.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Directory {
        let name = format!("tidewaiter-{name}-{}", std::process::id());
        // Links are followed, so that a process that is in the directory calls it the same.
        let parent = std::env::temp_dir().canonicalize().expect("there is one");
        let path = parent.join(name);
        fs::create_dir(&path).expect("there is none yet");
        Directory(path)
    }

    /// Makes a file that may be executed.
    fn program(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, bytes).expect("it can be written");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let all = fs::Permissions::from_mode(0o755);
            fs::set_permissions(&path, all).expect("it is ours");
        }
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // A failed test may have left anything there.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Fails to start each program with its step and a cause that contains the text, and leaves nothing open. Then starts
/// a child.
#[track_caller]
fn check(cases: Vec<(Command, &OsStr, SpawnStep, &str)>) {
    let mut harness = Harness::new();
    for (command, program, step, cause) in cases {
        let error = harness.port.spawn(&command).expect_err("it cannot start");
        let SpawnError {
            step: at, source, ..
        } = &error;
        assert_eq!(*at, step, "{error}");
        assert!(source.to_string().contains(cause), "{cause}: {error}");
        let file = error.file.as_ref();
        let file = file.map_or_else(String::new, |file| format!(" {}", file.display()));
        let message = format!("cannot start {program:?}: {step}{file}: {source}");
        assert_eq!(error.to_string(), message);
        assert_eq!(harness.port.open_handles(), 0, "{error}");
    }
    let child = Child::start(&mut harness, Role::Exit(3));
    assert_eq!(child.status(&mut harness).code(), Some(3));
    harness.finish();
}

/// A case of [`check`] without arguments.
fn case<'a>(
    program: &'a Path,
    step: SpawnStep,
    cause: &'a str,
) -> (Command, &'a OsStr, SpawnStep, &'a str) {
    (Command::new(program), program.as_os_str(), step, cause)
}

/// A program for a machine that nobody builds any more.
#[cfg(unix)]
fn foreign_program() -> Vec<u8> {
    // A 64-bit program of version 1, in the byte order of the machine.
    let order = if cfg!(target_endian = "little") { 1 } else { 2 };
    let mut header = vec![0x7F, b'E', b'L', b'F', 2, order, 1];
    header.resize(16, 0);
    let (executable, machine) = (2_u16, 0x1234_u16);
    header.extend([executable, machine].map(u16::to_ne_bytes).concat());
    header.resize(4096, 0);
    header
}

/// The start of this program, changed to one for a machine that nobody builds any more.
#[cfg(windows)]
fn foreign_program() -> Vec<u8> {
    let own = std::env::current_exe().expect("we are a program");
    let mut program = fs::read(own).expect("it can be read");
    let header_at = u32::from_le_bytes(program[0x3C..0x40].try_into().expect("four bytes"));
    let machine_at = usize::try_from(header_at).expect("it is small") + 4;
    program[machine_at..machine_at + 2].copy_from_slice(&0x0166_u16.to_le_bytes());
    program
}

#[cfg(unix)]
#[test]
fn a_program_that_cannot_run_is_refused_with_the_step_and_the_cause() {
    let name = "a_program_that_cannot_run_is_refused_with_the_step_and_the_cause";
    // Alone, because a file that is still open for writing in a child of another test cannot be executed.
    alone(module_path!(), name, || {
        let directory = Directory::new("refused");
        let (missing, not_found) = (directory.0.join("missing"), "No such file");
        let plain = directory.0.join("plain");
        fs::write(&plain, "#!/bin/sh\n").expect("it can be written");
        let below = plain.join("below");
        let (foreign, text) = (
            directory.program("foreign", foreign_program()),
            directory.program("text", "neither this nor that\n"),
        );
        let lost = directory.program("lost", "#!/no/such/interpreter -x\n");
        let is_missing = "the interpreter that it names does not exist: /no/such/interpreter";
        check(vec![
            case(&missing, SpawnStep::Search, not_found),
            case("no-such-program".as_ref(), SpawnStep::Search, not_found),
            case("".as_ref(), SpawnStep::Search, not_found),
            case(&below, SpawnStep::Search, not_found),
            case(&directory.0, SpawnStep::Execute, "Permission denied"),
            case(&plain, SpawnStep::Execute, "Permission denied"),
            case(&foreign, SpawnStep::Execute, "Exec format error"),
            case(&text, SpawnStep::Execute, "Exec format error"),
            case(&lost, SpawnStep::Execute, is_missing),
        ]);
    });
}

#[cfg(windows)]
#[test]
fn a_program_that_cannot_run_is_refused_with_the_step_and_the_cause() {
    let directory = Directory::new("refused");
    let missing = directory.0.join("missing.exe");
    let foreign = directory.program("foreign.exe", foreign_program());
    let text = directory.program("text.exe", "neither this nor that\n");
    let lost = directory.program("lost", "#!/no/such/interpreter -x\n");
    let (not_found, is_missing) = (
        "the program does not exist",
        "the interpreter that it names does not exist: /no/such/interpreter",
    );
    check(vec![
        case(&missing, SpawnStep::Search, not_found),
        case("no-such-program".as_ref(), SpawnStep::Search, not_found),
        case("".as_ref(), SpawnStep::Search, not_found),
        case(&directory.0, SpawnStep::Execute, "it is a directory"),
        case(&foreign, SpawnStep::Execute, ""),
        case(&text, SpawnStep::Execute, ""),
        case(&lost, SpawnStep::Execute, is_missing),
    ]);
}

#[test]
fn a_directory_that_vanished_is_named_as_the_step() {
    let directory = Directory::new("vanished");
    let child = crate::child(Role::Exit(0)).current_dir(&directory.0);
    let own = std::env::current_exe().expect("we are a program");
    fs::remove_dir(&directory.0).expect("it is empty");
    check(vec![(child, own.as_os_str(), SpawnStep::Directory, "")]);
}

/// Goal: without a working directory of our own, programs start that are not looked for in it.
/// Method: delete it, which Windows does not allow.
#[cfg(unix)]
#[test]
fn children_start_although_our_own_directory_was_deleted() {
    let name = "children_start_although_our_own_directory_was_deleted";
    alone(module_path!(), name, || {
        let directory = Directory::new("deleted");
        std::env::set_current_dir(&directory.0).expect("we may enter it");
        fs::remove_dir(&directory.0).expect("it is empty");
        let mut harness = Harness::new();
        // The empty entries of the path stand for our own directory.
        let lists = Command::new("sh")
            .args(["-c", "exit 4"])
            .env("PATH", ":/usr/bin:/bin:");
        let starts = [
            crate::child(Role::Exit(4)),
            crate::child(Role::Exit(4)).current_dir("/"),
            lists.clone(),
            lists.clone().current_dir("/"),
        ];
        for command in starts {
            let child = Child::run(&mut harness, &command);
            assert_eq!(child.status(&mut harness).code(), Some(4), "{command:?}");
        }
        harness.finish();
        let (relative, not_found) = (Path::new("./x"), "No such file");
        let elsewhere = Command::new(relative).current_dir("/");
        check(vec![
            case(relative, SpawnStep::Search, not_found),
            (
                elsewhere,
                relative.as_os_str(),
                SpawnStep::Search,
                not_found,
            ),
            (
                crate::child(Role::Exit(0)).current_dir("sub"),
                std::env::current_exe()
                    .expect("we are a program")
                    .as_os_str(),
                SpawnStep::Directory,
                not_found,
            ),
        ]);
    });
}
