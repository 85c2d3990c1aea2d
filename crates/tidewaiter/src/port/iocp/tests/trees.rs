//! The end of a child's pipes together with its tree. The child is this test program, run again.
//!
//! The tests' own process is the stranger: the child copies its ends of the pipes into it, just as a process that is
//! started at the wrong moment inherits them.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr;
use std::time::Duration;

use windows_sys::Win32::Foundation::WAIT_OBJECT_0;
use windows_sys::Win32::Foundation::{
    DUPLICATE_SAME_ACCESS, DuplicateHandle, ERROR_PIPE_NOT_CONNECTED, GetHandleInformation, HANDLE,
};
use windows_sys::Win32::System::Threading::{
    GetCurrentProcess, OpenProcess, PROCESS_DUP_HANDLE, PROCESS_SYNCHRONIZE, WaitForSingleObject,
};

use super::{close, only, port, receive, send, until};
use crate::port::iocp::Iocp;
use crate::port::named_calls::NamedCalls;
use crate::port::{
    Chunks, Completion, Driver, Failure, Handle, Operation, Outcome, Request, RequestKind, Spawned,
    Token,
};
use crate::process::{
    Command, ExitStatus, Signal, SignalTarget, Spawn, SpawnStep, StartedChild, Stdio,
};

const ENTRY: &str = "port::iocp::tests::trees::child_entry";
const ROLE: &str = "TIDEWAITER_TREE_ROLE";
const ALONE: &str = "TIDEWAITER_TREE_ALONE";
const STRANGER: &str = "TIDEWAITER_TREE_STRANGER";
/// No test has a handle with a number as large as this.
const HANDLES_MAX: usize = 1 << 14;
/// A child writes this before and after the numbers of the stranger's handles.
const MARK: &str = "<handles>";
/// A child writes these bytes last.
const LAST: &[u8] = b"<the last bytes>";
/// More bytes than a pipe holds, so that its writer has to wait.
const MUCH: usize = 1 << 20;
/// Fewer bytes than a pipe holds.
const LITTLE: usize = 16 << 10;

/// Runs in the child. In any other process, this test does nothing.
#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "a child ends without the report of a test"
)]
fn child_entry() {
    let Some(role) = std::env::var_os(ROLE) else {
        return;
    };
    let role = role.into_string().expect("the tests use UTF-8");
    let mut output = io::stdout();
    let (input_copy, output_copy) = (give(&io::stdin()), give(&output));
    write!(output, "{MARK}{input_copy} {output_copy}{MARK}").expect("the pipe is open");
    output.flush().expect("the pipe is open");
    match role.as_str() {
        "much" => output.write_all(&vec![b'x'; MUCH]).expect("it is read"),
        "little" => output.write_all(&[b'x'; LITTLE]).expect("it has room"),
        "leave" => {
            let own = std::env::current_exe().expect("the tests are a program");
            let mut descendant = std::process::Command::new(own);
            descendant
                .args(["--exact", ENTRY, "--nocapture", "--test-threads=1"])
                .env(ROLE, "stay");
            // Wine loses one process in some thousands at its start.
            let descendant = (0..3).find_map(|_| descendant.spawn().ok());
            descendant.expect("it can be run again");
            std::process::exit(0);
        }
        "stay" => {
            io::copy(&mut io::stdin(), &mut io::sink()).expect("the pipe is open");
        }
        other => panic!("no such role: {other}"),
    }
    // An error means that nobody reads.
    let _ = output.write_all(LAST).and_then(|()| output.flush());
    std::process::exit(0);
}

/// Copies a handle into the stranger, and returns its number there.
fn give(stream: &impl AsRawHandle) -> usize {
    let stranger = std::env::var(STRANGER).expect("it is set");
    let stranger: u32 = stranger.parse().expect("a number");
    // SAFETY: the call gets numbers only.
    let stranger = unsafe { OpenProcess(PROCESS_DUP_HANDLE, 0, stranger) };
    assert!(!stranger.is_null(), "{}", io::Error::last_os_error());
    // SAFETY: the call opened this handle just now.
    let stranger = unsafe { OwnedHandle::from_raw_handle(stranger) };
    let mut copy: HANDLE = ptr::null_mut();
    // SAFETY: the call gets the number of this process.
    let own = unsafe { GetCurrentProcess() };
    // SAFETY: the handles are open, and `copy` has room for one.
    let copied = unsafe {
        DuplicateHandle(
            own,
            stream.as_raw_handle(),
            stranger.as_raw_handle(),
            &raw mut copy,
            0,
            0,
            DUPLICATE_SAME_ACCESS,
        )
    };
    assert_ne!(copied, 0, "{}", io::Error::last_os_error());
    copy.addr()
}

/// The stranger's copies of the child's ends.
struct Copies {
    input: File,
    output: File,
}

impl Copies {
    /// Reads the copies' numbers from the output of a child and its descendants.
    fn parse(output: &[u8]) -> Vec<Copies> {
        let output = String::from_utf8_lossy(output);
        let numbers = output.split(MARK).skip(1).step_by(2);
        numbers
            .map(|pair| {
                let (input, output) = pair.split_once(' ').expect("there are two");
                Copies {
                    input: owned(input),
                    output: owned(output),
                }
            })
            .collect()
    }

    /// Checks that the child's input and output have ended although these copies are open.
    fn check_ended(mut self) {
        let error = self.output.write(b"x").expect_err("nobody reads");
        assert_eq!(
            error.raw_os_error(),
            Some(ERROR_PIPE_NOT_CONNECTED.cast_signed())
        );
        let read = self.input.read(&mut [0; 8]);
        assert!(!matches!(read, Ok(1..)), "{read:?}");
    }
}

fn owned(number: &str) -> File {
    let number: usize = number.parse().expect("a number");
    // SAFETY: a child has made this handle for us, and nothing else knows it.
    unsafe { File::from_raw_handle(ptr::with_exposed_provenance_mut(number)) }
}

fn command(role: &str) -> Command {
    Command::new(std::env::current_exe().expect("the tests are a program"))
        .args(["--exact", ENTRY, "--nocapture", "--test-threads=1"])
        .env(ROLE, role)
        .env(STRANGER, std::process::id().to_string())
        .stderr(Stdio::Inherit)
}

/// A child on a port.
struct Family {
    child: Spawned,
    exit: Operation,
}

impl Family {
    fn start(port: &mut Iocp, role: &str) -> Family {
        let child = port
            .spawn(Spawn::Command(&command(role)))
            .expect("it can be run again");
        let exit = port.submit(child.process, Request::Exit, Token(7));
        Family {
            child,
            exit: exit.expect("it runs"),
        }
    }

    fn input(&self) -> Handle {
        self.child.pipes[0].handle
    }

    fn output(&self) -> Handle {
        self.child.pipes[1].handle
    }

    fn await_exit(&self, port: &mut Iocp) {
        let exited = only(port, self.exit).expect("it can be awaited");
        assert!(matches!(exited, Outcome::Exited(ExitStatus::Code(0))));
    }

    /// Checks that the stranger's copies in the child's output have ended, and closes all handles.
    fn finish(self, port: &mut Iocp, output: &[u8]) {
        Copies::parse(output)
            .into_iter()
            .for_each(Copies::check_ended);
        self.close(port);
        assert_eq!(port.stale(), 0);
    }

    fn close(self, port: &mut Iocp) {
        for pipe in &self.child.pipes {
            close(port, pipe.handle);
        }
        close(port, self.child.process);
    }
}

/// Receives until `enough`, or until the end of file. Returns true for the end of file.
fn collect(port: &mut Iocp, bytes: &mut Vec<u8>, enough: impl Fn(&[u8]) -> bool) -> bool {
    let mut ended = false;
    until(port, |_, completion| {
        match (completion.kind, completion.result) {
            (RequestKind::Receive, Ok(Outcome::Received(buffer))) => {
                bytes.extend_from_slice(&buffer);
            }
            (RequestKind::Receive, Ok(Outcome::EndOfFile)) => ended = true,
            (RequestKind::Exit, Ok(Outcome::Exited(_))) => {}
            (kind, other) => panic!("{kind:?}: {other:?}"),
        }
        ended || enough(bytes)
    });
    ended
}

/// Checks that the whole output of a child arrived, with this many bytes between its first and its last ones.
fn check_whole(output: &[u8], filler: usize) {
    assert!(output.ends_with(LAST));
    assert_eq!(output.iter().filter(|&&byte| byte == b'x').count(), filler);
}

/// Waits until the stranger has the ends of this many processes.
fn copies(port: &mut Iocp, bytes: &mut Vec<u8>, processes: usize) -> Vec<Copies> {
    let marks = |bytes: &[u8]| String::from_utf8_lossy(bytes).matches(MARK).count();
    let ended = collect(port, bytes, |bytes| marks(bytes) == 2 * processes);
    assert!(!ended, "the stranger holds the pipe");
    Copies::parse(bytes)
}

/// Checks that nothing but a child's exit completes for a while.
fn nothing_ends(port: &mut Iocp) {
    let mut completions: Vec<Completion> = Vec::new();
    for _ in 0..5 {
        port.wait(Some(Duration::from_millis(20)), &mut completions)
            .expect("it waits");
    }
    completions.retain(|completion| completion.kind != RequestKind::Exit);
    assert!(completions.is_empty(), "{completions:?}");
}

fn is_broken_pipe(result: &Result<Outcome, Failure>) -> bool {
    matches!(result, Err(Failure::Os { source, .. }) if source.kind() == io::ErrorKind::BrokenPipe)
}

/// Goal: no byte of a child that ends at once is lost, and its output ends, although a stranger holds the pipe.
#[test]
fn the_output_of_a_child_ends_with_it_even_if_a_stranger_holds_the_pipe() {
    let mut port = port();
    let family = Family::start(&mut port, "much");
    receive(&mut port, family.output());
    let mut bytes = Vec::new();
    assert!(collect(&mut port, &mut bytes, |_| false));
    check_whole(&bytes, MUCH);
    family.finish(&mut port, &bytes);
}

/// Goal: what was in the pipe when the child ended can be read later.
#[test]
fn output_that_is_not_read_in_time_remains_until_it_is() {
    let mut port = port();
    let family = Family::start(&mut port, "little");
    family.await_exit(&mut port);
    nothing_ends(&mut port);
    // A cancelled receive takes no bytes.
    let operation = receive(&mut port, family.output());
    assert!(port.cancel(operation));
    let mut bytes = Vec::new();
    until(&mut port, |_, completion| {
        if let Ok(Outcome::Received(buffer)) = &completion.result {
            bytes.extend_from_slice(buffer);
        }
        !completion.more
    });
    receive(&mut port, family.output());
    assert!(collect(&mut port, &mut bytes, |_| false));
    check_whole(&bytes, LITTLE);
    let operation = receive(&mut port, family.output());
    assert!(
        matches!(only(&mut port, operation), Ok(Outcome::EndOfFile)),
        "it ends again"
    );
    family.finish(&mut port, &bytes);
}

/// Goal: a write that waits for a child to read fails when the child ends, and so does a later one.
#[test]
fn writes_to_a_child_that_has_ended_fail_even_if_a_stranger_holds_the_pipe() {
    let mut port = port();
    let family = Family::start(&mut port, "much");
    receive(&mut port, family.output());
    let mut chunks = Chunks::new();
    chunks.push(vec![b'y'; MUCH]);
    send(&mut port, family.input(), chunks);
    let (mut bytes, mut failed, mut ended) = (Vec::new(), false, false);
    until(&mut port, |port, completion| {
        match completion.result {
            Ok(Outcome::Received(buffer)) => bytes.extend_from_slice(&buffer),
            Ok(Outcome::EndOfFile) => ended = true,
            Ok(Outcome::Sent { .. }) => _ = send(port, family.input(), completion.unsent),
            Ok(Outcome::Exited(_)) => {}
            result => {
                assert!(is_broken_pipe(&result), "{result:?}");
                assert!(!completion.unsent.is_empty());
                failed = true;
            }
        }
        failed && ended
    });
    let copies = Copies::parse(&bytes);
    assert_eq!(copies.len(), 1);
    let operation = send(&mut port, family.input(), b"late".as_slice().into());
    assert!(is_broken_pipe(&only(&mut port, operation)));
    copies.into_iter().for_each(Copies::check_ended);
    family.close(&mut port);
}

/// Goal: a descendant that outlives the child keeps the pipes open until it ends.
#[test]
fn a_descendant_keeps_the_pipes_until_it_ends() {
    for kills in [false, true] {
        let mut port = port();
        let family = Family::start(&mut port, "leave");
        receive(&mut port, family.output());
        let mut bytes = Vec::new();
        let copies = copies(&mut port, &mut bytes, 2);
        nothing_ends(&mut port);
        if kills {
            port.signal(family.child.process, Signal::Kill, SignalTarget::Tree)
                .expect("the descendant lives");
        } else {
            // The descendant still reads the input, and writes its last bytes at the input's end.
            send(&mut port, family.input(), b"more".as_slice().into());
            until(&mut port, |_, completion| {
                matches!(completion.result, Ok(Outcome::Sent { bytes: 4 }))
            });
            close(&mut port, family.input());
        }
        assert!(collect(&mut port, &mut bytes, |_| false));
        assert_eq!(bytes.ends_with(LAST), !kills);
        drop(copies);
        close(&mut port, family.output());
        close(&mut port, family.child.process);
        assert_eq!(port.stale(), 0, "the job's late packets are expected");
    }
}

/// Goal: a port that is dropped closes its ends of the pipes and all its handles, whatever is under way.
/// Method: count the handles of a process that runs nothing else.
#[test]
fn dropping_the_port_at_any_time_closes_the_pipes() {
    const NAME: &str = "port::iocp::tests::trees::dropping_the_port_at_any_time_closes_the_pipes";
    const ROUNDS: usize = 3;
    if std::env::var_os(ALONE).is_none() {
        let own = std::env::current_exe().expect("the tests are a program");
        let mut command = std::process::Command::new(own);
        command
            .args(["--exact", NAME, "--nocapture", "--test-threads=1"])
            .env(ALONE, "1")
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped());
        let started = (0..3).find_map(|_| command.spawn().ok());
        let started = started.expect("it can be run again");
        let output = started.wait_with_output().expect("it is our child");
        let text =
            String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success() && text.contains("1 passed"),
            "{text}"
        );
        return;
    }
    let round = || {
        drop_while_a_descendant_lives(false);
        drop_while_a_descendant_lives(true);
        drop_before_the_end_is_reported();
    };
    // The first round starts threads of Windows's own.
    round();
    let before = count_handles();
    (0..ROUNDS).for_each(|_| round());
    let after = count_handles();
    assert!(after < before + ROUNDS, "{before} handles became {after}");
}

fn drop_while_a_descendant_lives(closes_process: bool) {
    let mut port = port();
    let family = Family::start(&mut port, "leave");
    receive(&mut port, family.output());
    let mut copies = copies(&mut port, &mut Vec::new(), 2);
    nothing_ends(&mut port);
    if closes_process {
        close(&mut port, family.child.process);
    }
    drop(port);
    // The descendant ends at the end of its input, and nobody reads what it writes.
    let Copies {
        mut input,
        mut output,
    } = copies.pop().expect("two processes gave them");
    assert!(!matches!(input.read(&mut [0; 8]), Ok(1..)));
    output.write(b"x").expect_err("nobody reads");
}

fn drop_before_the_end_is_reported() {
    let mut port = port();
    let family = Family::start(&mut port, "much");
    receive(&mut port, family.output());
    let mut copies = copies(&mut port, &mut Vec::new(), 1);
    // An error means that it has ended.
    let _ = port.signal(family.child.process, Signal::Kill, SignalTarget::Tree);
    drop(port);
    copies[0].output.write(b"x").expect_err("nobody reads");
}

/// Counts the handles of this process, by asking about each number: Wine does not know how many there are.
fn count_handles() -> usize {
    let is_open = |number: &usize| {
        let mut flags = 0;
        let handle = ptr::without_provenance_mut(*number);
        // SAFETY: the call only asks about a number, even if no handle has it.
        unsafe { GetHandleInformation(handle, &raw mut flags) != 0 }
    };
    (4..HANDLES_MAX).step_by(4).filter(is_open).count()
}

/// Goal: a child with a pipe that cannot be associated with the port is killed, and the port is as before.
#[test]
fn a_child_that_cannot_be_registered_is_killed() {
    let mut port = port();
    let started = StartedChild::start(&command("stay")).expect("it starts");
    // SAFETY: the call gets numbers only.
    let process = unsafe { OpenProcess(PROCESS_SYNCHRONIZE, 0, started.pid()) };
    assert!(!process.is_null(), "{}", io::Error::last_os_error());
    // SAFETY: the call opened this handle just now.
    let process = unsafe { OwnedHandle::from_raw_handle(process) };
    // A file that was not opened for overlapped operations.
    let file = File::open(std::env::current_exe().expect("we are a program")).expect("it is there");
    let started = started.with_unusable_pipe(file.into());
    let refused = port.spawn(Spawn::Started(started)).expect_err("a refusal");
    assert_eq!(refused.step, SpawnStep::Adopt);
    // SAFETY: the handle is open.
    let ended = unsafe { WaitForSingleObject(process.as_raw_handle(), 20_000) };
    assert_eq!(ended, WAIT_OBJECT_0, "it runs on");
    assert_eq!(port.status().open_handles, 0);
}
